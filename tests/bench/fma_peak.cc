// The float32 limit of this machine: fused multiply-adds between registers and nothing else.
//
// usage: fma_peak [--threads N] [--seconds 0.25]
//
// Prints a line of JSON: GFLOPS (a multiply-add counts as 2) with AVX2 and, where the CPU has it,
// AVX-512, of one core and of N cores at once; each measured for so many seconds.
#include <immintrin.h>
#include <sched.h>

#include <barrier>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"

ABSL_FLAG(int, threads, 0, "Cores at once; 0: those that this process may use");
ABSL_FLAG(double, seconds, 0.25, "How long each figure is measured");

namespace pixembed {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSteps = 20'000;  // between two looks at the clock: some 50 us
constexpr float kFactor = 0.999F;
constexpr float kSummand = 0.001F;  // keeps the sums near 1: no denormals, no infinity

// More chains than latency times issue width of any core (4 cycles, 2 a cycle), within its
// registers.
constexpr int kAvx2Chains = 12;
constexpr int kAvx512Chains = 24;
constexpr double kAvx2Flop = 2.0 * 8 * kAvx2Chains * kSteps;
constexpr double kAvx512Flop = 2.0 * 16 * kAvx512Chains * kSteps;

__attribute__((target("avx2,fma"))) float RunAvx2() {
  const __m256 factor = _mm256_set1_ps(kFactor);
  const __m256 summand = _mm256_set1_ps(kSummand);
  __m256 sums[kAvx2Chains];
  for (__m256& sum : sums) sum = summand;
  for (int i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(sum, factor, summand);
  }
  __m256 total = sums[0];
  for (const __m256& sum : sums) total = _mm256_add_ps(total, sum);
  return _mm256_cvtss_f32(total);
}

__attribute__((target("avx512f"))) float RunAvx512() {
  const __m512 factor = _mm512_set1_ps(kFactor);
  const __m512 summand = _mm512_set1_ps(kSummand);
  __m512 sums[kAvx512Chains];
  for (__m512& sum : sums) sum = summand;
  for (int i = 0; i < kSteps; ++i) {
#pragma GCC unroll 24
    for (__m512& sum : sums) sum = _mm512_fmadd_ps(sum, factor, summand);
  }
  __m512 total = sums[0];
  for (const __m512& sum : sums) total = _mm512_add_ps(total, sum);
  return _mm512_cvtss_f32(total);
}

// GFLOPS of `threads` threads together.
double Measure(float (*run)(), double flop, int threads) {
  const std::chrono::duration<double> duration(absl::GetFlag(FLAGS_seconds));
  std::vector<double> gflops(static_cast<std::size_t>(threads));
  std::vector<float> results(gflops.size());  // so that the work is not in vain
  std::barrier begin(threads);
  {
    std::vector<std::jthread> workers;
    workers.reserve(gflops.size());
    for (std::size_t i = 0; i < gflops.size(); ++i) {
      workers.emplace_back([&, i] {
        results[i] = run();  // the core wakes up
        begin.arrive_and_wait();
        const Clock::time_point start = Clock::now();
        std::chrono::duration<double> elapsed{};
        int runs = 0;
        for (; elapsed < duration; ++runs) {
          results[i] += run();
          elapsed = Clock::now() - start;
        }
        gflops[i] = runs * flop / elapsed.count() * 1e-9;
      });
    }
  }
  double total = 0.0;
  for (std::size_t i = 0; i < gflops.size(); ++i) {
    if (!(results[i] > 0.0F)) std::abort();
    total += gflops[i];
  }
  return total;
}

int UsableCores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  return sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
}

void PrintAll() {
  const int wanted = absl::GetFlag(FLAGS_threads);
  const int threads = wanted > 0 ? wanted : UsableCores();
  std::printf(R"({"threads": %d)", threads);
  const auto print = [threads](const char* name, float (*run)(), double flop) {
    std::printf(R"(, "%s": {"one_core_gflops": %.2f, "all_cores_gflops": %.2f})", name,
                Measure(run, flop, 1), Measure(run, flop, threads));
  };
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    print("avx2", RunAvx2, kAvx2Flop);
  }
  if (__builtin_cpu_supports("avx512f")) print("avx512", RunAvx512, kAvx512Flop);
  std::printf("}\n");
}

}  // namespace
}  // namespace pixembed

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  pixembed::PrintAll();
  return 0;
}
