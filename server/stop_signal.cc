#include "server/stop_signal.h"

#include <pthread.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): POSIX's part is not in <csignal>

#include <cstdlib>
#include <mutex>
#include <thread>

namespace pixembed {
namespace {

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

StopSignal::StopSignal() {
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
  return signal_ == SIGINT ? "SIGINT" : "SIGTERM";
}

void StopSignal::Watch() {
  const sigset_t signals = StopSignals();
  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    const std::lock_guard lock(mutex_);
    if (ending_) return;
    constexpr int kKilledBySignal = 128;  // as a shell reports it
    if (!serving_ || signal_ != 0) std::_Exit(kKilledBySignal + signal);
    signal_ = signal;
    changed_.notify_all();
  }
}

}  // namespace pixembed
