// A program that a test runs: what it says, how it ends.
#ifndef PIXEMBED_TESTS_SERVER_PROCESS_H_
#define PIXEMBED_TESTS_SERVER_PROCESS_H_

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>
#include <utility>
#include <vector>

namespace pixembed {

class Process {
 public:
  // `environment` holds NAME=VALUE, added to the test's own.
  explicit Process(std::vector<std::string> command, std::vector<std::string> environment = {}) {
    std::array<int, 2> ends{};
    if (pipe(ends.data()) != 0) return;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    std::vector<char*> arguments = Pointers(command);
    for (char** variable = environ; *variable != nullptr; ++variable) {
      environment.emplace_back(*variable);
    }
    std::vector<char*> variables = Pointers(environment);
    // As a terminal starts it, whatever the test itself ignores.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGHUP, SIGPIPE}) sigaddset(&signals, signal);
    posix_spawnattr_setsigdefault(&attributes, &signals);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    posix_spawn(&pid_, arguments[0], &actions, &attributes, arguments.data(), variables.data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    output_ = ends[0];
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      Wait();
    }
    CloseOutput();
  }

  // Nobody reads any more.
  void CloseOutput() {
    if (output_ >= 0) close(std::exchange(output_, -1));
  }

  void Signal(int signal) const { kill(pid_, signal); }

  // Reads until a line holds `text`; that line, or nothing at the end of the output.
  std::string AwaitLine(const std::string& text) {
    for (std::string line = ReadLine(); !line.empty(); line = ReadLine()) {
      if (line.find(text) != std::string::npos) return line;
    }
    return "";
  }

  // The rest of the output, until the program closes it.
  std::string ReadAll() {
    std::string all;
    for (std::string line = ReadLine(); !line.empty(); line = ReadLine()) all += line;
    return all;
  }

  // The exit code; -signal if a signal ended it.
  int Wait() {
    int status = 0;
    waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  static std::vector<char*> Pointers(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    pointers.reserve(texts.size() + 1);
    for (std::string& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
  }

  // With its newline; empty at the end.
  std::string ReadLine() const {
    std::string line;
    char c = 0;
    while (read(output_, &c, 1) == 1) {
      line.push_back(c);
      if (c == '\n') break;
    }
    return line;
  }

  pid_t pid_ = -1;
  int output_ = -1;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_SERVER_PROCESS_H_
