#include "src/model/cuda/products.h"

#include <ATen/core/Tensor.h>
#include <ATen/cuda/Sleep.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/model/cuda/cublas_lt.h"
#include "src/model/device_kernels.h"
#include "src/model/kernel_search.h"
#include "src/model/product_reference.h"

namespace pixembed {
namespace {

constexpr std::size_t kMostWorkspace = std::size_t{32} << 20;  // bytes
constexpr int kMostProposals = 16;
// Where the depth is cut into parts, their sums are added in float32, not in the result's type.
constexpr std::uint32_t kReductions = cublas_lt::kReductionInComputeType;

void Check(cublas_lt::Status status) { TORCH_CHECK(status == 0, "cuBLASLt answers ", status); }

struct EventDelete {
  void operator()(cudaEvent_t event) const { (void)cudaEventDestroy(event); }
};
using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, EventDelete>;

Event NewEvent() {
  cudaEvent_t event = nullptr;
  C10_CUDA_CHECK(cudaEventCreate(&event));
  return Event(event);
}

bool IsRecorded(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  C10_CUDA_CHECK(cudaStreamIsCapturing(stream, &status));
  return status != cudaStreamCaptureStatusNone;
}

// Milliseconds of one of `calls` calls of `run`; infinite where one fails. Waits.
template <typename Run>
float MillisecondsOf(const Run& run, int calls, cudaStream_t stream) {
  // The device is busy until all calls are in line: it is its time that counts, not the host's,
  // which starts a kernel in no less time than a small product takes.
  constexpr std::int64_t kBusyCycles = 400'000;
  const Event begin = NewEvent();
  const Event end = NewEvent();
  at::cuda::sleep(kBusyCycles);
  C10_CUDA_CHECK(cudaEventRecord(begin.get(), stream));
  for (int i = 0; i < calls; ++i) {
    if (!run()) return std::numeric_limits<float>::infinity();
  }
  C10_CUDA_CHECK(cudaEventRecord(end.get(), stream));
  C10_CUDA_CHECK(cudaEventSynchronize(end.get()));
  float milliseconds = 0.0F;
  C10_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()));
  return milliseconds / static_cast<float>(calls);
}

// Kernels are chosen for rows up to the next quarter of a power of two.
std::uint64_t Ceiling(std::int64_t rows) {
  const auto count = static_cast<std::uint64_t>(rows);
  const std::uint64_t step = std::max<std::uint64_t>(1, std::bit_floor(count) / 4);
  return (count + step - 1) / step * step;
}

}  // namespace

// A product as cuBLASLt sees it, column by column: y^T = W x^T.
class Products::Problem {
 public:
  Problem(const cublas_lt::Library& library, const ProductOperands& operands)
      : library_(library), operands_(operands) {
    const at::Tensor& weight = operands.weight;
    out_ = weight.size(0);
    in_ = weight.size(1);
    rows_ = operands.x.numel() / in_;
    transposed_ = !weight.is_contiguous();
    TORCH_CHECK(!transposed_ || weight.t().is_contiguous());
    epilogue_ = (operands.gelu ? cublas_lt::kEpilogueGelu : 0) |
                (operands.bias.defined() ? cublas_lt::kEpilogueBias : 0);
    if (epilogue_ == 0) epilogue_ = cublas_lt::kEpilogueDefault;

    const cudaDataType_t type = operands.out == at::kFloat ? CUDA_R_32F : CUDA_R_16BF;
    Check(library.desc_create(&desc_, cublas_lt::kCompute32F, CUDA_R_32F));
    Set(cublas_lt::kTransA, transposed_ ? cublas_lt::kOpN : cublas_lt::kOpT);
    Set(cublas_lt::kEpilogue, epilogue_);
    if (operands.bias.defined()) {
      Set(cublas_lt::kBiasPointer, operands.bias.const_data_ptr());
      Set(cublas_lt::kBiasDataType, static_cast<std::int32_t>(type));
    }
    NewLayout(&weight_, CUDA_R_16BF, transposed_ ? out_ : in_, transposed_ ? in_ : out_);
    NewLayout(&x_, CUDA_R_16BF, in_, rows_);
    NewLayout(&y_, type, out_, rows_);
  }
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;
  ~Problem() {
    for (cublas_lt::MatrixLayout* layout : {weight_, x_, y_}) {
      if (layout != nullptr) (void)library_.layout_destroy(layout);
    }
    if (desc_ != nullptr) (void)library_.desc_destroy(desc_);
  }

  const ProductOperands& operands() const { return operands_; }

  Kind kind() const {
    return {Ceiling(rows_), out_, in_, transposed_, epilogue_, static_cast<int>(operands_.out)};
  }

  // What the library proposes, what it takes to be the fastest first.
  std::vector<cublas_lt::HeuristicResult> Propose(cublas_lt::Handle* handle) const {
    cublas_lt::MatmulPreference* preference = nullptr;
    Check(library_.preference_create(&preference));
    std::vector<cublas_lt::HeuristicResult> proposals(kMostProposals);
    int found = 0;
    cublas_lt::Status status = library_.preference_set(preference, cublas_lt::kMaxWorkspaceBytes,
                                                       &kMostWorkspace, sizeof(kMostWorkspace));
    if (status == 0) {
      status = library_.preference_set(preference, cublas_lt::kReductionSchemes, &kReductions,
                                       sizeof(kReductions));
    }
    if (status == 0) {
      status = library_.get_heuristic(handle, desc_, weight_, x_, y_, y_, preference,
                                      kMostProposals, proposals.data(), &found);
    }
    (void)library_.preference_destroy(preference);
    proposals.resize(status == 0 ? static_cast<std::size_t>(found) : 0);
    std::erase_if(proposals,
                  [](const cublas_lt::HeuristicResult& proposal) { return proposal.state != 0; });
    return proposals;
  }

