#include "server/http_bridge.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "api/embed_options.h"
#include "api/served_model.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/http_formats.h"
#include "server/http_server.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kModelsPath = "/v1/models";
constexpr std::string_view kModelPath = "/v1/models/{id}";
constexpr std::string_view kMetaPath = "/meta";
constexpr std::string_view kLivePath = "/.well-known/live";
constexpr std::string_view kReadyPath = "/.well-known/ready";
// What metrics call every path that is none of ours.
constexpr std::string_view kOtherRoute = "other";

// What a GET is answered from.
struct GetCall {
  const ServedModels& models;
  std::string_view id;  // what stands for {id} in the path
  bool ready;
  std::chrono::milliseconds retry_delay;
};

struct GetRow {
  std::string_view path;  // for a {id} at its end stands any text but none
  HttpResponse (*answer)(const GetCall& call);
  bool open = false;  // served to everyone: probes have neither token nor certificate
};

HttpResponse NoContent(bool good) {
  return {.status = good ? 204 : 503, .media_type = "", .body = ""};
}

// {"id", "object": "model", ...}, as OpenAI has it.
std::string ModelJson(const ServedModel& model) {
  // Names are letters, digits, '.', '_' and '-': nothing to escape.
  return absl::StrCat(R"({"id":")", model.name(),
                      R"(","object":"model","created":0,"owned_by":"pixembed"})");
}

// {"object": "list", "data": [ModelJson, ...]}, as OpenAI has it.
HttpResponse ListModels(const GetCall& call) {
  std::vector<std::string> rows;
  for (const auto& model : call.models.all()) rows.push_back(ModelJson(*model));
  return {.body = absl::StrCat(R"({"object":"list","data":[)", absl::StrJoin(rows, ","), "]}")};
}

HttpResponse OneModel(const GetCall& call) {
  const auto model = call.models.Find(call.id);
  if (!model.ok()) return HttpError(model.status(), call.retry_delay);
  return {.body = ModelJson(**model)};
}

// pixembed.v1.ListModelsResponse in protobuf's JSON.
HttpResponse Meta(const GetCall& call) {
  v1::ListModelsResponse response;
  for (const auto& model : call.models.all()) *response.add_models() = *model->description();
  HttpResponse meta;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  const auto status = google::protobuf::util::MessageToJsonString(response, &meta.body, options);
  if (!status.ok()) meta.status = 500;
  return meta;
}

constexpr std::array kGets = {
    GetRow{kModelsPath, &ListModels},
    GetRow{kModelPath, &OneModel},
    GetRow{kMetaPath, &Meta},
    GetRow{kLivePath, [](const GetCall&) { return NoContent(true); }, true},
    GetRow{kReadyPath, [](const GetCall& call) { return NoContent(call.ready); }, true},
};

const HttpFormat* FindFormat(std::string_view path) {
  const auto formats = HttpFormats();
  const auto format = std::find_if(formats.begin(), formats.end(),
                                   [path](const HttpFormat& f) { return f.path == path; });
  return format == formats.end() ? nullptr : &*format;
}

// What stands in `path` for the {id} of a row, "" for a row without one; nothing where the path is
// not the row's.
std::optional<std::string_view> IdIn(std::string_view path, const GetRow& row) {
  constexpr std::string_view kId = "{id}";
  if (!row.path.ends_with(kId)) {
    return path == row.path ? std::optional(std::string_view()) : std::nullopt;
  }
  const std::string_view head = row.path.substr(0, row.path.size() - kId.size());
  if (!path.starts_with(head) || path.size() == head.size()) return std::nullopt;
  return path.substr(head.size());
}

struct GetMatch {
  const GetRow* row = nullptr;  // null: no GET has such a path
  std::string_view id;          // of the path
};

GetMatch FindGet(std::string_view path) {
  for (const GetRow& row : kGets) {
    if (const auto id = IdIn(path, row)) return {&row, *id};
  }
  return {};
}

// What HttpServer asks of a request; null where there are no tokens.
std::function<absl::Status(std::span<const std::string_view>)> TokenCheck(
    std::shared_ptr<BearerTokens> tokens) {
  if (tokens == nullptr) return nullptr;
  return [tokens = std::move(tokens)](std::span<const std::string_view> authorization) {
    return tokens->Check(authorization, Clock::now());
  };
}

// What no route takes.
HttpResponse NoRoute(const HttpRequest& request, std::string_view allowed) {
  std::vector<std::string> paths;
  for (const HttpFormat& format : HttpFormats()) {
    paths.push_back(absl::StrCat("POST ", std::string(format.path)));
  }
  for (const GetRow& row : kGets) paths.push_back(absl::StrCat("GET ", std::string(row.path)));
  HttpResponse response =
      HttpError(MakeError(Reason::kMalformedRequest,
                          absl::StrCat("there is no ", request.method, " ", request.path,
                                       "; there are ", absl::StrJoin(paths, ", "))),
                {});
  response.status = allowed.empty() ? 404 : 405;
  if (!allowed.empty()) response.headers["Allow"] = std::string(allowed);
  return response;
}

}  // namespace

// A request whose images are in the engine. Shared by them; the last one answers.
struct HttpBridge::Gathering {
  Gathering(const HttpFormat& its_format, HttpEmbedCall its_call, EmbedPlan its_plan,
            HttpReply its_reply)
      : format(its_format),
        call(std::move(its_call)),
        plan(std::move(its_plan)),
        reply(std::move(its_reply)),
        outcomes(call.images.size()),
        left(call.images.size()) {}

