// Host memory for activations that is kept from one batch to the next.
//
// A forward pass allocates and frees the same large blocks again and again. glibc gives freed
// blocks of that size back to the kernel, and each use then faults every page in again (14 to 20
// thousand faults an image on ViT-B, a tenth of its time). Here the freed blocks stay.
#ifndef PIXEMBED_SRC_MODEL_ACTIVATION_CACHE_H_
#define PIXEMBED_SRC_MODEL_ACTIVATION_CACHE_H_

#include <cstddef>
#include <vector>

namespace pixembed {

// The blocks of one runner. One thread at a time.
//
// Bound: it keeps at most twice what was in use at the same moment at the peak.
class ActivationCache {
 public:
  ActivationCache() = default;
  ActivationCache(const ActivationCache&) = delete;
  ActivationCache& operator=(const ActivationCache&) = delete;
  ~ActivationCache();

  // While it lives, LibTorch's host allocations on this thread come from `cache`, and those freed
  // on this thread go back to it. Blocks may outlive both: they are then freed like any other.
  class Use {
   public:
    explicit Use(ActivationCache& cache);
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use();

   private:
    ActivationCache* previous_;
  };

  // Makes LibTorch allocate host memory this way, in the whole process. Idempotent. Before the
  // first weight is packed: oneDNN frees by the allocator of that moment, whichever allocated.
  static void Install();

  // Bytes kept for reuse, for tests.
  std::size_t kept_bytes() const { return kept_bytes_; }

 private:
  friend class ActivationAllocator;
  struct Block {
    void* memory;
    std::size_t bytes;
  };

  // A kept block of at least `bytes` and not wastefully more, or nullptr.
  Block Take(std::size_t bytes);
  void Keep(Block block);
  void CountInUse(std::size_t bytes);

  std::vector<Block> kept_;  // least recently freed first
  std::size_t kept_bytes_ = 0;
  std::size_t in_use_bytes_ = 0;
  std::size_t peak_bytes_ = 0;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_ACTIVATION_CACHE_H_
