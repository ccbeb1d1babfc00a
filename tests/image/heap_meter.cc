#include "tests/image/heap_meter.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>

#ifdef __has_feature
#define PIXEMBED_CLANG_SANITIZED \
  (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define PIXEMBED_CLANG_SANITIZED 0
#endif
#if PIXEMBED_CLANG_SANITIZED || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PIXEMBED_SANITIZED 1
#else
#define PIXEMBED_SANITIZED 0
#include <malloc.h>
#endif

namespace {

constinit std::atomic<std::ptrdiff_t> held = 0;
constinit std::atomic<std::ptrdiff_t> most_held = 0;

void Count(std::size_t size) {
  const auto bytes = static_cast<std::ptrdiff_t>(size);
  const std::ptrdiff_t now = held.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  std::ptrdiff_t most = most_held.load(std::memory_order_relaxed);
  while (now > most && !most_held.compare_exchange_weak(most, now, std::memory_order_relaxed)) {
  }
}

void Uncount(std::size_t size) {
  held.fetch_sub(static_cast<std::ptrdiff_t>(size), std::memory_order_relaxed);
}

}  // namespace

#if PIXEMBED_SANITIZED

// The sanitizers' interface, whose header g++ comes without.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*,
                                                                  std::size_t),
                                              void (*free_hook)(const volatile void*));
int __sanitizer_get_ownership(const volatile void* memory);
std::size_t __sanitizer_get_allocated_size(const volatile void* memory);
}
// NOLINTEND(bugprone-reserved-identifier)

namespace {

[[maybe_unused]] const int kInstalled = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t size) { Count(size); },
    [](const volatile void* memory) {
      if (memory != nullptr && __sanitizer_get_ownership(memory) != 0) {
        Uncount(__sanitizer_get_allocated_size(memory));
      }
    });

}  // namespace

#else

// The C library's own, under the names that it keeps for this purpose.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void __libc_free(void* memory);
}
// NOLINTEND(bugprone-reserved-identifier)

// What stands in their place, in this program and the libraries that it loads.
extern "C" {
void* CountingMalloc(std::size_t size) __asm__("malloc");
void* CountingCalloc(std::size_t count, std::size_t size) __asm__("calloc");
void* CountingRealloc(void* memory, std::size_t size) __asm__("realloc");
void* CountingMemalign(std::size_t alignment, std::size_t size) __asm__("memalign");
void* CountingAlignedAlloc(std::size_t alignment, std::size_t size) __asm__("aligned_alloc");
int CountingPosixMemalign(void** memory, std::size_t alignment,
                          std::size_t size) __asm__("posix_memalign");
void CountingFree(void* memory) __asm__("free");
}

namespace {

void* Counted(void* memory) {
  if (memory != nullptr) Count(malloc_usable_size(memory));
  return memory;
}

}  // namespace

void* CountingMalloc(std::size_t size) { return Counted(__libc_malloc(size)); }

void* CountingCalloc(std::size_t count, std::size_t size) {
  return Counted(__libc_calloc(count, size));
}

void* CountingRealloc(void* memory, std::size_t size) {
  const std::size_t before = memory == nullptr ? 0 : malloc_usable_size(memory);
  void* const moved = __libc_realloc(memory, size);
  if (moved == nullptr && size != 0) return nullptr;  // the old memory stays
  Uncount(before);
  return Counted(moved);
}

void* CountingMemalign(std::size_t alignment, std::size_t size) {
  return Counted(__libc_memalign(alignment, size));
}

void* CountingAlignedAlloc(std::size_t alignment, std::size_t size) {
  return Counted(__libc_memalign(alignment, size));
}

int CountingPosixMemalign(void** memory, std::size_t alignment, std::size_t size) {
  void* const made = Counted(__libc_memalign(alignment, size));
  if (made == nullptr) return ENOMEM;
  *memory = made;
  return 0;
}

void CountingFree(void* memory) {
  if (memory != nullptr) Uncount(malloc_usable_size(memory));
  __libc_free(memory);
}

#endif

namespace pixembed {

HeapMeter::HeapMeter() : start_(held.load()), outer_most_(most_held.load()) {
  most_held.store(start_);
}

HeapMeter::~HeapMeter() { most_held.store(std::max(most_held.load(), outer_most_)); }

std::size_t HeapMeter::peak() const {
  return static_cast<std::size_t>(std::max<std::ptrdiff_t>(most_held.load() - start_, 0));
}

}  // namespace pixembed
