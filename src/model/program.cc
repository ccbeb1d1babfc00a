#include "src/model/program.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/sub.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/guard.h"
#include "src/model/network.h"
#include "src/model/weights.h"

namespace pixembed {
namespace {

// What the probe allows between two runs of one image, relative to the largest number: sums in
// another order, no more.
constexpr double kProbeTolerance = 1e-4;
// Images of the probe's batch; a program that was traced for one or two fails with it.
constexpr std::int64_t kProbeBatch = 3;

class ProgramNetwork final : public Network {
 public:
  ProgramNetwork(NetworkInfo info, std::shared_ptr<const Program> program, bool takes_batches)
      : info_(std::move(info)), program_(std::move(program)), takes_batches_(takes_batches) {}

  const NetworkInfo& info() const override { return info_; }

  HiddenStates Forward(const PatchBatch& batch, std::span<const int> /*layers*/) const override {
    const at::Tensor images =
        batch.patches.view({batch.patches.size(0), 3, info_.patch.height, info_.patch.width});
    if (takes_batches_) return {.last = Run(images), .layers = {}, .own_tokens = {}};
    std::vector<at::Tensor> hidden;
    hidden.reserve(static_cast<std::size_t>(images.size(0)));
    for (std::int64_t i = 0; i < images.size(0); ++i) hidden.push_back(Run(images.narrow(0, i, 1)));
    return {.last = at::cat(hidden), .layers = {}, .own_tokens = {}};
  }

 private:
  at::Tensor Run(const at::Tensor& images) const {
    const at::Tensor hidden = program_->Run(images);
    const std::array<std::int64_t, 3> shape = {images.size(0), info_.tokens, info_.dimension};
    TORCH_CHECK(hidden.numel() == shape[0] * shape[1] * shape[2] && hidden.size(0) == shape[0] &&
                    hidden.size(-1) == shape[2] && hidden.scalar_type() == at::kFloat,
                "the program gave ", hidden.sizes(), " where it gave ", at::IntArrayRef(shape),
                " when it was loaded");
    return hidden.reshape(shape);
  }

  NetworkInfo info_;
  std::shared_ptr<const Program> program_;
  bool takes_batches_;
};

std::string ShapeOf(const at::Tensor& tensor) {
  return ShapeText({tensor.sizes().data(), tensor.sizes().size()});
}

// [N, 3, H, W] of numbers such as normalized pixels are, the same everywhere.
at::Tensor ProbeImages(Size size, c10::Device device) {
  const std::int64_t count = kProbeBatch * 3 * size.height * size.width;
  return at::arange(count, at::kFloat)
      .mul_(0.7)
      .sin_()
      .view({kProbeBatch, 3, size.height, size.width})
      .to(device);
}

absl::Status Unsupported(std::string_view text) {
  return MakeError(Reason::kUnsupportedModel, text);
}

// Runs the program; its exceptions are answers here.
absl::StatusOr<at::Tensor> TryRun(const Program& program, const at::Tensor& images) {
  absl::StatusOr<at::Tensor> hidden =
      Guarded([&]() -> absl::StatusOr<at::Tensor> { return program.Run(images); },
              Reason::kUnsupportedModel);
  if (hidden.ok()) return hidden;
  return Annotate(hidden.status(), absl::StrCat("it fails for images ", ShapeOf(images)));
}

absl::Status CheckHidden(const at::Tensor& images, const at::Tensor& hidden) {
  const bool ranks = hidden.dim() == 2 || hidden.dim() == 3;
  const bool fits = ranks && hidden.size(0) == images.size(0) && hidden.numel() > 0 &&
                    hidden.size(-1) <= std::numeric_limits<int>::max() &&
                    hidden.size(1) <= std::numeric_limits<int>::max();
  if (!fits) {
    const std::int64_t batch = images.size(0);
    return MakeError(Reason::kTensorShape,
                     absl::StrCat("it gives ", ShapeOf(hidden), " for images ", ShapeOf(images),
                                  "; an embedding is made of [", batch, ", tokens, dimension] or [",
                                  batch, ", dimension]"));
  }
  if (hidden.scalar_type() != at::kFloat) {
    return Unsupported(absl::StrCat("it gives numbers of type ",
                                    std::string(c10::toString(hidden.scalar_type())),
                                    "; Float is needed"));
  }
  return absl::OkStatus();
}

bool Agree(const at::Tensor& a, const at::Tensor& b) {
  const auto largest = a.abs().max().item<double>();
  return at::sub(a, b).abs().max().item<double>() <= kProbeTolerance * largest;
}

// What a program turned out to be.
struct Probed {
  int tokens = 0;
  int dimension = 0;
  bool takes_batches = false;
};

absl::StatusOr<Probed> Probe(const Program& program, Size input, c10::Device device) {
  const at::Tensor images = ProbeImages(input, device);
  const at::Tensor first = images.narrow(0, 0, 1);
  const absl::StatusOr<at::Tensor> alone = TryRun(program, first);
  if (!alone.ok()) return alone.status();
  if (absl::Status status = CheckHidden(first, *alone); !status.ok()) return status;
  const absl::StatusOr<at::Tensor> again = TryRun(program, first);
  if (!again.ok()) return again.status();
  if (!again->sizes().equals(alone->sizes()) || !Agree(*alone, *again)) {
    return Unsupported(
        "it gives other numbers for the same image the second time: was it exported in eval mode?");
  }
  Probed probed{.tokens = alone->dim() == 3 ? static_cast<int>(alone->size(1)) : 1,
                .dimension = static_cast<int>(alone->size(-1))};

  const absl::StatusOr<at::Tensor> together = TryRun(program, images);
  if (!together.ok() && ReasonOf(together.status()) != Reason::kUnsupportedModel) {
    return together.status();
  }
  probed.takes_batches =
      together.ok() && together->dim() == alone->dim() && together->size(0) == kProbeBatch &&
      together->numel() == kProbeBatch * alone->numel() && together->size(-1) == alone->size(-1);
  for (std::int64_t i = 0; probed.takes_batches && i < kProbeBatch; ++i) {
    const absl::StatusOr<at::Tensor> lone =
        i == 0 ? alone : TryRun(program, images.narrow(0, i, 1));
    if (!lone.ok()) return lone.status();
    if (!lone->sizes().equals(alone->sizes()) || !Agree(*lone, together->narrow(0, i, 1))) {
      return Unsupported(
          "it gives other numbers for an image alone than in a batch: was it exported in eval "
          "mode?");
    }
  }
  return probed;
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Network>> ProbeProgram(LoadedProgram program, Size input,
                                                            c10::Device device) {
  return Guarded([&]() -> absl::StatusOr<std::unique_ptr<const Network>> {
    const absl::StatusOr<Probed> probed = Probe(*program.program, input, device);
    if (!probed.ok()) return probed.status();
    NetworkInfo info;
    info.patch = input;
    info.tokens = probed->tokens;
    info.dimension = probed->dimension;
    info.has_cls = program.class_token && probed->tokens > 1;
    info.architecture = absl::StrCat(program.kind, " ", SizeText(input), " tokens ", info.tokens,
                                     " dimension ", info.dimension, " class_token ", info.has_cls);
    return std::make_unique<const ProgramNetwork>(std::move(info), std::move(program.program),
                                                  probed->takes_batches);
  });
}

}  // namespace pixembed
