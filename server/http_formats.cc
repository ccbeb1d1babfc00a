#include "server/http_formats.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "api/embed_options.h"
#include "api/status.h"
#include "nlohmann/json.hpp"
#include "pixembed/v1/embedding.pb.h"
#include "server/http_server.h"
#include "server/option_text.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

// Numbers are float32, so that a vector's are written in the fewest digits that give it back.
using Json = nlohmann::basic_json<std::map, std::vector, std::string, bool, std::int64_t,
                                  std::uint64_t, float>;

// What a document may hold beside its strings, which are bounded by the body.
constexpr std::size_t kMaxJsonEvents = std::size_t{1} << 18;
constexpr int kMaxJsonDepth = 32;

// Of a form, a query, or OpenAI's JSON, beside the options.
constexpr char kModelField[] = "model";

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

absl::Status Malformed(std::string_view what) { return MakeError(Reason::kMalformedRequest, what); }

// Errors: MALFORMED_REQUEST: not JSON, not an object, or too much of it.
absl::StatusOr<Json> ParseObject(const std::string& body) {
  std::size_t events = 0;
  bool small = true;
  const Json::parser_callback_t keep = [&](int depth, Json::parse_event_t /*event*/,
                                           Json& /*value*/) {
    small = small && ++events <= kMaxJsonEvents && depth <= kMaxJsonDepth;
    return small;
  };
  Json json = Json::parse(body, keep, /*allow_exceptions=*/false);
  if (!small) {
    return Malformed(absl::StrCat("the JSON has more than ", kMaxJsonEvents,
                                  " values or is nested deeper than ", kMaxJsonDepth));
  }
  if (!json.is_object()) return Malformed("the body is not a JSON object");
  return json;
}

// The value of a key; null where `json` is no object or has no such key.
const Json& At(const Json& json, const char* key) {
  static const Json null;
  if (!json.is_object()) return null;
  const auto found = json.find(key);
  return found == json.end() ? null : *found;
}

std::string Text(const Json& json) {
  // Messages and file names may hold any bytes.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

HttpResponse Respond(const Json& json) { return {.body = Text(json)}; }

// The base64 of `what`, with or without the head of a data URI.
absl::StatusOr<std::string> ReadBase64(std::string_view text, std::string_view what) {
  if (absl::StartsWith(View(text), "data:")) {
    const std::size_t comma = text.find(',');
    const std::string_view head = text.substr(0, comma);
    if (comma == std::string_view::npos || !absl::EndsWith(View(head), ";base64")) {
      return Malformed(absl::StrCat(View(what), " is a data URI without ;base64"));
    }
    text.remove_prefix(comma + 1);
  }
  std::string data;
  if (!absl::Base64Unescape(View(text), &data)) {
    return Malformed(absl::StrCat(View(what), " is not base64"));
  }
  return data;
}

// Where a text might stand as well, only a data URI is an image.
absl::StatusOr<std::string> ReadDataUri(const Json& json, std::string_view what) {
  const auto* const text = json.get_ptr<const std::string*>();
  if (text == nullptr) return Malformed(absl::StrCat(View(what), " is not a string"));
  if (absl::StartsWith(*text, "http://") || absl::StartsWith(*text, "https://")) {
    return Malformed(absl::StrCat(View(what),
                                  " is a URL, and none is ever fetched; send a data URI: "
                                  "data:image/jpeg;base64,..."));
  }
  if (!absl::StartsWith(*text, "data:")) {
    return Malformed(
        absl::StrCat(View(what), " is not an image: send a data URI, data:image/jpeg;base64,..."));
  }
  return ReadBase64(*text, what);
}

// The word that SetOption takes for a JSON value; nothing where there is none.
std::optional<std::string> WordOf(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean() || value.is_number()) return value.dump();
  if (!value.is_array()) return std::nullopt;
  std::vector<std::string> words;
  for (const Json& element : value) {
    if (!element.is_number_integer()) return std::nullopt;
    words.push_back(element.dump());
  }
  return absl::StrJoin(words, ",");
}

// "model, pooling, ...": all that a form or a query may name.
std::string FieldNames() { return absl::StrCat(kModelField, ", ", OptionNames()); }

bool IsField(const std::string& name) { return name == kModelField || IsOption(name); }

// An option in the words of a form or a query. A request gives each once: of two values one would
// be ignored.
absl::Status SetFromText(const std::string& name, const std::string& text, HttpEmbedCall& call) {
  if (!IsField(name)) {
    const std::string why =
        absl::StrCat("there is no option ", Quoted(name), "; there are ", FieldNames());
    return WithMetadata(MakeError(Reason::kInvalidOption, why), "field", name);
  }
  if (!call.given.insert(name).second) {
    const std::string why = absl::StrCat("the request gives ", name, " twice");
    return WithMetadata(MakeError(Reason::kInvalidOption, why), "field", name);
  }
  if (name != kModelField) return SetOption(name, text, call.options);
  call.model = text;
  return absl::OkStatus();
}

