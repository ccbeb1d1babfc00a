// On how many cores a batch runs. Internal to the room.
#ifndef PIXEMBED_SRC_BATCHING_THREAD_POLICY_H_
#define PIXEMBED_SRC_BATCHING_THREAD_POLICY_H_

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <vector>

namespace pixembed {

// Chooses so that an item is done soonest, the late ones too.
//
// Several cores make a batch shorter, but seldom by as much as they are: two cores that share an
// image do less than two that have one each. While a batch holds every core, what arrives waits. So
// a lone item is best spread over all cores, and with the load there comes a point from which each
// is best on one. Where that point lies is the model's and the machine's: it is learnt from how
// long batches take on how many cores, and from how often items arrive while others are inside.
// For each number of threads t that is at hand, cores / t batches run side by side, before which
// items wait as in a line before so many servers of constant service time under random arrivals
// (M/D/k). The shortest service time + kWaitWeight times the mean wait is chosen.
//
// A caller that sends its next item only after the last one's answer is alone however fast it is:
// only items that arrive while others are inside count as load.
//
// Pure: time is an argument. One thread at a time. Durations are seconds.
class ThreadPolicy {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // How long the past counts: its weight falls by e in this time, and by e in so many arrivals,
  // which tell the rate well enough. A caller left alone by a load has every core after some
  // 40 images of its own, however short these are.
  static constexpr std::chrono::seconds kMemory{2};
  static constexpr double kRememberedArrivals = 32;
  // The wait of a late item, in mean waits: the tail of a wait is about exponential, and e^-4 is
  // one item in 55. With 1, the mean time in the house would be the shortest, but where two numbers
  // of threads differ little in it, that of more threads has the longer line behind it.
  static constexpr double kWaitWeight = 4;
  // After so many choices a number of threads that was not chosen is taken to be as good as it
  // could be, so that it is tried again: what it took may have been another process's fault, or of
  // a time when the cores were busy. Sooner while it ran only a few times, after so many for each;
  // and where items are mostly alone, so that nobody waits meanwhile.
  static constexpr int kTryAgainAfter = 64;
  static constexpr int kTryAgainAloneAfter = 16;
  static constexpr int kTryAgainPerRun = 2;
  // Items that come while one is served on one thread: fewer are mostly alone.
  static constexpr double kAlone = 0.25;

  // `cores`: what all batches share. >= 1.
  ThreadPolicy(std::size_t queues, int cores) : cores_(cores), queues_(queues) {}

  // One more queue, of which nothing is known.
  void AddQueue() { queues_.emplace_back(); }

  // `items` came into the house: announced, or queued without having been.
  void Enter(std::size_t items, TimePoint now);
  // `items` left it, run or not. REQUIRES: no more than entered.
  void Leave(std::size_t items, TimePoint now);
  // `items` items of a queue took `duration` on `threads` threads. REQUIRES: all >= 1 or > 0.
  void Ran(std::size_t queue, std::size_t items, int threads, std::chrono::nanoseconds duration);

  // The number of threads for the next batch of a queue: `most`, or a half, a quarter ... of it.
  // `most`: cores that it could have, >= 1.
  int Choose(std::size_t queue, int most);

 private:
  // What an item takes on a number of threads: the second shortest of the last runs, since what
  // makes one longer is most often none of its own (a core shared with others, threads that start).
  // A run that is a new try counts alone: those before it are of another time.
  class Service {
   public:
    void Record(double seconds);
    // REQUIRES: runs() > 0.
    double seconds() const;
    int runs() const { return runs_; }
    void PassOver() { ++passed_over_; }
    // Whether it is time to try again, which is `after` choices after the last run at the latest.
    bool Doubtful(int after) const {
      return passed_over_ > std::min(runs_ * kTryAgainPerRun, after);
    }

   private:
    static constexpr std::size_t kRemembered = 5;
    std::array<double, kRemembered> last_{};  // a ring
    std::size_t remembered_ = 0;              // runs since the last new try
    int runs_ = 0;
    int passed_over_ = 0;  // choices since the last run
  };

  // Brings what is counted over time up to `now`.
  void Advance(TimePoint now);
  // Leaves this share of the past's weight.
  void Fade(double kept);
  // Items a second that arrive while others are inside. 0 before anything was.
  double ArrivalRate() const;
  // The time of an item on `threads` threads; where it is not known, the best that it could be: a
  // known one of fewer threads, by so much shorter as these are more, or else the one of the next
  // larger number. Nothing where nothing is known.
  // `try_again`: choices after which what is known is doubtful.
  static std::optional<double> ServiceTime(const std::vector<Service>& services, int threads,
                                           int try_again);

  const int cores_;
  std::vector<std::vector<Service>> queues_;  // by queue and number of threads
  std::size_t inside_ = 0;
  TimePoint counted_until_;
  // Of the past, fading: seconds in which anything was inside, and items that came during these.
  double busy_seconds_ = 0;
  double arrivals_ = 0;
};

// The mean time that an item waits before `servers` servers of constant `service_time` seconds, at
// `rate` random arrivals a second. Infinite where they cannot keep up. Half of what exponential
// service times give (Erlang C): exact for one server, within a few percent for more.
// REQUIRES: servers >= 1.
double MeanWait(double rate, double service_time, int servers);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_BATCHING_THREAD_POLICY_H_
