// Engine::Start with the image room's two calls as arguments: the seam that engine tests use.
#ifndef PIXEMBED_SRC_ENGINE_START_H_
#define PIXEMBED_SRC_ENGINE_START_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "src/engine/engine.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {

// As ReadHeader, DecodeAndResize and DescribeImage of src/image/image.h. Thread-safe.
struct Decoder {
  std::function<absl::StatusOr<ImageHeader>(std::span<const std::byte>, const DecodeLimits&,
                                            const DecodePolicy&)>
      read_header;
  std::function<absl::StatusOr<Image>(std::span<const std::byte>, const DecodeLimits&,
                                      const PreprocessSpec&, const DecodePolicy&)>
      decode_and_resize;
  std::function<absl::StatusOr<ImageDescription>(std::span<const std::byte>, const DecodeLimits&,
                                                 const PreprocessSpec&, const DecodePolicy&)>
      describe;
};

// As Engine::Start. `usable_cores` stands in for options.cores = 0.
absl::StatusOr<std::unique_ptr<Engine>> StartEngine(
    std::vector<std::shared_ptr<const Model>> models, EngineOptions options, int usable_cores,
    Decoder decoder);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_ENGINE_START_H_
