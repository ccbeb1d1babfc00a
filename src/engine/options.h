// The options that an engine really runs with.
#ifndef PIXEMBED_SRC_ENGINE_OPTIONS_H_
#define PIXEMBED_SRC_ENGINE_OPTIONS_H_

#include <cstddef>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "src/batching/batching.h"
#include "src/engine/engine.h"
#include "src/model/model.h"

namespace pixembed {

// What follows from the options and the devices.
struct EngineShape {
  EngineOptions options;  // every 0 and empty list replaced
  int workers = 0;        // over all devices
  // Whether batches are given cores, and how many there are; otherwise each runs on one.
  bool count_cores = false;
  BatchCost cost = BatchCost::kPerItem;
  // Whether each model's batches are of the size that it runs best in (ModelInfo), whatever
  // options.max_batch_size, which is the largest of them.
  bool batch_size_by_model = false;
};

// Images of a model that run at once.
std::size_t MaxBatchSize(const EngineShape& shape, const ModelInfo& model);

// Replaces what is 0 and checks what is not. `usable_cores` stands in for options.cores = 0.
// Errors: INVALID_OPTION with the number, the range and the flag.
absl::StatusOr<EngineShape> ShapeEngine(std::span<const std::shared_ptr<const Model>> models,
                                        EngineOptions options, int usable_cores);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_ENGINE_OPTIONS_H_