  // Whether `choice`, made for other numbers of rows, does for these. Brings its workspace up to
  // date.
  bool Takes(cublas_lt::Handle* handle, cublas_lt::HeuristicResult& choice) const {
    cublas_lt::HeuristicResult result{};
    if (library_.check(handle, desc_, weight_, x_, y_, y_, &choice.algorithm, &result) != 0) {
      return false;
    }
    choice.workspace_bytes = result.workspace_bytes;
    return result.workspace_bytes <= kMostWorkspace;
  }

  cublas_lt::Status Run(cublas_lt::Handle* handle, const cublas_lt::HeuristicResult& choice,
                        at::Tensor& y, cudaStream_t stream) const {
    constexpr float kOne = 1.0F;
    constexpr float kZero = 0.0F;
    at::Tensor workspace;
    void* scratch = nullptr;
    if (choice.workspace_bytes > 0) {
      workspace = at::empty({static_cast<std::int64_t>(choice.workspace_bytes)},
                            y.options().dtype(at::kByte));
      scratch = workspace.mutable_data_ptr();
    }
    void* const out = y.mutable_data_ptr();
    return library_.matmul(handle, desc_, &kOne, operands_.weight.const_data_ptr(), weight_,
                           operands_.x.const_data_ptr(), x_, &kZero, out, y_, out, y_,
                           &choice.algorithm, scratch, choice.workspace_bytes, stream);
  }

 private:
  template <typename T>
  void Set(cublas_lt::DescAttribute attribute, const T& value) {
    Check(library_.desc_set(desc_, attribute, static_cast<const void*>(&value), sizeof(value)));
  }

  void NewLayout(cublas_lt::MatrixLayout** layout, cudaDataType_t type, std::int64_t rows,
                 std::int64_t columns) const {
    Check(library_.layout_create(layout, type, static_cast<std::uint64_t>(rows),
                                 static_cast<std::uint64_t>(columns), rows));
  }

  const cublas_lt::Library& library_;
  const ProductOperands& operands_;
  std::int64_t rows_ = 0;
  std::int64_t out_ = 0;
  std::int64_t in_ = 0;
  bool transposed_ = false;
  std::int32_t epilogue_ = 0;
  cublas_lt::MatmulDesc* desc_ = nullptr;
  cublas_lt::MatrixLayout* weight_ = nullptr;
  cublas_lt::MatrixLayout* x_ = nullptr;
  cublas_lt::MatrixLayout* y_ = nullptr;
};

absl::StatusOr<std::unique_ptr<Products>> Products::New(int ordinal) {
  const absl::StatusOr<const cublas_lt::Library*> library = cublas_lt::Load();
  if (!library.ok()) return library.status();
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(ordinal));
  cublas_lt::Handle* handle = nullptr;
  if (const cublas_lt::Status status = (*library)->create(&handle); status != 0) {
    return MakeError(Reason::kDeviceFailure,
                     absl::StrCat("cuBLASLt does not start on device ", ordinal, ": ", status));
  }
  return std::unique_ptr<Products>(new Products(*library, handle));
}

Products::Choice Products::Search(const Problem& problem, at::Tensor& y,
                                  cudaStream_t stream) const {
  const std::vector<cublas_lt::HeuristicResult> proposals = problem.Propose(handle_);
  const auto run = [&](std::size_t place) {
    return problem.Run(handle_, proposals[place], y, stream) == 0;
  };
  const std::optional<std::size_t> fastest = FastestKernel(
      proposals.size(),
      [&](std::size_t place, int calls) {
        return MillisecondsOf([&] { return run(place); }, calls, stream);
      },
      [&](std::size_t place) { return run(place) && IsProduct(problem.operands(), y); });
  return fastest.has_value() ? Choice(proposals[*fastest]) : std::nullopt;
}

Products::Choice Products::Choose(const Problem& problem, at::Tensor& y,
                                  cudaStream_t stream) const {
  const Kind kind = problem.kind();
  const Choice* known = choices_.Find(kind);
  if (known == nullptr && !IsRecorded(stream)) {
    known = &choices_.FindOrSearch(kind, [&] { return Search(problem, y, stream); });
  }
  if (known != nullptr) {
    Choice choice = *known;
    if (!choice.has_value() || problem.Takes(handle_, *choice)) return choice;
  }
  const std::vector<cublas_lt::HeuristicResult> proposals = problem.Propose(handle_);
  return proposals.empty() ? std::nullopt : Choice(proposals.front());
}

at::Tensor Products::Multiply(const ProductOperands& operands) const {
  const c10::cuda::CUDAGuard guard(operands.x.device());
  std::vector<std::int64_t> sizes = operands.x.sizes().vec();
  sizes.back() = operands.weight.size(0);
  at::Tensor y = at::empty(sizes, operands.x.options().dtype(operands.out));
  if (y.numel() == 0) return y;
  const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
  const Problem problem(library_, operands);
  const Choice choice = Choose(problem, y, stream);
  const bool done = choice.has_value() && problem.Run(handle_, *choice, y, stream) == 0;
  return done ? y : MultiplyByLibTorch(operands);
}

}  // namespace pixembed
