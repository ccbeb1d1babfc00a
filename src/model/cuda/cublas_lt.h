// The part of cuBLASLt that products need, declared here: NVIDIA gives its header only together
// with 400 MB of libraries, which a build does not want. The library itself is loaded by name, and
// is there wherever LibTorch's CUDA half is. Internal to the CUDA half.
//
// Source: nvidia-cublas 13.1.0.3 include/cublasLt.h, cublas_api.h; compared with them by hand.
#ifndef PIXEMBED_SRC_MODEL_CUDA_CUBLAS_LT_H_
#define PIXEMBED_SRC_MODEL_CUDA_CUBLAS_LT_H_

#include <cuda_runtime_api.h>
#include <library_types.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"

namespace pixembed::cublas_lt {

// Opaque to us; all by address.
struct Handle;
struct MatmulDesc;
struct MatrixLayout;
struct MatmulPreference;

using Status = int;  // 0: success
using ComputeType = int;
using DescAttribute = int;
using PreferenceAttribute = int;

inline constexpr ComputeType kCompute32F = 68;
inline constexpr std::int32_t kOpN = 0;
inline constexpr std::int32_t kOpT = 1;
inline constexpr DescAttribute kTransA = 3;
inline constexpr DescAttribute kEpilogue = 7;
inline constexpr DescAttribute kBiasPointer = 8;
inline constexpr DescAttribute kBiasDataType = 26;
inline constexpr std::int32_t kEpilogueDefault = 1;
inline constexpr std::int32_t kEpilogueBias = 4;
inline constexpr std::int32_t kEpilogueGelu = 32;
inline constexpr PreferenceAttribute kMaxWorkspaceBytes = 1;
inline constexpr PreferenceAttribute kReductionSchemes = 3;  // std::uint32_t, of these bits
inline constexpr std::uint32_t kReductionInComputeType = 2;

// Plain data, of use to the same version of the library only.
struct Algorithm {
  std::array<std::uint64_t, 8> data;
};

struct HeuristicResult {
  Algorithm algorithm;
  std::size_t workspace_bytes;
  Status state;
  float waves;
  std::array<int, 4> reserved;
};

// All matrices are column-major. Thread-safe, but for one object used by two threads.
struct Library {
  Status (*create)(Handle**);
  Status (*desc_create)(MatmulDesc**, ComputeType, cudaDataType_t scale_type);
  Status (*desc_destroy)(MatmulDesc*);
  Status (*desc_set)(MatmulDesc*, DescAttribute, const void* value, std::size_t bytes);
  Status (*layout_create)(MatrixLayout**, cudaDataType_t, std::uint64_t rows, std::uint64_t columns,
                          std::int64_t leading);
  Status (*layout_destroy)(MatrixLayout*);
  Status (*preference_create)(MatmulPreference**);
  Status (*preference_destroy)(MatmulPreference*);
  Status (*preference_set)(MatmulPreference*, PreferenceAttribute, const void* value,
                           std::size_t bytes);
  Status (*get_heuristic)(Handle*, MatmulDesc*, MatrixLayout* a, MatrixLayout* b, MatrixLayout* c,
                          MatrixLayout* d, MatmulPreference*, int wanted, HeuristicResult*,
                          int* found);
  Status (*check)(Handle*, MatmulDesc*, MatrixLayout* a, MatrixLayout* b, MatrixLayout* c,
                  MatrixLayout* d, const Algorithm*, HeuristicResult*);
  // d = alpha op(a) b + beta c, and then the epilogue.
  Status (*matmul)(Handle*, MatmulDesc*, const void* alpha, const void* a, MatrixLayout*,
                   const void* b, MatrixLayout*, const void* beta, const void* c, MatrixLayout*,
                   void* d, MatrixLayout*, const Algorithm*, void* workspace,
                   std::size_t workspace_bytes, cudaStream_t);
};

// Loaded on the first call. Errors: DEVICE_FAILURE: no such library, or one of another generation.
absl::StatusOr<const Library*> Load();

}  // namespace pixembed::cublas_lt

#endif  // PIXEMBED_SRC_MODEL_CUDA_CUBLAS_LT_H_
