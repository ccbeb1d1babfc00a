// What becomes of a batch that its device has no memory for. Internal to the room, and torch-free.
#ifndef PIXEMBED_SRC_MODEL_SPLITTING_RUNNER_H_
#define PIXEMBED_SRC_MODEL_SPLITTING_RUNNER_H_

#include <functional>
#include <memory>

#include "src/model/model.h"

namespace pixembed {

// Gives batches to `runner`; one that comes back as OUT_OF_MEMORY runs again as its two halves, and
// so on down to one image. Before that `release_memory` is called, to give back what the device
// holds without need; it must not throw.
//
// The size that fitted is remembered: later batches are cut into pieces of it from the start, the
// last one smaller. Memory may be short for a while only, so after some batches that had to be cut
// the next one may run in pieces of twice the size; each time that this fails, the next attempt is
// twice as many batches away.
//
// Vectors come in the order of the images. An image that does not fit alone makes the whole call
// OUT_OF_MEMORY (all images of a model take the same memory: none would fit), and every other error
// ends the call as it is: nothing is tried again. Threads: as Runner.
std::unique_ptr<Runner> NewSplittingRunner(std::unique_ptr<Runner> runner,
                                           std::function<void()> release_memory);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_SPLITTING_RUNNER_H_
