// Source: safetensors 0.8.0 src/tensor.rs: SafeTensors::read_metadata, Metadata::validate.
//
// A file is: the header's length (8 bytes, little-endian), the header (a JSON object: tensor name
// -> {dtype, shape, data_offsets}, and optionally "__metadata__"), the data. Offsets count from the
// start of the data, and the tensors tile it: no hole, no overlap, nothing behind the last one.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"
#include "src/checkpoint/checkpoint.h"
#include "src/checkpoint/json.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

struct TensorTypeInfo {
  TensorType type;
  std::string_view name;
  std::size_t size;
};

constexpr std::array kTensorTypes = {
    TensorTypeInfo{TensorType::kBool, "BOOL", 1},
    TensorTypeInfo{TensorType::kU8, "U8", 1},
    TensorTypeInfo{TensorType::kI8, "I8", 1},
    TensorTypeInfo{TensorType::kF8E5M2, "F8_E5M2", 1},
    TensorTypeInfo{TensorType::kF8E4M3, "F8_E4M3", 1},
    TensorTypeInfo{TensorType::kI16, "I16", 2},
    TensorTypeInfo{TensorType::kU16, "U16", 2},
    TensorTypeInfo{TensorType::kF16, "F16", 2},
    TensorTypeInfo{TensorType::kBF16, "BF16", 2},
    TensorTypeInfo{TensorType::kI32, "I32", 4},
    TensorTypeInfo{TensorType::kU32, "U32", 4},
    TensorTypeInfo{TensorType::kF32, "F32", 4},
    TensorTypeInfo{TensorType::kI64, "I64", 8},
    TensorTypeInfo{TensorType::kU64, "U64", 8},
    TensorTypeInfo{TensorType::kF64, "F64", 8},
};

constexpr bool InEnumOrder() {
  for (std::size_t i = 0; i < kTensorTypes.size(); ++i) {
    if (static_cast<std::size_t>(kTensorTypes.at(i).type) != i) return false;
  }
  return true;
}
static_assert(InEnumOrder(), "kTensorTypes is indexed by the enum");
static_assert(kTensorTypes.size() == static_cast<std::size_t>(TensorType::kF64) + 1,
              "every type has a row");

constexpr std::size_t kLengthBytes = 8;
// How the file begins that Git leaves in the place of one that Git LFS keeps.
constexpr std::string_view kLfsPointer = "version https://git-lfs.github.com/spec/";
// The bound of the reference library.
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
// No layer has more than 5 dimensions. Bounds the memory that a header can ask for.
constexpr std::size_t kMaxRank = 32;
// The bound of serde_json, for values that are skipped.
constexpr int kMaxSkippedDepth = 128;
constexpr std::string_view kMetadataKey = "__metadata__";

constexpr char kCutShort[] = "if the file is cut short, copy it again";

using TensorMap = std::map<std::string, Tensor, std::less<>>;
using Metadata = std::map<std::string, std::string, std::less<>>;

absl::Status Corrupt(std::string_view origin, std::string_view what) {
  return MakeError(Reason::kCheckpointCorrupt,
                   absl::StrCat(std::string(origin), ": ", std::string(what)));
}

const TensorTypeInfo* FindType(std::string_view name) {
  const auto* const row =
      std::find_if(kTensorTypes.begin(), kTensorTypes.end(),
                   [name](const TensorTypeInfo& info) { return info.name == name; });
  return row == kTensorTypes.end() ? nullptr : row;
}