absl::Status SetFromJson(const std::string& name, const Json& value, HttpEmbedCall& call) {
  if (value.is_null()) return absl::OkStatus();
  const std::optional<std::string> word = WordOf(value);
  if (word.has_value()) return SetFromText(name, *word, call);
  return MakeError(Reason::kInvalidOption,
                   absl::StrCat(name,
                                " is neither a string, a number, a boolean nor a list of "
                                "integers"));
}

absl::StatusOr<HttpEmbedCall> ReadQuery(const HttpRequest& request) {
  HttpEmbedCall call;
  for (const auto& [name, text] : request.query) {
    if (absl::Status status = SetFromText(name, text, call); !status.ok()) return status;
  }
  return call;
}

// ---- OpenAI's embeddings --------------------------------------------------------------------

absl::Status ReadInput(const Json& input, HttpEmbedCall& call) {
  const Json one = input.is_array() ? Json() : Json::array({input});
  const Json& images = input.is_array() ? input : one;
  call.images.reserve(images.size());
  for (std::size_t i = 0; i < images.size(); ++i) {
    absl::StatusOr<std::string> data = ReadDataUri(images[i], absl::StrCat("input ", i));
    if (!data.ok()) return data.status();
    call.images.push_back({.id = "", .data = *std::move(data)});
  }
  return absl::OkStatus();
}

// One part of a message: an image, or a text, which has to be empty.
absl::Status ReadPart(const Json& part, HttpEmbedCall& call) {
  const Json& type = At(part, "type");
  if (type == "image_url") {
    const Json& image = At(part, "image_url");
    const Json& url = image.is_object() ? At(image, "url") : image;
    absl::StatusOr<std::string> data =
        ReadDataUri(url, absl::StrCat("image_url ", call.images.size()));
    if (!data.ok()) return data.status();
    call.images.push_back({.id = "", .data = *std::move(data)});
    return absl::OkStatus();
  }
  if (type == "text" && At(part, "text") == Json("")) return absl::OkStatus();
  return Malformed("a part of messages is no image_url; this server embeds images only");
}

