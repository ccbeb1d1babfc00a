// What malloc does with freed memory. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_FREED_MEMORY_H_
#define PIXEMBED_SRC_MODEL_FREED_MEMORY_H_

namespace pixembed {

// Keeps freed memory in the process, so that the next image does not fault its pages in again: of
// glibc's malloc. Others, such as the server's jemalloc, keep for a while what is used again.
// Before any thread starts.
void KeepFreedMemory();

// Gives all freed memory back to the kernel at once: of glibc's malloc, and of jemalloc where the
// program has it. Thread-safe.
void GiveFreedMemoryBack();

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_FREED_MEMORY_H_
