// A progress bar for a person at a terminal.
#ifndef PIXEMBED_CLIENT_CPP_PROGRESS_H_
#define PIXEMBED_CLIENT_CPP_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <ostream>
#include <string>

namespace pixembed::client {

// One line on `out`, drawn over itself, at most ten times a second. One thread at a time.
class Progress {
 public:
  // `enabled`: whether `out` is a terminal; otherwise nothing is ever written.
  Progress(std::ostream& out, bool enabled, std::uint64_t total);
  // Takes the line away.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Update(std::uint64_t done, std::uint64_t failed);

 private:
  using Clock = std::chrono::steady_clock;

  std::ostream& out_;
  const bool enabled_;
  const std::uint64_t total_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_;
};

// The line: "[#####.....]  50% 5/10  12.3 images/s, 1 failed".
std::string ProgressLine(std::uint64_t done, std::uint64_t failed, std::uint64_t total,
                         std::chrono::duration<double> elapsed);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_PROGRESS_H_
