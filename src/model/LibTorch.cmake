# The imported target LibTorch::LibTorch: the CPU half of LibTorch, out of the unpacked PyPI wheel.
# It lies where deploy/environment.sh says.
#
# Not find_package(Torch): the wheel's own files stop without a CUDA toolkit, and define an empty
# protobuf::libprotobuf if they run before Protobuf's.
if(DEFINED ENV{PIXEMBED_CACHE})
  set(PIXEMBED_CACHE_DEFAULT "$ENV{PIXEMBED_CACHE}")
elseif(DEFINED ENV{XDG_CACHE_HOME})
  set(PIXEMBED_CACHE_DEFAULT "$ENV{XDG_CACHE_HOME}/pixembed")
else()
  set(PIXEMBED_CACHE_DEFAULT "$ENV{HOME}/.cache/pixembed")
endif()
set(PIXEMBED_LIBTORCH "${PIXEMBED_CACHE_DEFAULT}/libtorch-2.11.0" CACHE PATH
  "Folder that holds torch/ and nvidia/ of the unpacked wheels")

set(LIBTORCH_INCLUDE ${PIXEMBED_LIBTORCH}/torch/include)
set(LIBTORCH_LIB ${PIXEMBED_LIBTORCH}/torch/lib)
if(NOT EXISTS ${LIBTORCH_INCLUDE}/ATen/ATen.h OR NOT EXISTS ${LIBTORCH_LIB}/libtorch_cpu.so)
  message(FATAL_ERROR
    "LibTorch 2.11.0 is not in ${PIXEMBED_LIBTORCH}. Run deploy/setup.sh, which puts it there, or "
    "set PIXEMBED_LIBTORCH to the folder that holds torch/include and torch/lib, or configure "
    "with -DPIXEMBED_TORCH=OFF to build everything that does without it.")
endif()

add_library(LibTorch::c10 SHARED IMPORTED GLOBAL)
set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION ${LIBTORCH_LIB}/libc10.so)
# OpenMP's threads, which LibTorch and oneDNN run on: GCC's library, as the wheel brings it.
add_library(LibTorch::gomp SHARED IMPORTED GLOBAL)
set_target_properties(LibTorch::gomp PROPERTIES IMPORTED_LOCATION ${LIBTORCH_LIB}/libgomp.so.1)
add_library(LibTorch::LibTorch SHARED IMPORTED GLOBAL)
set_target_properties(LibTorch::LibTorch PROPERTIES IMPORTED_LOCATION ${LIBTORCH_LIB}/libtorch_cpu.so)
# Imported targets are SYSTEM includes: LibTorch's warnings are not ours. CMake gives users of an
# imported library a build rpath to its folder.
target_include_directories(LibTorch::LibTorch INTERFACE ${LIBTORCH_INCLUDE})
target_link_libraries(LibTorch::LibTorch INTERFACE LibTorch::c10)
# libtorch_cpu.so finds libcudart and libcupti beside torch/ by its own RPATH; the linker does not
# follow that one by itself.
target_link_options(LibTorch::LibTorch INTERFACE
  "LINKER:-rpath-link,${LIBTORCH_LIB}:${PIXEMBED_LIBTORCH}/nvidia/cu13/lib")
