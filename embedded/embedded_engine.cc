#include "embedded/embedded_engine.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <future>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "api/embed_options.h"
#include "api/explanation.h"
#include "api/served_model.h"
#include "google/protobuf/message_lite.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/command_line/command_line.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "src/launch/launch.h"
#include "src/model/model.h"

// As the server's flag of the same name; the two are never in one program.
ABSL_FLAG(std::int64_t, stream_window, 64, "Images that one stream may have in flight");

namespace pixembed {
namespace {

struct OpenConfig {
  LaunchConfig launch;
  std::size_t window = 0;
};

absl::StatusOr<OpenConfig> ReadFlags(std::span<const char* const> arguments) {
  static std::mutex mutex;  // flags are global
  const std::lock_guard lock(mutex);
  std::vector<std::string_view> names(LaunchFlags().begin(), LaunchFlags().end());
  names.emplace_back("stream_window");
  const auto no_environment = [](const std::string&) { return std::nullopt; };
  if (absl::Status status = SetFlags(names, arguments, no_environment); !status.ok()) return status;
  const std::int64_t window = absl::GetFlag(FLAGS_stream_window);
  const std::array ranges = {FlagRange{"stream_window", window, 1, 1'000'000}};
  if (absl::Status status = CheckRanges(ranges); !status.ok()) return status;
  absl::StatusOr<LaunchConfig> launch = ReadLaunchFlags();
  if (!launch.ok()) return launch.status();
  if (launch->models.empty()) {
    return MakeError(Reason::kInvalidOption, "--model is missing: the directory of a model");
  }
  if (launch->verify == VerifyMode::kOnly) {
    return MakeError(Reason::kInvalidOption,
                     "--verify is \"only\"; possible here are enforce, warn and off");
  }
  return OpenConfig{*std::move(launch), static_cast<std::size_t>(window)};
}

absl::Status Parse(std::string_view bytes, google::protobuf::MessageLite& message) {
  if (bytes.size() <= std::numeric_limits<int>::max() &&
      message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::OkStatus();
  }
  return MakeError(Reason::kMalformedRequest, absl::StrCat("the request of ", bytes.size(),
                                                           " bytes is no ", message.GetTypeName()));
}

}  // namespace

EmbeddedEngine::EmbeddedEngine(std::unique_ptr<Engine> engine, ServedModels models,
                               std::size_t window)
    : engine_(std::move(engine)), models_(std::move(models)), window_(window) {}

absl::StatusOr<std::shared_ptr<EmbeddedEngine>> EmbeddedEngine::Open(
    std::span<const char* const> flags, const Log& log) {
  const absl::StatusOr<OpenConfig> config = ReadFlags(flags);
  if (!config.ok()) return config.status();
  if (absl::Status status = CheckRuntime(); !status.ok()) return status;
  InitializeRuntime();
  const absl::StatusOr<ModelOptions> options = ReadModelOptions(config->launch, log);
  if (!options.ok()) return options.status();
  const std::vector<ModelSource>& sources = config->launch.models;
  auto engine = LaunchEngine(config->launch, sources, *options, log);
  if (!engine.ok()) return engine.status();
  ServedModels::Models models;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    // No message bounds a request.
    models.push_back(std::make_shared<const ServedModel>(
        sources[i].name, i, (*engine)->model(i), config->launch.engine.limits,
        RequestLimits{.max_message_bytes = 0, .max_request_images = 0}));
  }
  return std::shared_ptr<EmbeddedEngine>(new EmbeddedEngine(
      *std::move(engine), ServedModels(std::move(models), sources.front().name, {}),
      config->window));
}

v1::ListModelsResponse EmbeddedEngine::Models() const {
  v1::ListModelsResponse response;
  for (const auto& model : models_.all()) *response.add_models() = *model->description();
  return response;
}

absl::StatusOr<v1::ImageExplanation> EmbeddedEngine::Explain(std::string_view request) {
  const auto message = std::make_shared<v1::ExplainImageRequest>();
  if (absl::Status status = Parse(request, *message); !status.ok()) return status;
  absl::StatusOr<EmbedPlan> plan =
      MakePlan(models_, message->model(), message->options(), Lane::kOnline);
  if (!plan.ok()) return plan.status();
  std::promise<absl::StatusOr<Outcome>> outcome;
  std::vector<Item> items;
  items.push_back(
      {.image = {.bytes = std::as_bytes(std::span(message->data())), .owner = message},
       .policy = plan->policy,
       .output = plan->output,
       .lane = plan->lane,
       .describe = true,
       .stop = closing_.get_token(),
       .done = [&outcome](absl::StatusOr<Outcome> done) { outcome.set_value(std::move(done)); }});
  if (absl::Status status = SubmitPlan(*engine_, *plan, std::move(items)); !status.ok()) {
    return status;
  }
  const absl::StatusOr<Outcome> described = outcome.get_future().get();
  if (!described.ok()) return described.status();
  return ToExplanation(*described, *plan);
}

absl::StatusOr<std::unique_ptr<Stream>> EmbeddedEngine::OpenStream(std::string_view request) {
  v1::EmbedRequest message;
  if (absl::Status status = Parse(request, message); !status.ok()) return status;
  if (message.images_size() > 0) {
    return MakeError(Reason::kMalformedRequest,
                     absl::StrCat("the request that opens a stream holds ", message.images_size(),
                                  " images; they are submitted one by one"));
  }
  absl::StatusOr<EmbedPlan> plan =
      MakePlan(models_, message.model(), message.options(), Lane::kBulk);
  if (!plan.ok()) return plan.status();
  return std::make_unique<Stream>(*engine_, *std::move(plan), window_, closing_.get_token());
}

void EmbeddedEngine::Close() {
  closing_.request_stop();
  (void)engine_->Drain(TimePoint::max());
}

}  // namespace pixembed
