// The zip archives in which LibTorch keeps programs. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_PROGRAM_ARCHIVE_H_
#define PIXEMBED_SRC_MODEL_PROGRAM_ARCHIVE_H_

#include <caffe2/serialize/read_adapter_interface.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"

namespace caffe2::serialize {
class PyTorchStreamReader;
}  // namespace caffe2::serialize

namespace pixembed {

// Gives LibTorch the bytes of a mapped file: those that were digested, whatever becomes of the
// file's name. Thread-safe.
class MappedFileReader final : public caffe2::serialize::ReadAdapterInterface {
 public:
  explicit MappedFileReader(MappedFile file) : file_(std::move(file)) {}

  std::size_t size() const override { return file_.bytes.size(); }
  // Copies what there is of the `count` bytes from `position` on; returns how many.
  std::size_t read(std::uint64_t position, void* buffer, std::size_t count,
                   const char* what) const override;

 private:
  MappedFile file_;
};

// The entries of an archive, read only. One thread at a time.
class ProgramArchive {
 public:
  // Errors: CHECKPOINT_CORRUPT: no archive, a truncated one, or one of several folders. Names are
  // relative to the archive's only folder.
  static absl::StatusOr<ProgramArchive> Open(const MappedFile& file);
  ProgramArchive(ProgramArchive&&) noexcept;
  ProgramArchive& operator=(ProgramArchive&&) noexcept;
  ~ProgramArchive();

  bool Has(const std::string& name) const;
  const std::vector<std::string>& Names() const { return names_; }
  // Errors: CHECKPOINT_CORRUPT.
  absl::StatusOr<std::string> Read(const std::string& name);

 private:
  explicit ProgramArchive(std::unique_ptr<caffe2::serialize::PyTorchStreamReader> reader);
  std::unique_ptr<caffe2::serialize::PyTorchStreamReader> reader_;
  std::vector<std::string> names_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_PROGRAM_ARCHIVE_H_
