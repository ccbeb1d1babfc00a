#include "src/error/error.h"

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace pixembed {
namespace {

using absl::StatusCode;

constexpr char kPayloadUrl[] = "pixembed/reason";

constexpr std::array kReasons = {
    ReasonInfo{Reason::kEmptyImage, "EMPTY_IMAGE", StatusCode::kInvalidArgument,
               "The image has no bytes."},
    ReasonInfo{Reason::kUnsupportedFormat, "UNSUPPORTED_FORMAT", StatusCode::kInvalidArgument,
               "The bytes are not JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, or use a feature of the "
               "format that the reference does not read."},
    ReasonInfo{Reason::kTruncatedImage, "TRUNCATED_IMAGE", StatusCode::kInvalidArgument,
               "The image data ends too early."},
    ReasonInfo{Reason::kCorruptImage, "CORRUPT_IMAGE", StatusCode::kInvalidArgument,
               "The image data contradicts itself."},
    ReasonInfo{Reason::kTooManyBytes, "TOO_MANY_BYTES", StatusCode::kInvalidArgument,
               "The encoded image is larger than --max_image_bytes."},
    ReasonInfo{Reason::kTooManyPixels, "TOO_MANY_PIXELS", StatusCode::kInvalidArgument,
               "The header announces more pixels than --max_image_pixels, or a side longer than "
               "--max_image_side."},
    ReasonInfo{Reason::kMalformedRequest, "MALFORMED_REQUEST", StatusCode::kInvalidArgument,
               "The request message is not what the method takes, or is missing."},
    ReasonInfo{Reason::kMessageTooLarge, "MESSAGE_TOO_LARGE", StatusCode::kInvalidArgument,
               "The request message is larger than --max_message_bytes; in a stream, each image of "
               "it fails with this."},
    ReasonInfo{Reason::kEmptyRequest, "EMPTY_REQUEST", StatusCode::kInvalidArgument,
               "The request holds no images."},
    ReasonInfo{Reason::kTooManyImages, "TOO_MANY_IMAGES", StatusCode::kInvalidArgument,
               "The request holds more images than --max_request_images."},
    ReasonInfo{Reason::kUnknownModel, "UNKNOWN_MODEL", StatusCode::kNotFound,
               "No model of that name is served."},
    ReasonInfo{Reason::kInvalidOption, "INVALID_OPTION", StatusCode::kInvalidArgument,
               "An option is unknown, out of range, or not available for this model."},
    ReasonInfo{Reason::kFingerprintMismatch, "FINGERPRINT_MISMATCH",
               StatusCode::kFailedPrecondition,
               "The model's fingerprint is not the expected_fingerprint of the request."},
    ReasonInfo{Reason::kUnsupportedMethod, "UNSUPPORTED_METHOD", StatusCode::kUnimplemented,
               "The protocol has this method, but the server does not offer what it is for."},
    ReasonInfo{Reason::kInvalidToken, "INVALID_TOKEN", StatusCode::kUnauthenticated,
               "The call shows no bearer token, or none of --auth_token_file."},
    ReasonInfo{Reason::kOverloaded, "OVERLOADED", StatusCode::kResourceExhausted,
               "The queue is full by count or by bytes; RetryInfo says when to try again."},
    ReasonInfo{Reason::kDraining, "DRAINING", StatusCode::kUnavailable,
               "The server is shutting down; another replica can take the call."},
    ReasonInfo{Reason::kDeadlineTooShort, "DEADLINE_TOO_SHORT", StatusCode::kDeadlineExceeded,
               "The measured service rate cannot meet the deadline; refused before any work."},
    ReasonInfo{Reason::kDeadlineExceeded, "DEADLINE_EXCEEDED", StatusCode::kDeadlineExceeded,
               "The deadline passed before the image's turn came."},
    ReasonInfo{Reason::kCancelled, "CANCELLED", StatusCode::kCancelled,
               "The caller cancelled before the image's turn came."},
    ReasonInfo{
        Reason::kCheckpointMissing, "CHECKPOINT_MISSING", StatusCode::kNotFound,
        "The model directory, or a file that it must hold, does not exist or cannot be read."},
    ReasonInfo{Reason::kCheckpointCorrupt, "CHECKPOINT_CORRUPT", StatusCode::kInvalidArgument,
               "A file of the model directory is malformed."},
    ReasonInfo{Reason::kTensorMissing, "TENSOR_MISSING", StatusCode::kInvalidArgument,
               "The weights lack a tensor that the architecture needs."},
    ReasonInfo{Reason::kTensorShape, "TENSOR_SHAPE", StatusCode::kInvalidArgument,
               "A tensor has another shape than the configuration asks for."},
    ReasonInfo{Reason::kUnsupportedModel, "UNSUPPORTED_MODEL", StatusCode::kUnimplemented,
               "The model family, or an option of it, is not implemented."},
    ReasonInfo{Reason::kUnsupportedProcessor, "UNSUPPORTED_PROCESSOR", StatusCode::kUnimplemented,
               "The image processor, or an option of it, is not implemented."},
    ReasonInfo{Reason::kGoldenMismatch, "GOLDEN_MISMATCH", StatusCode::kFailedPrecondition,
               "The model does not give the pixels or vectors of the golden file beside it."},
    ReasonInfo{Reason::kUntrustedCode, "UNTRUSTED_CODE", StatusCode::kFailedPrecondition,
               "The model is a program, which loads only under --trust_model_code."},
    ReasonInfo{Reason::kIncompatibleProgram, "INCOMPATIBLE_PROGRAM", StatusCode::kUnimplemented,
               "The compiled model was built for another instruction set, device or version of "
               "torch."},
    ReasonInfo{Reason::kUnsupportedPrecision, "UNSUPPORTED_PRECISION", StatusCode::kUnimplemented,
               "A device does not multiply numbers of --precision, or the model is a program."},
    ReasonInfo{Reason::kPrecisionLoss, "PRECISION_LOSS", StatusCode::kFailedPrecondition,
               "In --precision, the model's vectors differ from those of float32 by more than "
               "--precision_min_cosine."},
    ReasonInfo{Reason::kUnusableProcess, "UNUSABLE_PROCESS", StatusCode::kFailedPrecondition,
               "The engine cannot run in this process: it was forked after an engine was opened, "
               "or has another version of LibTorch loaded."},
    ReasonInfo{Reason::kDeviceFailure, "DEVICE_FAILURE", StatusCode::kUnavailable,
               "The device failed while it ran the batch."},
    ReasonInfo{Reason::kOutOfMemory, "OUT_OF_MEMORY", StatusCode::kResourceExhausted,
               "Memory for the image or the batch could not be had."},
    ReasonInfo{Reason::kNonFiniteVector, "NON_FINITE_VECTOR", StatusCode::kFailedPrecondition,
               "The model's vector holds NaN or infinity, or a number that data_type cannot hold; "
               "at start: the weights are not sound."},
};

constexpr bool InEnumOrder() {
  for (std::size_t i = 0; i < kReasons.size(); ++i) {
    if (static_cast<std::size_t>(kReasons.at(i).reason) != i) return false;
  }
  return true;
}
static_assert(InEnumOrder(), "kReasons is indexed by the enum");
static_assert(kReasons.size() == static_cast<std::size_t>(Reason::kNonFiniteVector) + 1,
              "every reason has a row");

}  // namespace

std::span<const ReasonInfo> AllReasons() { return kReasons; }

const ReasonInfo& Describe(Reason reason) { return kReasons.at(static_cast<std::size_t>(reason)); }

absl::Status MakeError(Reason reason, std::string_view message) {
  const ReasonInfo& info = Describe(reason);
  absl::Status status(info.code, absl::string_view(message.data(), message.size()));
  status.SetPayload(kPayloadUrl, absl::Cord(absl::string_view(info.name.data(), info.name.size())));
  return status;
}

std::string Printable(std::string_view text) {
  const std::string_view head = text.substr(0, kMaxPrintableBytes);
  // Not the form that keeps UTF-8: it keeps what is none, and the cut may fall inside a character.
  return absl::StrCat(absl::CHexEscape(absl::string_view(head.data(), head.size())),
                      text.size() > head.size() ? "..." : "");
}

std::string Quoted(std::string_view text) { return absl::StrCat("\"", Printable(text), "\""); }

std::optional<Reason> ReasonOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayloadUrl);
  if (!payload.has_value()) return std::nullopt;
  const std::string name(*payload);
  for (const ReasonInfo& info : kReasons) {
    if (info.name == name) return info.reason;
  }
  return std::nullopt;
}

absl::Status Annotate(const absl::Status& status, std::string_view prefix) {
  if (status.ok()) return status;
  absl::Status annotated(
      status.code(),
      absl::StrCat(absl::string_view(prefix.data(), prefix.size()), ": ", status.message()));
  status.ForEachPayload([&annotated](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

}  // namespace pixembed
