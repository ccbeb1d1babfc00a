# find_package(pixembed): the C++ client, pixembed::client. Debian's packages bring what it needs.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(absl)
# Protobuf before gRPC, whose package file would look for it in another mode.
find_dependency(Protobuf)
find_dependency(gRPC CONFIG)
include(${CMAKE_CURRENT_LIST_DIR}/pixembed-targets.cmake)
