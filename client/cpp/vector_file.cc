// The sinks that write files.
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cpp/atomic_file.h"
#include "client/cpp/client.h"
#include "client/cpp/vector_sink.h"
#include "nlohmann/json.hpp"

namespace pixembed::client {
namespace {

// float as the number type: its shortest decimal form that reads back the same.
using Json = nlohmann::basic_json<std::map, std::vector, std::string, bool, std::int64_t,
                                  std::uint64_t, float>;

// Paths may hold any bytes, JSON only UTF-8.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Source: numpy 2.4 lib/format.py, format version 1.0. Always kNpyHeaderSize bytes, so that the
// count can be filled in when it is known.
constexpr std::size_t kNpyHeaderSize = 128;

std::string NpyHeader(std::uint64_t rows, std::size_t columns) {
  constexpr std::size_t kPreamble = 10;
  std::string header("\x93NUMPY\x01\x00", 8);
  const std::size_t length = kNpyHeaderSize - kPreamble;
  header += static_cast<char>(length);
  header += '\0';
  absl::StrAppend(&header, "{'descr': '<f4', 'fortran_order': False, 'shape': (", rows, ", ",
                  columns, "), }");
  header.resize(kNpyHeaderSize - 1, ' ');
  return header + '\n';
}

class NpyFile final : public VectorSink {
 public:
  static absl::StatusOr<std::unique_ptr<VectorSink>> Open(const std::string& path, int dimension) {
    const std::string stem = path.substr(0, path.size() - std::string_view(".npy").size());
    auto vectors = AtomicFile::Create(path);
    auto ids = AtomicFile::Create(stem + ".ids.json");
    absl::Status status = vectors.status();
    status.Update(ids.status());
    if (status.ok()) {
      status.Update((*vectors)->Write(NpyHeader(0, dimension)));
      status.Update((*ids)->Write("{\"ids\": ["));
    }
    if (!status.ok()) {
      return status;
    }
    return std::unique_ptr<VectorSink>(
        new NpyFile(*std::move(vectors), *std::move(ids), dimension));
  }

  absl::Status Add(const std::string& id, const Result& result) override {
    if (!result.embedding.ok()) {
      return absl::OkStatus();
    }
    const std::vector<float> floats = result.embedding->Floats();
    if (rows_ == 0) {
      columns_ = floats.size();
      fingerprint_ = result.fingerprint;
    } else if (floats.size() != columns_ || result.fingerprint != fingerprint_) {
      return absl::DataLossError(absl::StrCat(
          id, ": a vector of ", floats.size(), " dimensions and fingerprint ", result.fingerprint,
          " cannot follow one of ", columns_, " and ", fingerprint_));
    }
    if (absl::Status status = vectors_->Write(
            {reinterpret_cast<const char*>(floats.data()), floats.size() * sizeof(float)});
        !status.ok()) {
      return status;
    }
    return ids_->Write(absl::StrCat(rows_++ == 0 ? "\n" : ",\n", Dump(id)));
  }

  absl::Status Finish() override {
    absl::Status status =
        ids_->Write(absl::StrCat("\n], \"fingerprint\": ", Dump(fingerprint_), "}\n"));
    status.Update(vectors_->Overwrite(NpyHeader(rows_, columns_)));
    if (status.ok()) {
      status = ids_->Commit();
    }
    return status.ok() ? vectors_->Commit() : status;
  }

 private:
  NpyFile(std::unique_ptr<AtomicFile> vectors, std::unique_ptr<AtomicFile> ids, int dimension)
      : vectors_(std::move(vectors)), ids_(std::move(ids)), columns_(dimension) {}

  std::unique_ptr<AtomicFile> vectors_;
  std::unique_ptr<AtomicFile> ids_;
  std::uint64_t rows_ = 0;
  std::size_t columns_;
  std::string fingerprint_;
};

class JsonlFile final : public VectorSink {
 public:
  static absl::StatusOr<std::unique_ptr<VectorSink>> Open(const std::string& path) {
    auto file = AtomicFile::Create(path);
    if (!file.ok()) {
      return file.status();
    }
    return std::unique_ptr<VectorSink>(new JsonlFile(*std::move(file)));
  }

  absl::Status Add(const std::string& id, const Result& result) override {
    Json line = {{"id", id}};
    if (result.embedding.ok()) {
      line["embedding"] = result.embedding->Floats();
    } else {
      const absl::Status& status = result.embedding.status();
      line["error"] = {{"reason", ErrorReason(status)},
                       {"code", absl::StatusCodeToString(status.code())},
                       {"message", std::string(status.message())}};
    }
    return file_->Write(Dump(line) + "\n");
  }

  absl::Status Finish() override { return file_->Commit(); }

 private:
  explicit JsonlFile(std::unique_ptr<AtomicFile> file) : file_(std::move(file)) {}

  std::unique_ptr<AtomicFile> file_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> OpenVectorFile(const std::string& path, int dimension) {
  if (absl::EndsWith(path, ".npy")) {
    return NpyFile::Open(path, dimension);
  }
  if (absl::EndsWith(path, ".jsonl")) {
    return JsonlFile::Open(path);
  }
  return absl::InvalidArgumentError(absl::StrCat(path, ": --output must end in .npy or .jsonl"));
}

}  // namespace pixembed::client
