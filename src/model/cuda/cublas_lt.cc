#include "src/model/cuda/cublas_lt.h"

#include "absl/status/statusor.h"
#include "src/model/cuda/shared_library.h"

namespace pixembed::cublas_lt {
namespace {

constexpr char kName[] = "libcublasLt.so.13";  // what torch 2.11.0 is linked to

absl::StatusOr<Library> Open() {
  absl::StatusOr<SharedLibrary> file = SharedLibrary::Open(kName);
  if (!file.ok()) return file.status();
  Library library{};
  file->Find("cublasLtCreate", library.create);
  file->Find("cublasLtMatmulDescCreate", library.desc_create);
  file->Find("cublasLtMatmulDescDestroy", library.desc_destroy);
  file->Find("cublasLtMatmulDescSetAttribute", library.desc_set);
  file->Find("cublasLtMatrixLayoutCreate", library.layout_create);
  file->Find("cublasLtMatrixLayoutDestroy", library.layout_destroy);
  file->Find("cublasLtMatmulPreferenceCreate", library.preference_create);
  file->Find("cublasLtMatmulPreferenceDestroy", library.preference_destroy);
  file->Find("cublasLtMatmulPreferenceSetAttribute", library.preference_set);
  file->Find("cublasLtMatmulAlgoGetHeuristic", library.get_heuristic);
  file->Find("cublasLtMatmulAlgoCheck", library.check);
  file->Find("cublasLtMatmul", library.matmul);
  if (!file->status().ok()) return file->status();
  return library;
}

}  // namespace

absl::StatusOr<const Library*> Load() {
  static const absl::StatusOr<Library> library = Open();
  if (!library.ok()) return library.status();
  return &*library;
}

}  // namespace pixembed::cublas_lt
