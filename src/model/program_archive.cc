#include "src/model/program_archive.h"

#include <caffe2/serialize/inline_container.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/model/guard.h"

namespace pixembed {

using caffe2::serialize::PyTorchStreamReader;

std::size_t MappedFileReader::read(std::uint64_t position, void* buffer, std::size_t count,
                                   const char* /*what*/) const {
  if (position >= file_.bytes.size()) return 0;
  const std::size_t present =
      std::min(count, file_.bytes.size() - static_cast<std::size_t>(position));
  std::memcpy(buffer, file_.bytes.data() + position, present);
  return present;
}

ProgramArchive::ProgramArchive(std::unique_ptr<PyTorchStreamReader> reader)
    : reader_(std::move(reader)), names_(reader_->getAllRecords()) {}
ProgramArchive::ProgramArchive(ProgramArchive&&) noexcept = default;
ProgramArchive& ProgramArchive::operator=(ProgramArchive&&) noexcept = default;
ProgramArchive::~ProgramArchive() = default;

absl::StatusOr<ProgramArchive> ProgramArchive::Open(const MappedFile& file) {
  return Guarded(
      [&]() -> absl::StatusOr<ProgramArchive> {
        return ProgramArchive(
            std::make_unique<PyTorchStreamReader>(std::make_shared<MappedFileReader>(file)));
      },
      Reason::kCheckpointCorrupt);
}

bool ProgramArchive::Has(const std::string& name) const {
  return std::find(names_.begin(), names_.end(), name) != names_.end();
}

absl::StatusOr<std::string> ProgramArchive::Read(const std::string& name) {
  return Guarded(
      [&]() -> absl::StatusOr<std::string> {
        const auto [data, size] = reader_->getRecord(name);
        return std::string(static_cast<const char*>(data.get()), size);
      },
      Reason::kCheckpointCorrupt);
}

}  // namespace pixembed
