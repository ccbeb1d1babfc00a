// What the engine costs by itself: a decoder and a model that do nothing, so that what is left is
// admission, queues, wake-ups and callbacks. per_image is wall time; CPU is of the whole
// process.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/engine/engine.h"
#include "src/engine/start.h"
#include "src/image/image.h"
#include "tests/bench/null_model.h"

namespace pixembed {
namespace {

constexpr Size kInput = {8, 8};
constexpr int kCores = 2;

std::unique_ptr<Engine> StartNullEngine(EngineOptions options) {
  const Decoder decoder = {
      [](std::span<const std::byte>, const DecodeLimits&,
         const DecodePolicy&) -> absl::StatusOr<ImageHeader> { return ImageHeader{}; },
      [](std::span<const std::byte>, const DecodeLimits&, const PreprocessSpec&,
         const DecodePolicy&) -> absl::StatusOr<Image> {
        Image image(kInput.width, kInput.height);
        std::ranges::fill(image.pixels(), std::uint8_t{0});
        return image;
      },
      nullptr};
  return StartEngine({std::make_shared<NullModel>(kInput)}, std::move(options), kCores, decoder)
      .value();
}

// Counts results; the caller waits for them.
class Countdown {
 public:
  void Add(std::size_t count) {
    const std::lock_guard lock(mutex_);
    left_ += count;
  }
  void Down() {
    const std::lock_guard lock(mutex_);
    if (--left_ == 0) zero_.notify_one();
  }
  void AwaitZero() {
    std::unique_lock lock(mutex_);
    zero_.wait(lock, [this] { return left_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable zero_;
  std::size_t left_ = 0;
};

std::vector<Item> Items(std::size_t count, Countdown* countdown) {
  static const auto bytes = std::make_shared<const std::string>("image");
  std::vector<Item> items(count);
  for (Item& item : items) {
    item.image = {std::as_bytes(std::span(*bytes)), bytes};
    item.done = [countdown](const absl::StatusOr<Outcome>&) { countdown->Down(); };
  }
  return items;
}

void Report(benchmark::State& state, std::size_t images_per_iteration) {
  const auto images =
      static_cast<double>(state.iterations()) * static_cast<double>(images_per_iteration);
  using benchmark::Counter;
  state.counters["per_image"] = Counter(images, Counter::kIsRate | Counter::kInvert);
}

// One call in, all of its results out.
void BM_Call(benchmark::State& state) {
  const std::unique_ptr<Engine> engine = StartNullEngine({});
  const auto images = static_cast<std::size_t>(state.range(0));
  Countdown countdown;
  for (auto _ : state) {
    countdown.Add(images);
    if (!engine->Submit(0, Items(images, &countdown)).ok()) state.SkipWithError("refused");
    countdown.AwaitZero();
  }
  Report(state, images);
}
BENCHMARK(BM_Call)->Arg(1)->Arg(4)->Arg(64)->UseRealTime()->MeasureProcessCPUTime();

// A stream that is always full: what an image costs when nothing sleeps.
void BM_Stream(benchmark::State& state) {
  EngineOptions options;
  options.max_batch_size = static_cast<int>(state.range(0));
  const std::unique_ptr<Engine> engine = StartNullEngine(options);
  constexpr std::size_t kImages = 4096;
  constexpr std::size_t kMessage = 16;
  Countdown countdown;
  for (auto _ : state) {
    countdown.Add(kImages);
    for (std::size_t sent = 0; sent < kImages; sent += kMessage) {
      engine->SubmitWhenRoom(0, Items(kMessage, &countdown), [](const absl::Status&) {});
    }
    countdown.AwaitZero();
  }
  Report(state, kImages);
}
BENCHMARK(BM_Stream)->Arg(4)->Arg(32)->UseRealTime()->MeasureProcessCPUTime();

}  // namespace
}  // namespace pixembed