absl::Status ReadMessages(const Json& messages, HttpEmbedCall& call) {
  constexpr std::string_view kNoList = "messages is not a list of messages with a list as content";
  if (!messages.is_array()) return Malformed(kNoList);
  for (const Json& message : messages) {
    const Json& content = At(message, "content");
    if (!content.is_array()) return Malformed(kNoList);
    for (const Json& part : content) {
      if (absl::Status status = ReadPart(part, call); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status ReadOpenAiField(const std::string& name, const Json& value, HttpEmbedCall& call) {
  if (name == "input") return ReadInput(value, call);
  if (name == "messages") return ReadMessages(value, call);
  if (name == "user") return absl::OkStatus();  // who asks; nothing depends on it
  if (name == "modality") {
    if (value == "image") return absl::OkStatus();
    return MakeError(Reason::kInvalidOption,
                     absl::StrCat("modality is ", Text(value), "; possible: \"image\""));
  }
  if (name == "encoding_format") {
    call.base64 = value == "base64";
    if (call.base64 || value == "float") return absl::OkStatus();
    return MakeError(Reason::kInvalidOption, absl::StrCat("encoding_format is ", Text(value),
                                                          R"(; possible: "float", "base64")"));
  }
  return SetFromJson(name, value, call);
}

absl::StatusOr<HttpEmbedCall> ReadOpenAi(HttpRequest& request) {
  absl::StatusOr<HttpEmbedCall> call = ReadQuery(request);
  if (!call.ok()) return call.status();
  const absl::StatusOr<Json> json = ParseObject(request.body);
  if (!json.ok()) return json.status();
  for (const auto& [name, value] : json->items()) {
    if (absl::Status status = ReadOpenAiField(name, value, *call); !status.ok()) return status;
  }
  return call;
}

// ---- Vectors --------------------------------------------------------------------------------

std::vector<float> Floats(const Embedding& embedding) {
  std::vector<float> values(embedding.values.size() / sizeof(float));
  std::memcpy(values.data(), embedding.values.data(), values.size() * sizeof(float));
  return values;
}

Json VectorJson(const Embedding& embedding, bool base64) {
  if (base64) return absl::Base64Escape(embedding.values);
  return Floats(embedding);
}

// The failure of the first image that failed, for formats that have no place for one.
absl::Status FirstFailure(const HttpEmbedAnswer& answer) {
  for (std::size_t i = 0; i < answer.outcomes.size(); ++i) {
    const absl::Status& status = answer.outcomes[i].status();
    if (!status.ok()) return Annotate(status, absl::StrCat("image ", i));
  }
  return absl::OkStatus();
}

HttpResponse AnswerOpenAi(const HttpEmbedAnswer& answer) {
  if (absl::Status status = FirstFailure(answer); !status.ok()) {
    return HttpError(status, answer.retry_delay);
  }
  Json data = Json::array();
  for (std::size_t i = 0; i < answer.outcomes.size(); ++i) {
    data.push_back({{"object", "embedding"},
                    {"index", i},
                    {"embedding", VectorJson(answer.outcomes[i]->embedding, answer.call.base64)}});
  }
  return Respond({{"object", "list"},
                  {"data", std::move(data)},
                  {"model", answer.plan.description->name()},
                  {"fingerprint", answer.plan.fingerprint},
                  {"usage", {{"prompt_tokens", 0}, {"total_tokens", 0}}}});
}

// ---- pixembed's own -------------------------------------------------------------------------

constexpr char kImageField[] = "image";

// Of a form's field that is neither an image nor an option: most often an image under a name that
// another service takes.
absl::Status NoField(const std::string& name) {
  const std::string text = absl::StrCat(
      "the form has a field ", Quoted(name),
      ", which does not exist: each image goes in a field \"", kImageField, "\" (curl -F ",
      kImageField, "=@FILE), an option in the field of its name: ", FieldNames());
  return WithMetadata(MakeError(Reason::kInvalidOption, text), "field", name);
}

absl::StatusOr<HttpEmbedCall> ReadForm(HttpRequest& request, HttpEmbedCall call) {
  for (HttpPart& part : request.parts) {
    if (part.name == kImageField) {
      call.images.push_back({.id = std::move(part.file_name), .data = std::move(part.data)});
    } else if (!IsField(part.name)) {
      return NoField(part.name);
    } else if (absl::Status status = SetFromText(part.name, part.data, call); !status.ok()) {
      return Annotate(status, "form");
    }
  }
  return call;
}

absl::StatusOr<HttpEmbedCall> ReadRequestJson(const std::string& body) {
  v1::EmbedRequest request;
  if (const auto status = google::protobuf::util::JsonStringToMessage(body, &request);
      !status.ok()) {
    return Malformed(
        absl::StrCat("the body is not a pixembed.v1.EmbedRequest in JSON: ", status.ToString()));
  }
  // What this format has no place for must not change what a caller gets without a word.
  if (request.options().data_type() > v1::DATA_TYPE_FLOAT32) {
    return MakeError(Reason::kInvalidOption, "options.dataType is not FLOAT32, all that JSON has");
  }
  HttpEmbedCall call{.model = request.model(), .options = request.options(), .images = {}};
  call.images.reserve(static_cast<std::size_t>(request.images_size()));
  for (v1::Image& image : *request.mutable_images()) {
    call.images.push_back({.id = image.id(), .data = std::move(*image.mutable_data())});
  }
  return call;
}

absl::StatusOr<HttpEmbedCall> ReadOwn(HttpRequest& request) {
  if (request.media_type == "application/json") {
    if (request.query.empty()) return ReadRequestJson(request.body);
    return Malformed("a JSON body holds its options itself; the query must be empty");
  }
  absl::StatusOr<HttpEmbedCall> call = ReadQuery(request);
  if (!call.ok()) return call.status();
  if (request.media_type == "multipart/form-data") return ReadForm(request, *std::move(call));
  // Nothing, said to be nothing, is no image; of a type it is an empty one.
  if (request.body.empty() && request.media_type.empty()) return call;
  // Any other media type: "image/jpeg", and what curl says that --data-binary is.
  call->images.push_back({.id = "", .data = std::move(request.body)});
  return call;
}

Json ErrorJson(const absl::Status& status) {
  const std::optional<Reason> reason = ReasonOf(status);
  const int code = HttpStatusOf(status);
  return {{"message", MessageText(status)},
          {"type", code < 500 ? "invalid_request_error" : "server_error"},
          {"param", nullptr},
          {"code", reason.has_value() ? std::string(Describe(*reason).name) : "INTERNAL"}};
}

HttpResponse AnswerOwn(const HttpEmbedAnswer& answer) {
  Json results = Json::array();
  for (std::size_t i = 0; i < answer.outcomes.size(); ++i) {
    const absl::StatusOr<Outcome>& outcome = answer.outcomes[i];
    Json result = {{"index", i}, {"id", answer.call.images[i].id}};
    if (outcome.ok()) {
      result["embedding"] = Floats(outcome->embedding);
    } else {
      result["error"] = ErrorJson(outcome.status());
    }
    results.push_back(std::move(result));
  }
  return Respond({{"model", answer.plan.description->name()},
                  {"fingerprint", answer.plan.fingerprint},
                  {"results", std::move(results)}});
}

// ---- Weaviate -------------------------------------------------------------------------------

absl::StatusOr<std::string> ReadWeaviateImage(const Json& json, std::string_view what) {
  const auto* const text = json.get_ptr<const std::string*>();
  if (text == nullptr) return Malformed(absl::StrCat(View(what), " is not a string of base64"));
  return ReadBase64(*text, what);
}

// multi2vec-clip: {"texts": [], "images": ["base64"]}.
absl::StatusOr<HttpEmbedCall> ReadVectorize(HttpRequest& request) {
  absl::StatusOr<HttpEmbedCall> call = ReadQuery(request);
  if (!call.ok()) return call.status();
  const absl::StatusOr<Json> json = ParseObject(request.body);
  if (!json.ok()) return json.status();
  const Json& texts = At(*json, "texts");
  if (!texts.is_null() && texts != Json::array()) {
    return Malformed("texts is not empty; this server embeds images only");
  }
  const Json& images = At(*json, "images");
  if (!images.is_null() && !images.is_array()) return Malformed("images is not a list");
  call->images.reserve(images.size());
  for (std::size_t i = 0; i < images.size(); ++i) {
    absl::StatusOr<std::string> data = ReadWeaviateImage(images[i], absl::StrCat("image ", i));
    if (!data.ok()) return data.status();
    call->images.push_back({.id = "", .data = *std::move(data)});
  }
  return call;
}

HttpResponse RefuseWeaviate(const absl::Status& status, std::chrono::milliseconds retry_delay) {
  HttpResponse response = HttpError(status, retry_delay);
  response.body = Text({{"error", MessageText(status)}});
  return response;
}

HttpResponse AnswerVectorize(const HttpEmbedAnswer& answer) {
  if (absl::Status status = FirstFailure(answer); !status.ok()) {
    return RefuseWeaviate(status, answer.retry_delay);
  }
  Json vectors = Json::array();
  for (const absl::StatusOr<Outcome>& outcome : answer.outcomes) {
    vectors.push_back(Floats(outcome->embedding));
  }
  return Respond({{"textVectors", Json::array()}, {"imageVectors", std::move(vectors)}});
}

// img2vec-neural: {"id": "...", "image": "base64"}.
absl::StatusOr<HttpEmbedCall> ReadVectors(HttpRequest& request) {
  absl::StatusOr<HttpEmbedCall> call = ReadQuery(request);
  if (!call.ok()) return call.status();
  const absl::StatusOr<Json> json = ParseObject(request.body);
  if (!json.ok()) return json.status();
  absl::StatusOr<std::string> data = ReadWeaviateImage(At(*json, "image"), "image");
  if (!data.ok()) return data.status();
  const Json& id = At(*json, "id");
  call->images.push_back(
      {.id = id.is_string() ? id.get<std::string>() : "", .data = *std::move(data)});
  return call;
}

HttpResponse AnswerVectors(const HttpEmbedAnswer& answer) {
  if (absl::Status status = FirstFailure(answer); !status.ok()) {
    return RefuseWeaviate(status, answer.retry_delay);
  }
  const Embedding& embedding = answer.outcomes.front()->embedding;
  return Respond({{"id", answer.call.images.front().id},
                  {"vector", Floats(embedding)},
                  {"dim", embedding.dimensions}});
}

constexpr std::array kFormats = {
    HttpFormat{"/v1/embeddings", &ReadOpenAi, &AnswerOpenAi, &HttpError},
    HttpFormat{"/v1/embed", &ReadOwn, &AnswerOwn, &HttpError},
    HttpFormat{"/vectorize", &ReadVectorize, &AnswerVectorize, &RefuseWeaviate},
    HttpFormat{"/vectors", &ReadVectors, &AnswerVectors, &RefuseWeaviate},
};

}  // namespace

std::span<const HttpFormat> HttpFormats() { return kFormats; }

HttpResponse HttpError(const absl::Status& status, std::chrono::milliseconds retry_delay) {
  HttpResponse response{.status = HttpStatusOf(status),
                        .body = Text({{"error", ErrorJson(status)}})};
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(retry_delay);
    response.headers["Retry-After"] = absl::StrCat(seconds.count());
  }
  if (status.code() == absl::StatusCode::kUnauthenticated) {
    response.headers["WWW-Authenticate"] = "Bearer";
  }
  return response;
}

int HttpStatusOf(const absl::Status& status) {
  if (ReasonOf(status) == Reason::kMessageTooLarge) return 413;
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return 200;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kCancelled:
      return 499;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

}  // namespace pixembed
