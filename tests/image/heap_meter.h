// Counts what the whole process holds through malloc: our code's and the codec libraries' alike.
//
// heap_meter.cc replaces malloc and its siblings in a program that links it; under a sanitizer,
// whose own malloc must stay, it listens to that one.
#ifndef PIXEMBED_TESTS_IMAGE_HEAP_METER_H_
#define PIXEMBED_TESTS_IMAGE_HEAP_METER_H_

#include <cstddef>

namespace pixembed {

// How much more was held at one moment than at the meter's beginning. The allocations of every
// thread count. Meters may nest, on one thread; while an inner one lives, only it is right.
class HeapMeter {
 public:
  HeapMeter();
  HeapMeter(const HeapMeter&) = delete;
  HeapMeter& operator=(const HeapMeter&) = delete;
  ~HeapMeter();
  // Bytes, as the allocator hands them out. The most since the beginning, freed again or not.
  std::size_t peak() const;

 private:
  std::ptrdiff_t start_;
  std::ptrdiff_t outer_most_;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_IMAGE_HEAP_METER_H_
