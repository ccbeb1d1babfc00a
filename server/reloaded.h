// Values made of small files that others replace while the server runs: certificates, tokens.
#ifndef PIXEMBED_SERVER_RELOADED_H_
#define PIXEMBED_SERVER_RELOADED_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/engine/engine.h"
#include "src/launch/launch.h"

namespace pixembed {

// Such files are at most so large.
inline constexpr std::size_t kMaxFlagFileBytes = std::size_t{1} << 20;

// How often they are looked at, at most.
inline constexpr std::chrono::seconds kLookInterval(1);

// A file and the flag that names it.
struct FlagFile {
  std::string_view flag;  // a literal
  std::string path;

  // "--flag=path", as errors name it.
  std::string Text() const;
};

// What each file holds, in their order.
// Errors: INVALID_OPTION names the flag, the file and the system's reason, or both sizes where it
// is larger than kMaxFlagFileBytes.
absl::StatusOr<std::vector<std::string>> ReadFlagFiles(std::span<const FlagFile> files);

// A value made of files, and made again once they hold something else. They are looked at by
// whoever asks for the value, at most once in kLookInterval: there is no thread. Their bytes are
// compared, so that it does not matter how they are replaced (in place, by rename, by another
// symbolic link, as Kubernetes does). What cannot be read, or makes no value, leaves the value in
// force as it is, and is said once. Thread-safe.
//
// T has a member `about`, a line for the log that tells no secret.
template <typename T>
class Reloaded {
 public:
  // `contents` as ReadFlagFiles.
  using Make = std::function<absl::StatusOr<T>(const std::vector<std::string>& contents)>;

  // `log` may be null. Errors: those of ReadFlagFiles and of `make`.
  static absl::StatusOr<std::shared_ptr<Reloaded>> Open(std::vector<FlagFile> files, Make make,
                                                        const Log& log, TimePoint now) {
    absl::StatusOr<std::vector<std::string>> contents = ReadFlagFiles(files);
    if (!contents.ok()) return contents.status();
    absl::StatusOr<T> value = make(*contents);
    if (!value.ok()) return value.status();
    std::shared_ptr<Reloaded> reloaded(new Reloaded);
    reloaded->files_ = std::move(files);
    reloaded->make_ = std::move(make);
    reloaded->log_ = log;
    reloaded->Install(*std::move(contents), *std::move(value));
    reloaded->due_ = now + kLookInterval;
    return reloaded;
  }
  Reloaded(const Reloaded&) = delete;
  Reloaded& operator=(const Reloaded&) = delete;
  ~Reloaded() = default;

  // The value in force. Only one thread at a time reads files, the others do not wait for it.
  std::shared_ptr<const T> Get(TimePoint now) {
    if (now >= due_.load()) Look(now);
    const std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  Reloaded() = default;

  void Write(LogLevel level, const std::string& line) const {
    if (log_) log_(level, absl::StrCat(files_.front().Text(), ": ", line));
  }

  void Look(TimePoint now) {
    const std::unique_lock looking(looking_, std::try_to_lock);
    if (!looking.owns_lock() || now < due_.load()) return;
    due_ = now + kLookInterval;
    absl::StatusOr<std::vector<std::string>> contents = ReadFlagFiles(files_);
    if (contents.ok() && *contents == contents_) {
      failure_ = absl::OkStatus();
      return;
    }
    absl::StatusOr<T> value =
        contents.ok() ? make_(*contents) : absl::StatusOr<T>(contents.status());
    if (!value.ok()) {
      if (value.status() == failure_) return;
      failure_ = value.status();
      Write(LogLevel::kWarning, absl::StrCat("the old one stays in force: ", failure_.message()));
      return;
    }
    failure_ = absl::OkStatus();
    Install(*std::move(contents), *std::move(value));
  }

  void Install(std::vector<std::string> contents, T value) {
    contents_ = std::move(contents);
    auto made = std::make_shared<const T>(std::move(value));
    Write(LogLevel::kInfo, made->about);
    const std::lock_guard lock(mutex_);
    value_ = std::move(made);
  }

  std::vector<FlagFile> files_;
  Make make_;
  Log log_;
  std::atomic<TimePoint> due_{TimePoint()};  // the next look

  std::mutex looking_;
  std::vector<std::string> contents_;  // guarded by looking_: of the value in force
  absl::Status failure_;               // guarded by looking_: of the last look

  std::mutex mutex_;
  std::shared_ptr<const T> value_;  // guarded by mutex_
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_RELOADED_H_
