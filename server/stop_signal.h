// SIGTERM, SIGINT and SIGHUP as something to wait for.
#ifndef PIXEMBED_SERVER_STOP_SIGNAL_H_
#define PIXEMBED_SERVER_STOP_SIGNAL_H_

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace pixembed {

// Watches for the signals on a thread of its own. Before Serving() the first one, and afterwards
// the second, ends the process at once with exit code 128 + signal and a line on stderr. SIGHUP, of
// a terminal that is closed, is as the others, but never the second; where it was ignored at start
// (nohup) it stays so. At most one in a process.
class StopSignal {
 public:
  // Blocks the signals in this thread and in those that it starts from now on: construct it before
  // any other thread exists. From now on the process ignores SIGPIPE: a log whose reader has gone
  // loses its lines, not the server.
  StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal();

  // From now on the first signal is for Wait.
  void Serving();

  // Blocks until the first signal; its name.
  const char* Wait();

 private:
  void Watch();

  std::mutex mutex_;
  std::condition_variable changed_;
  bool serving_ = false;  // guarded by mutex_
  bool ending_ = false;   // guarded by mutex_
  int signal_ = 0;        // guarded by mutex_
  std::thread watcher_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_STOP_SIGNAL_H_
