#include "server/process_status.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace pixembed {
namespace {

// Source: proc(5), Linux man-pages 6.03, /proc/pid/stat: numbers of fields, the first is 1.
constexpr std::size_t kUserTime = 14;
constexpr std::size_t kSystemTime = 15;
constexpr std::size_t kStartTime = 22;  // since boot
constexpr std::size_t kVirtualBytes = 23;
constexpr std::size_t kResidentPages = 24;

std::string ReadFile(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The fields behind the name of the program, which may hold anything: the first is field 3.
std::vector<std::string> FieldsBehindName(const std::string& stat) {
  const std::size_t end = stat.rfind(')');
  if (end == std::string::npos) return {};
  return absl::StrSplit(absl::string_view(stat).substr(end + 1), absl::ByAnyChar(" \n"),
                        absl::SkipEmpty());
}

std::optional<double> ReadBootSeconds() {
  for (const absl::string_view line : absl::StrSplit(ReadFile("/proc/stat"), '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    double seconds = 0;
    if (words.size() == 2 && words[0] == "btime" && absl::SimpleAtod(words[1], &seconds)) {
      return seconds;
    }
  }
  return std::nullopt;
}

// When the machine started, in seconds since the epoch, as the clock had it at the first call: a
// clock that is set must not look like another start.
std::optional<double> BootSeconds() {
  static const std::optional<double> boot = ReadBootSeconds();
  return boot;
}

std::uint64_t CountDescriptors() {
  std::uint64_t count = 0;
  std::error_code error;
  std::filesystem::directory_iterator entry("/proc/self/fd", error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) ++count;
  return count > 0 ? count - 1 : 0;  // without the one that reads the folder
}

}  // namespace

std::optional<ProcessStatus> ReadProcessStatus() {
  constexpr std::size_t kFirstField = 3;
  const std::vector<std::string> fields = FieldsBehindName(ReadFile("/proc/self/stat"));
  const auto field = [&fields](std::size_t number) {
    std::uint64_t value = 0;
    const std::size_t index = number - kFirstField;
    if (index < fields.size() && !absl::SimpleAtoi(fields[index], &value)) value = 0;
    return value;
  };
  const std::optional<double> boot = BootSeconds();
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  if (fields.size() <= kResidentPages - kFirstField || !boot.has_value() || ticks <= 0) {
    return std::nullopt;
  }
  rlimit descriptors{};
  if (getrlimit(RLIMIT_NOFILE, &descriptors) != 0) return std::nullopt;
  return ProcessStatus{
      .cpu_seconds = static_cast<double>(field(kUserTime) + field(kSystemTime)) / ticks,
      .resident_bytes = field(kResidentPages) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)),
      .virtual_bytes = field(kVirtualBytes),
      .open_descriptors = CountDescriptors(),
      .max_descriptors = descriptors.rlim_cur,
      .start_seconds = *boot + static_cast<double>(field(kStartTime)) / ticks};
}

}  // namespace pixembed
