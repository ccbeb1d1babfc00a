// When the requests of `pixembed load --rate --seed --duration` are due: seconds from the start,
// one a line. So that a queue can be computed for the very arrivals that a server was measured
// with.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/time/time.h"
#include "client/cpp/arrivals.h"

ABSL_FLAG(double, rate, 1.0, "arrivals a second, Poisson");
ABSL_FLAG(std::uint64_t, seed, 0, "of the random gaps");
ABSL_FLAG(absl::Duration, duration, absl::Seconds(1), "until when");

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const double rate = absl::GetFlag(FLAGS_rate);
  if (!(rate > 0.0)) {
    std::fprintf(stderr, "--rate=%g: must be above 0\n", rate);
    return EXIT_FAILURE;
  }
  const std::chrono::nanoseconds end = absl::ToChronoNanoseconds(absl::GetFlag(FLAGS_duration));
  pixembed::client::ArrivalTimes times(pixembed::client::Arrivals::kPoisson, rate,
                                       absl::GetFlag(FLAGS_seed));
  for (std::chrono::nanoseconds time = times.Next(); time < end; time = times.Next()) {
    std::printf("%.9f\n", std::chrono::duration<double>(time).count());
  }
  return EXIT_SUCCESS;
}
