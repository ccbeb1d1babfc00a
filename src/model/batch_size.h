// How many images are computed together on a CPU. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_BATCH_SIZE_H_
#define PIXEMBED_SRC_MODEL_BATCH_SIZE_H_

namespace pixembed {

// What multiplies: how many rows it wants at once follows from it.
enum class Multiplier {
  kVectors,  // kernels of our own, in registers
  kTiles,    // kernels of our own, in tiles
  kOther,    // LibTorch, oneDNN
};

// How many images of so many tokens each (rows of last_hidden_state) take the least time an image,
// on one core: 1, 2 or 4. Thread-safe.
int BestBatchSize(Multiplier multiplier, int tokens);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_BATCH_SIZE_H_
