// What a second without work costs on this machine, without gRPC and without the engine: threads
// hand one picture on, one after the other, and the middle one decodes and resizes it; once after
// every gap, and once back to back. What a request through the server takes longer after a gap than
// this does is the server's.
//
// usage: idle_floor PICTURE [--gap=1.05s] [--requests=60] [--threads=5]
//
// A request of `pixembed load` crosses five: client, completion queue, decode stage, inference
// stage, completion queue; and the client again. Prints one line of JSON, microseconds: "idle" and
// "busy", each with p50 and p99 of "wake" (the first hand-over), "decode", "arithmetic" (a fixed
// number of multiply-adds between registers: the speed of the core, not of its caches), "memory" (a
// number written to each of 1,024 pages: what the machine, or its host, did to them meanwhile) and
// "total" (until the first thread has it back, without the last two); and "hand_over", what one
// takes back to back where nobody works, on the clock and of CPU.
#include <sys/resource.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/image/image.h"

ABSL_FLAG(absl::Duration, gap, absl::Milliseconds(1050), "Time without work before a request");
ABSL_FLAG(int, requests, 60, "Requests after a gap, and as many back to back");
ABSL_FLAG(int, threads, 5, "Threads that a request crosses; >= 2");

namespace pixembed {
namespace {

using Clock = std::chrono::steady_clock;

double Microseconds(Clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

PreprocessSpec To224() {
  PreprocessSpec spec;
  spec.resize = ResizeTarget{.exact = Size{224, 224}};
  return spec;
}

// User and system time of this process so far.
double CpuMicroseconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto time = [](const timeval& value) {
    return 1e6 * static_cast<double>(value.tv_sec) + static_cast<double>(value.tv_usec);
  };
  return time(usage.ru_utime) + time(usage.ru_stime);
}

// About a millisecond that needs no memory.
double Arithmetic() {
  constexpr int kSteps = 1'000'000;
  double x = 1.0;
  for (int i = 0; i < kSteps; ++i) x = x * 0.999999 + 1e-7;
  return x;
}

// Pages that the process keeps, one byte of each of which is used now and then.
class Pages {
 public:
  Pages() : bytes_(kPages * kPageBytes) {}

  void Touch() {
    for (std::size_t i = 0; i < kPages; ++i) ++bytes_[i * kPageBytes];
  }

 private:
  static constexpr std::size_t kPages = 1024;
  static constexpr std::size_t kPageBytes = 4096;

  std::vector<unsigned char> bytes_;
};

// Where the time of one request went.
struct Sample {
  double wake = 0;
  double decode = 0;
  double arithmetic = 0;
  double memory = 0;
  double total = 0;
};

// Threads in a ring. The caller of Request is the first.
class Ring {
 public:
  Ring(int threads, std::vector<char> picture)
      : picture_(std::move(picture)), doors_(static_cast<std::size_t>(threads)) {
    for (std::size_t i = 1; i < doors_.size(); ++i) {
      threads_.emplace_back([this, i] { Serve(i); });
    }
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() {
    ended_ = true;
    Pass(1);
  }

  Sample Request(bool work = true) {
    work_ = work;
    sample_ = {};
    sent_ = Clock::now();
    Pass(1);
    Wait(0);
    sample_.total = Microseconds(Clock::now() - sent_) - sample_.arithmetic - sample_.memory;
    return sample_;
  }

 private:
  struct Door {
    std::mutex mutex;
    std::condition_variable opened;
    bool open = false;  // guarded by mutex
  };

  // What is written before Pass is read after Wait.
  void Pass(std::size_t to) {
    Door& door = doors_[to];
    const std::lock_guard lock(door.mutex);
    door.open = true;
    door.opened.notify_one();
  }

  void Wait(std::size_t at) {
    Door& door = doors_[at];
    std::unique_lock lock(door.mutex);
    door.opened.wait(lock, [&door] { return door.open; });
    door.open = false;
  }

  void Serve(std::size_t at) {
    const std::size_t next = (at + 1) % doors_.size();
    for (;;) {
      Wait(at);
      if (ended_) {
        if (next != 0) Pass(next);
        return;
      }
      const Clock::time_point begin = Clock::now();
      if (at == 1) sample_.wake = Microseconds(begin - sent_);
      if (work_ && at == doors_.size() / 2) Work(begin);
      Pass(next);
    }
  }

  void Work(Clock::time_point begin) {
    const absl::StatusOr<Image> image =
        DecodeAndResize(std::as_bytes(std::span(picture_)), DecodeLimits{}, spec_, DecodePolicy{});
    const Clock::time_point decoded = Clock::now();
    sink_ = Arithmetic() + (image.ok() ? 1 : 0);
    sample_.decode = Microseconds(decoded - begin);
    const Clock::time_point multiplied = Clock::now();
    pages_.Touch();
    sample_.arithmetic = Microseconds(multiplied - decoded);
    sample_.memory = Microseconds(Clock::now() - multiplied);
  }

  const std::vector<char> picture_;
  const PreprocessSpec spec_ = To224();
  std::vector<Door> doors_;  // by thread
  Pages pages_;
  // One thread at a time: whoever holds the request.
  bool ended_ = false;
  bool work_ = true;
  Clock::time_point sent_;
  Sample sample_;
  double sink_ = 0;
  std::vector<std::jthread> threads_;  // last: they use all of the above
};

// The smallest value that a `share` of all does not exceed. REQUIRES: values is not empty.
double Percentile(std::vector<double> values, double share) {
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size())));
  std::ranges::sort(values);
  return values[std::max<std::size_t>(rank, 1) - 1];
}

