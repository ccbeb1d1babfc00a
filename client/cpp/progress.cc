#include "client/cpp/progress.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ostream>
#include <string>

#include "absl/strings/str_format.h"

namespace pixembed::client {
namespace {

constexpr char kClearLine[] = "\r\x1b[K";
constexpr int kBarWidth = 30;

}  // namespace

std::string ProgressLine(std::uint64_t done, std::uint64_t failed, std::uint64_t total,
                         std::chrono::duration<double> elapsed) {
  const double share = total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total);
  const int filled = std::clamp(static_cast<int>(share * kBarWidth), 0, kBarWidth);
  std::string line = absl::StrFormat(
      "[%s%s] %3d%% %d/%d  %.1f images/s", std::string(filled, '#'),
      std::string(kBarWidth - filled, '.'), static_cast<int>(share * 100), done, total,
      elapsed.count() > 0 ? static_cast<double>(done) / elapsed.count() : 0.0);
  if (failed > 0) {
    absl::StrAppendFormat(&line, ", %d failed", failed);
  }
  return line;
}

Progress::Progress(std::ostream& out, bool enabled, std::uint64_t total)
    : out_(out), enabled_(enabled), total_(total) {}

Progress::~Progress() {
  if (enabled_) {
    out_ << kClearLine << std::flush;
  }
}

void Progress::Update(std::uint64_t done, std::uint64_t failed) {
  const Clock::time_point now = Clock::now();
  if (!enabled_ || (now < next_ && done < total_)) {
    return;
  }
  next_ = now + std::chrono::milliseconds(100);
  out_ << kClearLine << ProgressLine(done, failed, total_, now - start_) << std::flush;
}

}  // namespace pixembed::client