std::string ShapeText(std::span<const std::int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// One entry of the header, not yet checked against the data.
struct HeaderEntry {
  std::optional<TensorType> type;
  std::optional<std::vector<std::int64_t>> shape;
  std::optional<std::vector<std::int64_t>> offsets;
};

// Collects the header's entries and its metadata; what the format does not know is skipped, as in
// the reference.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(std::string_view origin) : origin_(origin) {}

  const absl::Status& status() const { return status_; }
  std::map<std::string, HeaderEntry>& entries() { return entries_; }
  Metadata& metadata() { return metadata_; }

  bool null() override {
    if (state_ == State::kMetadata) {
      state_ = State::kRoot;
      return true;
    }
    return Scalar("null");
  }
  bool boolean(bool /*value*/) override { return Scalar("a boolean"); }
  bool number_integer(number_integer_t value) override {
    return Scalar(absl::StrCat("the number ", value));
  }
  bool number_float(number_float_t /*value*/, const string_t& text) override {
    return Scalar(absl::StrCat("the number ", Quoted(text)));
  }
  bool binary(binary_t& /*value*/) override { return Scalar("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ != State::kShape && state_ != State::kOffsets) {
      return Scalar(absl::StrCat("the number ", value));
    }
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return Fail(absl::StrCat("the number ", value, " is too large"));
    }
    const std::size_t limit = state_ == State::kShape ? kMaxRank : 2;
    if (numbers_.size() == limit) {
      return Fail(absl::StrCat(Quoted(field_), " has more than ", limit, " numbers"));
    }
    numbers_.push_back(static_cast<std::int64_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (state_ == State::kMetadataEntries) {
      metadata_.insert_or_assign(std::exchange(field_, {}), std::move(value));
      return true;
    }
    if (state_ != State::kField || field_ != "dtype") return Scalar(Quoted(value));
    const TensorTypeInfo* const type = FindType(value);
    if (type == nullptr) return Fail(absl::StrCat("unknown dtype ", Quoted(value)));
    entry_.type = type->type;
    state_ = State::kTensor;
    return true;
  }

  bool start_object(std::size_t /*elements*/) override {
    switch (state_) {
      case State::kStart:
        state_ = State::kRoot;
        return true;
      case State::kMetadata:
        state_ = State::kMetadataEntries;
        return true;
      case State::kName:
        entry_ = {};
        state_ = State::kTensor;
        return true;
      default:
        return EnterSkipped("an object");
    }
  }

  bool end_object() override {
    switch (state_) {
      case State::kTensor:
        entries_[name_] = std::move(entry_);
        state_ = State::kRoot;
        return true;
      case State::kMetadataEntries:
        state_ = State::kRoot;
        return true;
      case State::kSkipped:
        return LeaveSkipped();
      default:  // the root
        return true;
    }
  }

  bool start_array(std::size_t /*elements*/) override {
    if (state_ == State::kField && (field_ == "shape" || field_ == "data_offsets")) {
      numbers_.clear();
      state_ = field_ == "shape" ? State::kShape : State::kOffsets;
      return true;
    }
    return EnterSkipped("a list");
  }

  bool end_array() override {
    if (state_ == State::kSkipped) return LeaveSkipped();
    (state_ == State::kShape ? entry_.shape : entry_.offsets) = numbers_;
    state_ = State::kTensor;
    return true;
  }

  bool key(string_t& value) override {
    if (state_ == State::kRoot) {
      name_ = value;
      const bool is_metadata = name_ == kMetadataKey;
      if (is_metadata ? std::exchange(has_metadata_, true) : entries_.contains(name_)) {
        return Fail("is there twice");
      }
      state_ = is_metadata ? State::kMetadata : State::kName;
    } else if (state_ == State::kMetadataEntries) {
      field_ = value;
    } else if (state_ == State::kTensor) {
      field_ = value;
      if ((field_ == "dtype" && entry_.type) || (field_ == "shape" && entry_.shape) ||
          (field_ == "data_offsets" && entry_.offsets)) {
        return Fail(absl::StrCat("has ", Quoted(field_), " twice"));
      }
      state_ = State::kField;
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string& /*last_token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    status_ =
        Corrupt(origin_, absl::StrCat("the header is not JSON: syntax error at byte ", position));
    return false;
  }

 private:
  // Where the parser stands: what it has just read, or what it is inside of.
  enum class State {
    kStart,            // before the root object
    kRoot,             // in the root object
    kMetadata,         // after the key "__metadata__"
    kMetadataEntries,  // in its object
    kName,             // after a tensor's name
    kTensor,           // in a tensor's object
    kField,            // after a key of it
    kShape,            // in its list "shape"
    kOffsets,          // in its list "data_offsets"
    kSkipped,          // in a field that the format does not know
  };

  bool Fail(std::string_view what) {
    status_ = Corrupt(
        origin_, name_.empty() ? absl::StrCat("header: ", std::string(what))
                               : absl::StrCat("tensor ", Quoted(name_), ": ", std::string(what)));
    return false;
  }

  bool KnownField() const {
    return field_ == "dtype" || field_ == "shape" || field_ == "data_offsets";
  }

  // A value that no tensor needs: fine in an unknown field, wrong anywhere else.
  bool Scalar(std::string_view what) {
    if (state_ == State::kSkipped) return true;
    if (state_ == State::kField && !KnownField()) {
      state_ = State::kTensor;
      return true;
    }
    return Unexpected(what);
  }

  bool Unexpected(std::string_view what) {
    const std::string found = absl::StrCat("unexpected ", std::string(what));
    const bool in_field =
        state_ == State::kField || state_ == State::kShape || state_ == State::kOffsets;
    return Fail(in_field ? absl::StrCat(Quoted(field_), ": ", found) : found);
  }

  bool EnterSkipped(std::string_view what) {
    const bool enters = state_ == State::kSkipped || (state_ == State::kField && !KnownField());
    if (!enters) return Unexpected(what);
    state_ = State::kSkipped;
    if (++skipped_depth_ > kMaxSkippedDepth) {
      return Fail(absl::StrCat(Quoted(field_), " is nested deeper than ", kMaxSkippedDepth));
    }
    return true;
  }

  bool LeaveSkipped() {
    if (--skipped_depth_ == 0) state_ = State::kTensor;
    return true;
  }

  std::string origin_;
  State state_ = State::kStart;
  std::string name_;
  std::string field_;
  HeaderEntry entry_;
  std::vector<std::int64_t> numbers_;
  bool has_metadata_ = false;
  int skipped_depth_ = 0;
  std::map<std::string, HeaderEntry> entries_;
  Metadata metadata_;
  absl::Status status_;
};

// product(shape) * size, or nothing where that does not fit.
std::optional<std::int64_t> ByteCount(std::span<const std::int64_t> shape, std::size_t size) {
  auto bytes = static_cast<std::int64_t>(size);
  for (const std::int64_t dimension : shape) {
    if (__builtin_mul_overflow(bytes, dimension, &bytes)) return std::nullopt;
  }
  return bytes;
}

// Checks one entry against the data and turns it into a tensor.
absl::StatusOr<Tensor> MakeTensor(HeaderEntry& entry, std::span<const std::byte> data) {
  const auto fail = [](std::string_view what) {
    return MakeError(Reason::kCheckpointCorrupt, what);
  };
  if (!entry.type) return fail("\"dtype\" is missing");
  if (!entry.shape) return fail("\"shape\" is missing");
  if (!entry.offsets) return fail("\"data_offsets\" is missing");
  if (entry.offsets->size() != 2) {
    return fail(absl::StrCat("\"data_offsets\" has ", entry.offsets->size(), " numbers, not 2"));
  }
  const std::int64_t begin = entry.offsets->front();
  const std::int64_t end = entry.offsets->back();
  const std::string range = absl::StrCat("data_offsets [", begin, ", ", end, "]");
  if (end < begin) return fail(absl::StrCat(range, " end before they begin"));
  if (end > static_cast<std::int64_t>(data.size())) {
    return fail(absl::StrCat(range, " end behind the data, which has ", data.size(), " bytes; ",
                             kCutShort));
  }
  const std::string type_and_shape =
      absl::StrCat(std::string(TensorTypeName(*entry.type)), " ", ShapeText(*entry.shape));
  const std::optional<std::int64_t> bytes = ByteCount(*entry.shape, TensorTypeSize(*entry.type));
  if (!bytes) return fail(absl::StrCat(type_and_shape, " has more bytes than 64 bits can count"));
  if (*bytes != end - begin) {
    return fail(absl::StrCat(range, " hold ", end - begin, " bytes, but ", type_and_shape,
                             " needs ", *bytes));
  }
  return Tensor{.type = *entry.type,
                .shape = std::move(*entry.shape),
                .bytes = data.subspan(static_cast<std::size_t>(begin),
                                      static_cast<std::size_t>(end - begin))};
}

// The tensors tile the data: no hole, no overlap, no rest.
absl::Status CheckTiling(const TensorMap& tensors, std::span<const std::byte> data,
                         std::string_view origin) {
  struct Range {
    std::size_t begin;
    std::size_t end;
    const std::string* name;
  };
  std::vector<Range> ranges;
  ranges.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const auto begin = static_cast<std::size_t>(tensor.bytes.data() - data.data());
    ranges.push_back({begin, begin + tensor.bytes.size(), &name});
  }
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::size_t covered = 0;
  for (const Range& range : ranges) {
    if (range.begin != covered) {
      return Corrupt(origin, absl::StrCat("tensor ", Quoted(*range.name), ": begins at byte ",
                                          range.begin, " of the data, ",
                                          range.begin < covered ? "inside" : "behind a hole after",
                                          " the tensor that ends at byte ", covered));
    }
    covered = range.end;
  }
  if (covered != data.size()) {
    return Corrupt(origin, absl::StrCat("the tensors end at byte ", covered,
                                        " of the data, which has ", data.size(), " bytes"));
  }
  return absl::OkStatus();
}

bool IsLfsPointer(std::span<const std::byte> bytes) {
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())
      .starts_with(kLfsPointer);
}

// What a file holds.
struct Contents {
  TensorMap tensors;
  Metadata metadata;
};

absl::StatusOr<Contents> ParseContents(std::span<const std::byte> bytes, std::string_view origin) {
  if (bytes.size() < kLengthBytes) {
    return Corrupt(origin, absl::StrCat("has ", bytes.size(),
                                        " bytes; a safetensors file has at least ", kLengthBytes));
  }
  std::uint64_t header_size = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    header_size |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  }
  if (IsLfsPointer(bytes)) {
    return Corrupt(origin, "is a pointer of Git LFS, not the file itself: run git lfs pull");
  }
  if (header_size > kMaxHeaderBytes) {
    return Corrupt(origin, absl::StrCat("announces a header of ", header_size, " bytes; at most ",
                                        kMaxHeaderBytes, " are read"));
  }
  const std::span<const std::byte> body = bytes.subspan(kLengthBytes);
  if (header_size > body.size()) {
    return Corrupt(origin, absl::StrCat("announces a header of ", header_size, " bytes, but only ",
                                        body.size(), " follow; ", kCutShort));
  }
  const std::string_view header(reinterpret_cast<const char*>(body.data()),
                                static_cast<std::size_t>(header_size));
  const std::span<const std::byte> data = body.subspan(static_cast<std::size_t>(header_size));

  if (absl::Status status = CheckJsonBytes(header, origin); !status.ok()) return status;
  HeaderReader reader(origin);
  if (!nlohmann::json::sax_parse(header, &reader)) return reader.status();
  TensorMap tensors;
  for (auto& [name, entry] : reader.entries()) {
    absl::StatusOr<Tensor> tensor = MakeTensor(entry, data);
    if (!tensor.ok()) {
      return Annotate(tensor.status(),
                      absl::StrCat(std::string(origin), ": tensor ", Quoted(name)));
    }
    tensors.emplace_hint(tensors.end(), name, *std::move(tensor));
  }
  if (absl::Status status = CheckTiling(tensors, data, origin); !status.ok()) return status;
  return Contents{std::move(tensors), std::move(reader.metadata())};
}

// Whether a shard's name, joined to the index's directory, stays inside it. A NUL would end the
// name early for the kernel.
bool StaysInside(const std::string& name) {
  const std::filesystem::path shard(name);
  return name.find('\0') == std::string::npos && shard.is_relative() && shard.has_filename() &&
         std::find(shard.begin(), shard.end(), "..") == shard.end();
}

// The index's weight_map: tensor name -> shard.
absl::StatusOr<std::map<std::string, std::string>> ParseIndex(std::string_view text,
                                                              std::string_view origin) {
  const absl::StatusOr<nlohmann::json> index = ParseJsonObject(text, origin);
  if (!index.ok()) return index.status();
  const auto weight_map = index->find("weight_map");
  if (weight_map == index->end() || !weight_map->is_object()) {
    return Corrupt(origin, "key \"weight_map\" must be an object: tensor name -> file name");
  }
  std::map<std::string, std::string> shard_of;
  for (const auto& [name, shard] : weight_map->items()) {
    if (!shard.is_string()) {
      return Corrupt(origin, absl::StrCat("weight_map: tensor ", Quoted(name), " names no file"));
    }
    const auto& file = shard.get_ref<const std::string&>();
    if (!StaysInside(file)) {
      return Corrupt(origin, absl::StrCat("weight_map: tensor ", Quoted(name), ": file ",
                                          Quoted(file), " is not inside the model directory"));
    }
    shard_of.emplace(name, file);
  }
  if (shard_of.empty()) return Corrupt(origin, "weight_map names no tensors");
  return shard_of;
}

}  // namespace

std::string_view TensorTypeName(TensorType type) {
  return kTensorTypes.at(static_cast<std::size_t>(type)).name;
}

std::size_t TensorTypeSize(TensorType type) {
  return kTensorTypes.at(static_cast<std::size_t>(type)).size;
}

absl::StatusOr<Weights> Weights::Open(const std::filesystem::path& directory,
                                      std::string_view name) {
  absl::StatusOr<MappedFile> mapped = MapFile(directory, name);
  if (!mapped.ok()) return mapped.status();
  return Parse(mapped->bytes, std::move(mapped->owner), name);
}

absl::StatusOr<Weights> Weights::Parse(std::span<const std::byte> bytes,
                                       std::shared_ptr<const void> owner, std::string_view origin) {
  // Of a shard the index chose it.
  const std::string printable = Printable(origin);
  absl::StatusOr<Contents> contents = ParseContents(bytes, printable);
  if (!contents.ok()) return contents.status();
  Weights weights;
  weights.tensors_ = std::make_shared<const TensorMap>(std::move(contents->tensors));
  weights.metadata_ = std::make_shared<const Metadata>(std::move(contents->metadata));
  weights.owners_.push_back(std::move(owner));
  weights.origin_ = printable;
  return weights;
}

absl::StatusOr<Weights> Weights::OpenSharded(const std::filesystem::path& directory,
                                             std::string_view name) {
  const absl::StatusOr<MappedFile> mapped = MapFile(directory, name);
  if (!mapped.ok()) return mapped.status();
  const auto shard_of = ParseIndex(mapped->text(), name);
  if (!shard_of.ok()) return shard_of.status();

  TensorMap merged;
  std::map<std::string, Weights> shards;
  Weights weights;
  weights.origin_ = name;
  for (const auto& [tensor_name, file] : *shard_of) {
    auto found = shards.find(file);
    if (found == shards.end()) {
      absl::StatusOr<Weights> shard = Open(directory, file);
      if (!shard.ok()) {
        return Annotate(shard.status(), absl::StrCat(weights.origin_, ": weight_map"));
      }
      for (const auto& [shard_name, tensor] : shard->tensors()) {
        if (!merged.emplace(shard_name, tensor).second) {
          return Corrupt(name, absl::StrCat("tensor ", Quoted(shard_name), " is in ", Quoted(file),
                                            " and in another shard"));
        }
      }
      weights.owners_.insert(weights.owners_.end(), shard->owners_.begin(), shard->owners_.end());
      found = shards.emplace(file, *std::move(shard)).first;
    }
    if (found->second.Find(tensor_name) == nullptr) {
      return Corrupt(name, absl::StrCat("weight_map: tensor ", Quoted(tensor_name), " is not in ",
                                        Quoted(file)));
    }
  }
  weights.tensors_ = std::make_shared<const TensorMap>(std::move(merged));
  return weights;
}

const Tensor* Weights::Find(std::string_view name) const {
  const auto found = tensors_->find(name);
  return found == tensors_->end() ? nullptr : &found->second;
}

}  // namespace pixembed
