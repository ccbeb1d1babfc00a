// What becomes of a batch that its device has no memory for.
#ifndef PIXEMBED_SRC_ENGINE_PIECEWISE_RUNNER_H_
#define PIXEMBED_SRC_ENGINE_PIECEWISE_RUNNER_H_

#include <chrono>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {

// Gives batches to a runner, in pieces that its device has memory for. A piece of several images
// that comes back as OUT_OF_MEMORY is cut in two and tried again, after the runner has given back
// what it holds without need; so an image that does not fit fails alone.
//
// The size that fitted is remembered: later batches are cut into pieces of it from the start.
// Memory may be short for a while only, so after some batches that had to be cut the next one may
// run in pieces of twice the size; each time that this fails, the next attempt is twice as many
// batches away.
//
// Threads: as Runner.
class PiecewiseRunner {
 public:
  // Batches that are cut before larger pieces are tried. A failed attempt takes a pass's time and
  // makes the device's other workers wait while memory is given back, so it has to be rare.
  static constexpr std::size_t kFirstPatience = 64;
  static constexpr std::size_t kLongestPatience = 65'536;

  // Some of a batch's images, which ran together.
  struct Piece {
    std::size_t first;  // the place of the first one in the batch
    std::size_t size;   // >= 1
    // One for each image, or why there is none for any of them.
    absl::StatusOr<std::vector<Embedding>> embeddings;
    std::chrono::nanoseconds compute;  // of the runner's call
  };

  // Is told that so many images did not fit, and how large a piece is tried instead: seldom, since
  // the attempts are.
  using OnCut = std::function<void(std::size_t images, std::size_t piece)>;

  PiecewiseRunner(std::unique_ptr<Runner> runner, OnCut on_cut);

  // Calls `take` for the pieces that `images` ran in, in their order; together they are all images,
  // each once. One that failed does not keep the next from being run. Arguments, and errors of a
  // piece: as Runner::Embed; DEVICE_FAILURE where the runner gave too many vectors or too few.
  void Embed(std::span<const Image* const> images, std::span<const OutputSpec> specs, int threads,
             absl::FunctionRef<void(Piece)> take);

 private:
  static constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();

  void LowerLimit(std::size_t limit);
  void RaiseLimitInTime();

  std::unique_ptr<Runner> runner_;
  OnCut on_cut_;
  std::size_t limit_ = kNoLimit;  // of a piece's images
  std::size_t cut_ = 0;           // batches that were larger than the limit since it changed
  std::size_t patience_ = kFirstPatience;
  bool attempting_ = false;  // the limit was raised, and no such piece has fitted yet
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_ENGINE_PIECEWISE_RUNNER_H_
