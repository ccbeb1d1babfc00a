#include "client/cpp/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace pixembed::client {

// Never freed, for a signal may read it at any time; there are few.
struct PartialName {
  const std::string path;
  std::atomic<bool> there = true;  // or about to be
  PartialName* next = nullptr;
};

namespace {

std::atomic<PartialName*> newest = nullptr;
static_assert(std::atomic<PartialName*>::is_always_lock_free &&
              std::atomic<bool>::is_always_lock_free);

// A signal's handler: the signal ends the program as if it had none.
void RemovePartials(int signal) {
  for (const PartialName* name = newest; name != nullptr; name = name->next) {
    if (name->there) {
      unlink(name->path.c_str());
    }
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);  // when this function returns
}

void RemovePartialsOnSignals() {
  for (const int signal : {SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM}) {
    struct sigaction action {};
    if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) {
      action.sa_handler = RemovePartials;
      sigaction(signal, &action, nullptr);
    }
  }
}

// Known to signals before the file is there, so that none comes between.
PartialName& NewPartialName(const std::string& path) {
  static const bool handled = (RemovePartialsOnSignals(), true);
  static_cast<void>(handled);
  const std::uint32_t number = std::random_device()();
  auto* const name =
      new PartialName{.path = absl::StrCat(path, ".partial-", absl::Hex(number, absl::kZeroPad8))};
  name->next = newest;
  while (!newest.compare_exchange_weak(name->next, name)) {
  }
  return *name;
}

}  // namespace

absl::StatusOr<std::unique_ptr<AtomicFile>> AtomicFile::Create(const std::string& path) {
  PartialName& partial = NewPartialName(path);
  const int descriptor = open(partial.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  std::FILE* const file = descriptor < 0 ? nullptr : fdopen(descriptor, "wb");
  if (file == nullptr) {
    const int number = errno;
    if (descriptor >= 0) {
      close(descriptor);
      unlink(partial.path.c_str());
    }
    partial.there = false;
    return absl::ErrnoToStatus(number, path);
  }
  return std::unique_ptr<AtomicFile>(new AtomicFile(path, partial, file));
}

AtomicFile::AtomicFile(std::string path, PartialName& partial, std::FILE* file)
    : path_(std::move(path)), partial_(partial), file_(file) {}

AtomicFile::~AtomicFile() {
  if (file_ != nullptr) {
    std::fclose(file_);
  }
  if (partial_.there) {
    unlink(partial_.path.c_str());
    partial_.there = false;
  }
}

absl::Status AtomicFile::Write(std::string_view bytes) {
  return std::fwrite(bytes.data(), 1, bytes.size(), file_) == bytes.size() ? absl::OkStatus()
                                                                           : Failure();
}

absl::Status AtomicFile::Overwrite(std::string_view bytes) {
  return std::fseek(file_, 0, SEEK_SET) == 0 ? Write(bytes) : Failure();
}

absl::Status AtomicFile::Commit() {
  if (std::fflush(file_) != 0 || fsync(fileno(file_)) != 0) {
    return Failure();
  }
  if (std::fclose(std::exchange(file_, nullptr)) != 0 ||
      std::rename(partial_.path.c_str(), path_.c_str()) != 0) {
    return Failure();
  }
  partial_.there = false;
  return absl::OkStatus();
}

absl::Status AtomicFile::Failure() const { return absl::ErrnoToStatus(errno, path_); }

}  // namespace pixembed::client
