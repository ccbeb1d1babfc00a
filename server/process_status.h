// What the kernel says of this process.
#ifndef PIXEMBED_SERVER_PROCESS_STATUS_H_
#define PIXEMBED_SERVER_PROCESS_STATUS_H_

#include <cstdint>
#include <optional>

namespace pixembed {

struct ProcessStatus {
  double cpu_seconds = 0;  // user and system, of all threads
  std::uint64_t resident_bytes = 0;
  std::uint64_t virtual_bytes = 0;
  std::uint64_t open_descriptors = 0;
  std::uint64_t max_descriptors = 0;  // the soft limit
  double start_seconds = 0;           // since the epoch
};

// Now. Nothing where /proc cannot be read.
std::optional<ProcessStatus> ReadProcessStatus();

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_PROCESS_STATUS_H_
