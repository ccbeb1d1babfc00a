// What the kernel says of this process is what the process knows of itself.
#include "server/process_status.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

namespace pixembed {
namespace {

double UsedCpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST(ProcessStatus, CountsCpuTimeAsGetrusageDoes) {
  // Two of the kernel's ticks, in which the status counts, of a hundred a second.
  constexpr double kTicks = 0.02;
  const double before = UsedCpuSeconds();
  const std::optional<ProcessStatus> status = ReadProcessStatus();
  ASSERT_TRUE(status.has_value());
  EXPECT_GE(status->cpu_seconds, before - kTicks);
  EXPECT_LE(status->cpu_seconds, UsedCpuSeconds() + kTicks);
}

TEST(ProcessStatus, CountsMemoryThatIsTouched) {
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  const std::optional<ProcessStatus> before = ReadProcessStatus();
  const std::string block(kBytes, 'x');
  const std::optional<ProcessStatus> after = ReadProcessStatus();
  ASSERT_TRUE(before.has_value() && after.has_value());
  EXPECT_EQ(block.back(), 'x');
  EXPECT_GE(after->resident_bytes, before->resident_bytes + kBytes / 2);
  EXPECT_GE(after->virtual_bytes, after->resident_bytes);
}

TEST(ProcessStatus, CountsDescriptors) {
  const std::optional<ProcessStatus> before = ReadProcessStatus();
  const int opened = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const std::optional<ProcessStatus> with_one_more = ReadProcessStatus();
  close(opened);
  ASSERT_TRUE(before.has_value() && with_one_more.has_value());
  EXPECT_EQ(with_one_more->open_descriptors, before->open_descriptors + 1);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  EXPECT_EQ(before->max_descriptors, limit.rlim_cur);
}

TEST(ProcessStatus, BeganNotLongAgo) {
  const std::optional<ProcessStatus> status = ReadProcessStatus();
  ASSERT_TRUE(status.has_value());
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  // The kernel rounds when it booted to seconds, and a clock may have been set since.
  EXPECT_NEAR(status->start_seconds, now, 3600);
}

}  // namespace
}  // namespace pixembed
