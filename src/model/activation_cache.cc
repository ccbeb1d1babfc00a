#include "src/model/activation_cache.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/Device.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>

namespace pixembed {
namespace {

// The cache in use on this thread.
thread_local ActivationCache* current_cache = nullptr;

// Smaller blocks are well served by malloc.
constexpr std::size_t kSmallestKept = std::size_t{64} << 10;
// LibTorch's own alignment for host memory, and room for the header.
constexpr std::size_t kAlignment = 64;
// Weights are read from one end to the other for every image: by pages of 4 KiB, the processor
// looks up a hundred thousand of them for ViT-B.
constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Lies in front of every block.
struct Header {
  std::size_t bytes;
  const ActivationCache* owner;  // compared only: the cache may be gone
};
static_assert(sizeof(Header) <= kAlignment);

void* DataOf(void* memory) { return static_cast<std::byte*>(memory) + kAlignment; }
void* MemoryOf(void* data) { return static_cast<std::byte*>(data) - kAlignment; }

void* AllocateMemory(std::size_t bytes) {
  if (bytes > std::numeric_limits<std::size_t>::max() - 2 * kHugePage) throw std::bad_alloc();
  const std::size_t all = (bytes + kAlignment - 1) / kAlignment * kAlignment + kAlignment;
  const bool huge = all >= kHugePage;
  const std::size_t alignment = huge ? kHugePage : kAlignment;
  void* memory = std::aligned_alloc(alignment, (all + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  // Not the rest, which would take memory that nobody needs. Where it is refused, nothing is lost.
  if (huge) madvise(memory, all / kHugePage * kHugePage, MADV_HUGEPAGE);
  return memory;
}

}  // namespace

class ActivationAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &Free, cpu};
    void* data = DataOf(bytes < kSmallestKept ? NewMemory(bytes, nullptr) : LargeMemory(bytes));
    return {data, data, &Free, cpu};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &Free; }

  void copy_data(void* dest, const void* src, std::size_t count) const override {
    std::memcpy(dest, src, count);
  }

 private:
  static void* NewMemory(std::size_t bytes, const ActivationCache* owner) {
    void* memory = AllocateMemory(bytes);
    new (memory) Header{bytes, owner};
    return memory;
  }

  static void* LargeMemory(std::size_t bytes) {
    ActivationCache* cache = current_cache;
    if (cache == nullptr) return NewMemory(bytes, nullptr);
    ActivationCache::Block block = cache->Take(bytes);
    if (block.memory == nullptr) block = {NewMemory(bytes, cache), bytes};
    cache->CountInUse(block.bytes);
    return block.memory;
  }

  static void Free(void* data) {
    if (data == nullptr) return;
    void* memory = MemoryOf(data);
    const auto* header = static_cast<const Header*>(memory);
    if (header->owner != nullptr && header->owner == current_cache) {
      current_cache->Keep({memory, header->bytes});
    } else {
      std::free(memory);
    }
  }
};

ActivationCache::~ActivationCache() {
  for (const Block& block : kept_) std::free(block.memory);
}

ActivationCache::Use::Use(ActivationCache& cache) : previous_(current_cache) {
  current_cache = &cache;
}

ActivationCache::Use::~Use() { current_cache = previous_; }

void ActivationCache::Install() {
  static std::once_flag once;
  std::call_once(once, [] {
    static ActivationAllocator allocator;
    c10::SetCPUAllocator(&allocator);
  });
}

ActivationCache::Block ActivationCache::Take(std::size_t bytes) {
  auto best = kept_.end();
  for (auto block = kept_.begin(); block != kept_.end(); ++block) {
    if (block->bytes < bytes || block->bytes / 2 > bytes) continue;
    if (best == kept_.end() || block->bytes < best->bytes) best = block;
  }
  if (best == kept_.end()) return {nullptr, 0};
  const Block block = *best;
  kept_.erase(best);
  kept_bytes_ -= block.bytes;
  return block;
}

void ActivationCache::CountInUse(std::size_t bytes) {
  in_use_bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, in_use_bytes_);
}

void ActivationCache::Keep(Block block) {
  in_use_bytes_ -= std::min(in_use_bytes_, block.bytes);
  kept_.push_back(block);
  kept_bytes_ += block.bytes;
  // Batches of several sizes share blocks (up to twice their need), so twice the peak keeps a set
  // for each.
  std::size_t dropped = 0;
  while (kept_bytes_ > 2 * peak_bytes_) {
    kept_bytes_ -= kept_[dropped].bytes;
    std::free(kept_[dropped].memory);
    ++dropped;
  }
  kept_.erase(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(dropped));
}

}  // namespace pixembed
