#include "src/model/splitting_runner.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();
// Batches that are cut before larger pieces are tried. A failed attempt takes a pass's time and
// makes the device's other workers wait while memory is given back, so it has to be rare.
constexpr std::size_t kFirstPatience = 64;
constexpr std::size_t kLongestPatience = 65'536;

class SplittingRunner final : public Runner {
 public:
  SplittingRunner(std::unique_ptr<Runner> runner, std::function<void()> release_memory)
      : runner_(std::move(runner)), release_memory_(std::move(release_memory)) {}

  absl::StatusOr<std::vector<Embedding>> Embed(std::span<const Image* const> images,
                                               std::span<const OutputSpec> specs,
                                               int threads) override {
    assert(!images.empty() && images.size() == specs.size());
    if (images.size() > limit_) RaiseLimitInTime();
    std::vector<Embedding> embeddings;
    embeddings.reserve(images.size());
    for (std::size_t first = 0; first < images.size();) {
      const std::size_t size = std::min(limit_, images.size() - first);
      absl::StatusOr<std::vector<Embedding>> piece =
          runner_->Embed(images.subspan(first, size), specs.subspan(first, size), threads);
      if (piece.ok()) {
        std::ranges::move(*piece, std::back_inserter(embeddings));
        first += size;
        if (size > limit_ / 2) attempting_ = false;
      } else if (size > 1 && ReasonOf(piece.status()) == Reason::kOutOfMemory) {
        LowerLimit((size + 1) / 2);
        release_memory_();
      } else {
        return piece.status();
      }
    }
    return embeddings;
  }

 private:
  void LowerLimit(std::size_t limit) {
    if (attempting_) patience_ = std::min(2 * patience_, kLongestPatience);
    attempting_ = false;
    limit_ = limit;
    cut_ = 0;
  }

  void RaiseLimitInTime() {
    if (++cut_ <= patience_) return;
    limit_ *= 2;
    cut_ = 0;
    attempting_ = true;
  }

  std::unique_ptr<Runner> runner_;
  std::function<void()> release_memory_;
  std::size_t limit_ = kNoLimit;  // of a piece's images
  std::size_t cut_ = 0;           // batches that were larger than the limit since it changed
  std::size_t patience_ = kFirstPatience;
  bool attempting_ = false;  // the limit was raised, and no such piece has fitted yet
};

}  // namespace

std::unique_ptr<Runner> NewSplittingRunner(std::unique_ptr<Runner> runner,
                                           std::function<void()> release_memory) {
  return std::make_unique<SplittingRunner>(std::move(runner), std::move(release_memory));
}

}  // namespace pixembed
