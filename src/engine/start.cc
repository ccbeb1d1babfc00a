#include "src/engine/start.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "src/engine/cpu_count.h"
#include "src/engine/engine.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {

absl::StatusOr<std::unique_ptr<Engine>> Engine::Start(
    std::vector<std::shared_ptr<const Model>> models, EngineOptions options) {
  return StartEngine(std::move(models), std::move(options), UsableCores(),
                     Decoder{ReadHeader, DecodeAndResize, DescribeImage});
}

}  // namespace pixembed