void PrintCase(const char* name, const std::vector<Sample>& samples) {
  struct Column {
    const char* name;
    double Sample::*value;
  };
  constexpr std::array kColumns = {Column{"wake", &Sample::wake}, Column{"decode", &Sample::decode},
                                   Column{"arithmetic", &Sample::arithmetic},
                                   Column{"memory", &Sample::memory},
                                   Column{"total", &Sample::total}};
  std::printf("\"%s\": {", name);
  for (const Column& column : kColumns) {
    std::vector<double> values;
    values.reserve(samples.size());
    for (const Sample& sample : samples) values.push_back(sample.*column.value);
    std::printf(R"(%s"%s": {"p50": %.1f, "p99": %.1f})", &column == kColumns.data() ? "" : ", ",
                column.name, Percentile(values, 0.5), Percentile(values, 0.99));
  }
  std::printf("}");
}

void PrintHandOver(Ring& ring, int threads) {
  constexpr int kRounds = 20'000;
  const double cpu = CpuMicroseconds();
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < kRounds; ++i) ring.Request(/*work=*/false);
  const double count = static_cast<double>(kRounds) * threads;
  std::printf(R"("hand_over": {"wall": %.2f, "cpu": %.2f})",
              Microseconds(Clock::now() - begin) / count, (CpuMicroseconds() - cpu) / count);
}

int Main(std::span<char* const> arguments) {
  const int requests = absl::GetFlag(FLAGS_requests);
  const int threads = absl::GetFlag(FLAGS_threads);
  if (arguments.size() != 2 || requests < 1 || threads < 2) {
    std::fprintf(stderr, "usage: idle_floor PICTURE [--gap=1.05s] [--requests=60] [--threads=5]\n");
    return 2;
  }
  std::ifstream file(arguments[1], std::ios::binary);
  std::vector<char> picture{std::istreambuf_iterator<char>(file), {}};
  const auto image = Decode(std::as_bytes(std::span(picture)), DecodeLimits{}, DecodePolicy{});
  if (!image.ok()) {
    std::fprintf(stderr, "idle_floor: %s: %s\n", arguments[1], image.status().ToString().c_str());
    return 1;
  }
  Ring ring(threads, std::move(picture));
  std::vector<Sample> idle;
  std::vector<Sample> busy;
  idle.reserve(static_cast<std::size_t>(requests));
  busy.reserve(static_cast<std::size_t>(requests));
  for (int i = 0; i < requests; ++i) ring.Request();
  for (int i = 0; i < requests; ++i) busy.push_back(ring.Request());
  for (int i = 0; i < requests; ++i) {
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(absl::GetFlag(FLAGS_gap)));
    idle.push_back(ring.Request());
  }
  std::printf("{");
  PrintCase("idle", idle);
  std::printf(", ");
  PrintCase("busy", busy);
  std::printf(", ");
  PrintHandOver(ring, threads);
  std::printf("}\n");
  return 0;
}

}  // namespace
}  // namespace pixembed

int main(int argc, char** argv) {
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  return pixembed::Main(arguments);
}
