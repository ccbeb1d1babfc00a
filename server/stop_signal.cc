#include "server/stop_signal.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): POSIX's part is not in <csignal>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "absl/strings/str_cat.h"

namespace pixembed {
namespace {

struct SignalRow {
  int signal;
  const char* name;
};
constexpr std::array kStopSignals = {
    SignalRow{SIGTERM, "SIGTERM"},
    SignalRow{SIGINT, "SIGINT"},
    SignalRow{SIGHUP, "SIGHUP"},
};

const char* NameOf(int signal) {
  for (const SignalRow& row : kStopSignals) {
    if (row.signal == signal) return row.name;
  }
  return "a signal";
}

// Whoever started the program wants it to outlive its terminal: nohup.
bool OutlivesTheTerminal() {
  struct sigaction hangup = {};
  return sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler == SIG_IGN;
}

sigset_t StopSignals() {
  const bool outlives = OutlivesTheTerminal();
  sigset_t signals;
  sigemptyset(&signals);
  for (const SignalRow& row : kStopSignals) {
    // One that is blocked is waited for, though it is ignored.
    if (row.signal != SIGHUP || !outlives) sigaddset(&signals, row.signal);
  }
  return signals;
}

// Ends the process, with a line on stderr if that takes one now: no reader of it, and no thread
// that holds the log, keeps the process.
[[noreturn]] void EndAtOnce(int signal, std::string_view why) {
  const std::string line =
      absl::StrCat("pixembed-server: ", NameOf(signal), std::string(why), "\n");
  pollfd terminal = {.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (poll(&terminal, 1, 0) == 1) {
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
  }
  constexpr int kKilledBySignal = 128;  // as a shell reports it
  std::_Exit(kKilledBySignal + signal);
}

}  // namespace

StopSignal::StopSignal() {
  signal(SIGPIPE, SIG_IGN);
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  watcher_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "signals");
    Watch();
  });
}

StopSignal::~StopSignal() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  pthread_kill(watcher_.native_handle(), SIGINT);  // to the watcher alone: it wakes and ends
  watcher_.join();
}

void StopSignal::Serving() {
  const std::lock_guard lock(mutex_);
  serving_ = true;
}

const char* StopSignal::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return signal_ != 0; });
  return NameOf(signal_);
}

void StopSignal::Watch() {
  const sigset_t signals = StopSignals();
  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    const std::lock_guard lock(mutex_);
    if (ending_) return;
    if (!serving_) EndAtOnce(signal, " before the server was ready; it ends at once");
    // A terminal that is closed says so more than once: the kernel and the shell do.
    if (signal_ != 0 && signal == SIGHUP) continue;
    if (signal_ != 0) EndAtOnce(signal, ", after another signal; it ends at once, undrained");
    signal_ = signal;
    changed_.notify_all();
  }
}

}  // namespace pixembed
