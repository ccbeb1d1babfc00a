#include "src/engine/piecewise_runner.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {

PiecewiseRunner::PiecewiseRunner(std::unique_ptr<Runner> runner, OnCut on_cut)
    : runner_(std::move(runner)), on_cut_(std::move(on_cut)) {}

void PiecewiseRunner::Embed(std::span<const Image* const> images, std::span<const OutputSpec> specs,
                            int threads, absl::FunctionRef<void(Piece)> take) {
  using Clock = std::chrono::steady_clock;
  assert(!images.empty() && images.size() == specs.size());
  if (images.size() > limit_) RaiseLimitInTime();
  for (std::size_t first = 0; first < images.size();) {
    const std::size_t size = std::min(limit_, images.size() - first);
    const Clock::time_point begin = Clock::now();
    absl::StatusOr<std::vector<Embedding>> embeddings =
        runner_->Embed(images.subspan(first, size), specs.subspan(first, size), threads);
    const std::chrono::nanoseconds compute = Clock::now() - begin;
    if (size > 1 && ReasonOf(embeddings.status()) == Reason::kOutOfMemory) {
      LowerLimit((size + 1) / 2);
      on_cut_(size, limit_);
      runner_->ReleaseUnusedMemory();
      continue;
    }
    if (embeddings.ok() && embeddings->size() != size) {
      embeddings = MakeError(
          Reason::kDeviceFailure,
          absl::StrCat("the model gave ", embeddings->size(), " vectors for ", size, " images"));
    }
    if (embeddings.ok() && size > limit_ / 2) attempting_ = false;
    take({first, size, std::move(embeddings), compute});
    first += size;
  }
}

void PiecewiseRunner::LowerLimit(std::size_t limit) {
  if (attempting_) patience_ = std::min(2 * patience_, kLongestPatience);
  attempting_ = false;
  limit_ = limit;
  cut_ = 0;
}

void PiecewiseRunner::RaiseLimitInTime() {
  if (++cut_ <= patience_) return;
  limit_ *= 2;
  cut_ = 0;
  attempting_ = true;
}

}  // namespace pixembed
