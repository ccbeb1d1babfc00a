// When a failed call is tried again, and after which pause. The only place that says so.
#ifndef PIXEMBED_CLIENT_CPP_RETRY_H_
#define PIXEMBED_CLIENT_CPP_RETRY_H_

#include <chrono>
#include <cstddef>
#include <optional>
#include <set>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "client/cpp/client.h"

namespace pixembed::client {

using RetryClock = std::chrono::system_clock;

// Tries, within a second, of a question that is better answered soon, and of servers that were
// never there.
inline constexpr int kProbes = 5;

// Zero: never.
RetryClock::time_point DeadlineAfter(std::chrono::milliseconds timeout);

// Blocks until `time` or a stop, on gRPC's timer.
void WaitUntil(RetryClock::time_point time, const std::stop_token& stop = {});

// The tries of one call; of a stream, those since its last result.
//
// Tried again are UNAVAILABLE (and CANCELLED, with which gRPC itself ends calls when a server stops
// between two of its steps), at once while another address has not failed, and what says when
// (RetryInfo), after that. Pauses grow; none is shorter than the server said, which is the first
// one by itself. They are up to half longer, at random, so that callers who were refused together
// do not come back together. TLS that does not fit is not tried again: waiting does not mend it.
//
// Tries go on until the time is over, or there were as many as are allowed: kProbes where nobody
// has ever answered and `max_attempts` does not say, for such an address is probably wrong. A
// stream does not count those that met a server which is draining: that ends by itself.
class Attempts {
 public:
  // Of a call that ends at `deadline`, to so many addresses. `most`: where `max_attempts` does not
  // say. Without any of these limits: for a minute from the first failure on.
  static Attempts OfCall(const ClientOptions& options, std::size_t addresses,
                         RetryClock::time_point deadline, std::optional<int> most = std::nullopt);
  // Of a stream: for `timeout` from the first failure on. Without a limit: for a minute, and for
  // ever once there was a result.
  static Attempts OfStream(const ClientOptions& options, std::size_t addresses);

  // With every result of a stream: the next failure is the first, and the time counts from there.
  void BeginAnew();

  // Before the next try, after a failure at this address; nothing: there shall be none. `answered`:
  // Connections::answered.
  std::optional<std::chrono::nanoseconds> Pause(const absl::Status& failure,
                                                const std::string& address, bool answered,
                                                RetryClock::time_point now);

  // The addresses that have failed, for the next try to avoid; none once all have.
  const std::set<std::string>& failed_addresses() const { return failed_addresses_; }

  // When it is given up.
  RetryClock::time_point deadline() const { return deadline_; }

 private:
  Attempts(std::optional<int> most, std::size_t addresses, bool is_stream);

  std::optional<std::chrono::nanoseconds> Delay(const absl::Status& failure, bool elsewhere,
                                                std::chrono::nanoseconds left) const;

  std::optional<int> most_;  // nothing: as many as there is time for
  std::size_t addresses_;
  bool is_stream_;
  std::chrono::milliseconds patience_{0};  // from the first failure on; zero: no limit
  bool only_until_result_ = false;         // whether the first result ends that limit
  RetryClock::time_point call_deadline_ = RetryClock::time_point::max();
  RetryClock::time_point deadline_ = RetryClock::time_point::max();
  int made_ = 0;    // of a stream without those that met a server that drains
  int failed_ = 0;  // all
  std::set<std::string> failed_addresses_;
};

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_RETRY_H_
