#include "src/batching/thread_policy.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace pixembed {
namespace {

using Seconds = std::chrono::duration<double>;

}  // namespace

double MeanWait(double rate, double service_time, int servers) {
  const double offered = rate * service_time;
  const double utilization = offered / servers;
  if (utilization >= 1.0) return std::numeric_limits<double>::infinity();
  double blocked = 1.0;  // Erlang B, by its recursion over the servers
  for (int i = 1; i <= servers; ++i) blocked = offered * blocked / (i + offered * blocked);
  const double waits = blocked / (1.0 - utilization * (1.0 - blocked));
  return 0.5 * waits * service_time / (servers * (1.0 - utilization));
}

void ThreadPolicy::Service::Record(double seconds) {
  if (passed_over_ > kTryAgainAloneAfter) remembered_ = 0;
  last_[remembered_ % kRemembered] = seconds;
  ++remembered_;
  ++runs_;
  passed_over_ = 0;
}

double ThreadPolicy::Service::seconds() const {
  std::array<double, kRemembered> copy = last_;
  const std::span known(copy.data(), std::min(remembered_, kRemembered));
  const std::size_t second = known.size() > 1 ? 1 : 0;
  std::ranges::nth_element(known, known.begin() + static_cast<std::ptrdiff_t>(second));
  return known[second];
}

void ThreadPolicy::Enter(std::size_t items, TimePoint now) {
  Advance(now);
  Fade(std::exp(-1 / kRememberedArrivals));
  if (inside_ > 0) arrivals_ += static_cast<double>(items);
  inside_ += items;
}

void ThreadPolicy::Leave(std::size_t items, TimePoint now) {
  Advance(now);
  inside_ -= items;
}

void ThreadPolicy::Ran(std::size_t queue, std::size_t items, int threads,
                       std::chrono::nanoseconds duration) {
  std::vector<Service>& services = queues_[queue];
  const auto index = static_cast<std::size_t>(threads);
  if (services.size() <= index) services.resize(index + 1);
  services[index].Record(Seconds(duration).count() / static_cast<double>(items));
}

int ThreadPolicy::Choose(std::size_t queue, int most) {
  std::vector<Service>& services = queues_[queue];
  const double rate = ArrivalRate();
  const std::optional<double> on_one = ServiceTime(services, 1, kTryAgainAfter);
  const bool alone = on_one.has_value() && rate * *on_one < kAlone;
  const int try_again = alone ? kTryAgainAloneAfter : kTryAgainAfter;
  int best = most;
  double shortest = std::numeric_limits<double>::infinity();
  for (int threads = most; threads >= 1; threads /= 2) {
    const std::optional<double> service = ServiceTime(services, threads, try_again);
    if (!service.has_value()) break;  // nothing is known
    const double time = *service + kWaitWeight * MeanWait(rate, *service, cores_ / threads);
    // Where none keeps up, the fewest threads do most.
    if (time < shortest || std::isinf(shortest)) {
      shortest = time;
      best = threads;
    }
  }
  for (Service& service : services) service.PassOver();
  return best;
}

void ThreadPolicy::Advance(TimePoint now) {
  const double seconds = std::max(Seconds(now - counted_until_).count(), 0.0);
  counted_until_ = now;
  const double kept = std::exp(-seconds / Seconds(kMemory).count());
  Fade(kept);
  if (inside_ > 0) busy_seconds_ += Seconds(kMemory).count() * (1.0 - kept);
}

void ThreadPolicy::Fade(double kept) {
  arrivals_ *= kept;
  busy_seconds_ *= kept;
}

double ThreadPolicy::ArrivalRate() const {
  return busy_seconds_ > 0 ? arrivals_ / busy_seconds_ : 0;
}

std::optional<double> ThreadPolicy::ServiceTime(const std::vector<Service>& services, int threads,
                                                int try_again) {
  for (int known = threads; known >= 1; --known) {
    const auto index = static_cast<std::size_t>(known);
    if (index >= services.size() || services[index].runs() == 0) continue;
    if (known == threads && known > 1 && services[index].Doubtful(try_again)) continue;
    return services[index].seconds() * known / threads;
  }
  const auto more =
      std::ranges::find_if(services, [](const Service& service) { return service.runs() > 0; });
  if (more == services.end()) return std::nullopt;
  return more->seconds();
}

}  // namespace pixembed
