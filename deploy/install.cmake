# cmake --install BUILD --prefix PREFIX: a folder that runs by itself, beside deploy/setup.sh runtime.
#
#   bin/pixembed-server, bin/pixembed      lib/libpixembed_cuda.so
#   lib/libpixembed_engine.so              include/pixembed/pixembed_engine.h
#   lib/torch/lib, lib/nvidia/cu13/lib     the CPU half of LibTorch, laid out as its own RPATH expects;
#                                          a GPU host adds the rest of the wheels there
if(PIXEMBED_TORCH)
  set_target_properties(pixembed-server PROPERTIES INSTALL_RPATH "$ORIGIN/../lib/torch/lib")
  install(TARGETS pixembed-server RUNTIME DESTINATION bin)
  foreach(library libtorch_cpu.so libc10.so libgomp.so.1)
    install(FILES ${PIXEMBED_LIBTORCH}/torch/lib/${library} DESTINATION lib/torch/lib)
  endforeach()
  foreach(library libcudart.so.13 libcupti.so.13)
    install(FILES ${PIXEMBED_LIBTORCH}/nvidia/cu13/lib/${library} DESTINATION lib/nvidia/cu13/lib)
  endforeach()
  set_target_properties(pixembed_library PROPERTIES INSTALL_RPATH "$ORIGIN/torch/lib")
  install(TARGETS pixembed_library LIBRARY DESTINATION lib)
  install(FILES embedded/pixembed_engine.h DESTINATION include/pixembed)
  if(PIXEMBED_CUDA)
    set_target_properties(pixembed_cuda PROPERTIES
      INSTALL_RPATH "$ORIGIN/torch/lib:$ORIGIN/nvidia/cu13/lib")
    install(TARGETS pixembed_cuda LIBRARY DESTINATION lib)
  endif()
endif()