  const HttpFormat& format;
  const HttpEmbedCall call;
  const EmbedPlan plan;
  HttpReply reply;
  std::vector<absl::StatusOr<Outcome>> outcomes;
  std::atomic<std::size_t> left;
};

HttpBridge::HttpBridge(Engine& engine, const ModelRepository& models, HttpBridgeOptions options)
    : engine_(engine), models_(models), options_(std::move(options)) {}

absl::StatusOr<std::unique_ptr<HttpBridge>> HttpBridge::Start(Engine& engine,
                                                              const ModelRepository& models,
                                                              HttpBridgeOptions options) {
  std::unique_ptr<HttpBridge> bridge(new HttpBridge(engine, models, std::move(options)));
  HttpBridge* const self = bridge.get();
  const HttpBridgeOptions& set = self->options_;
  auto server = HttpServer::Start(
      {.listen = set.listen,
       .max_body_bytes = set.limits.max_message_bytes,
       .max_receive_bytes = set.max_receive_bytes,
       .max_connections = set.max_connections,
       .threads = set.threads,
       .certificates = set.certificates,
       .authorize = TokenCheck(set.tokens),
       .open =
           [](std::string_view path) {
             const GetRow* const get = FindGet(path).row;
             return get != nullptr && get->open;
           },
       .refuse =
           [self](const absl::Status& status) {
             HttpResponse response = HttpError(status, self->engine_.RetryDelay());
             if (Metrics* const metrics = self->options_.metrics.get()) {
               metrics->OnHttp(kOtherRoute, response.status, std::nullopt);
             }
             return response;
           }},
      [self](HttpRequest request, HttpReply reply) {
        self->Handle(std::move(request), std::move(reply));
      });
  if (!server.ok()) return server.status();
  bridge->server_ = *std::move(server);
  return bridge;
}

void HttpBridge::Handle(HttpRequest request, HttpReply reply) {
  const HttpFormat* const format = FindFormat(request.path);
  const auto [get, id] = FindGet(request.path);
  const bool reads = request.method == "GET" || request.method == "HEAD";
  const std::string_view route = format != nullptr ? format->path
                                 : get != nullptr  ? get->path
                                                   : kOtherRoute;
  reply = Observed(route, std::move(reply));
  if (format != nullptr && request.method == "POST") {
    Embed(*format, std::move(request), std::move(reply));
  } else if (get != nullptr && reads) {
    reply([row = get, this, named = std::string(id)] {
      return row->answer({.models = *models_.served(),
                          .id = named,
                          .ready = ready_,
                          .retry_delay = engine_.RetryDelay()});
    });
  } else {
    const char* const allowed = format != nullptr ? "POST" : get != nullptr ? "GET, HEAD" : "";
    reply([response = NoRoute(request, allowed)] { return response; });
  }
}

HttpReply HttpBridge::Observed(std::string_view route, HttpReply reply) const {
  if (options_.metrics == nullptr) return reply;
  return [metrics = options_.metrics, route, reply = std::move(reply),
          begun = Clock::now()](absl::AnyInvocable<HttpResponse()> answer) mutable {
    reply([metrics, route, begun, answer = std::move(answer)]() mutable {
      HttpResponse response = answer();
      metrics->OnHttp(route, response.status, Clock::now() - begun);
      return response;
    });
  };
}

void HttpBridge::Embed(const HttpFormat& format, HttpRequest request, HttpReply reply) {
  const auto refuse = [&format, delay = engine_.RetryDelay()](HttpReply& to, absl::Status status) {
    to([&format, delay, status = std::move(status)] { return format.refuse(status, delay); });
  };
  absl::StatusOr<HttpEmbedCall> call = format.read(request);
  if (!call.ok()) return refuse(reply, call.status());
  absl::StatusOr<EmbedPlan> plan =
      MakePlan(*models_.served(), call->model, call->options, Lane::kOnline);
  if (!plan.ok()) return refuse(reply, plan.status());
  const std::size_t images = call->images.size();
  constexpr std::string_view kMore = "send them in several requests";
  if (absl::Status status = CheckImageCount(images, options_.limits, kMore); !status.ok()) {
    return refuse(reply, std::move(status));
  }

  // The answer has no need of it, and may be read slowly.
  const std::shared_ptr<const ServedModel> model = std::move(plan->model);
  const auto gathering =
      std::make_shared<Gathering>(format, *std::move(call), *std::move(plan), std::move(reply));
  const TimePoint deadline = Clock::now() + options_.timeout;
  std::vector<Item> items;
  items.reserve(images);
  for (std::size_t i = 0; i < images; ++i) {
    const std::string& data = gathering->call.images[i].data;
    items.push_back({.image = {.bytes = std::as_bytes(std::span(data)), .owner = gathering},
                     .policy = gathering->plan.policy,
                     .output = gathering->plan.output,
                     .lane = gathering->plan.lane,
                     .deadline = deadline,
                     .stop = {},
                     .done = [this, gathering, i](absl::StatusOr<Outcome> outcome) {
                       gathering->outcomes[i] = std::move(outcome);
                       if (gathering->left.fetch_sub(1) > 1) return;
                       gathering->reply([this, gathering] {
                         return gathering->format.answer({gathering->call, gathering->plan,
                                                          gathering->outcomes,
                                                          engine_.RetryDelay()});
                       });
                     }});
  }
  if (absl::Status status = engine_.Submit(model->index(), std::move(items)); !status.ok()) {
    refuse(gathering->reply, std::move(status));
  }
}

}  // namespace pixembed
