// What malloc does with freed memory. Internal to the room, and for benchmarks without LibTorch.
#ifndef PIXEMBED_SRC_MODEL_FREED_MEMORY_H_
#define PIXEMBED_SRC_MODEL_FREED_MEMORY_H_

namespace pixembed {

// Keeps freed memory in the process, so that the next image does not fault its pages in again.
// Before any thread starts.
void KeepFreedMemory();

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_FREED_MEMORY_H_
