#include "server/metrics.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/support/status.h>
#include <prometheus/client_metric.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "api/served_model.h"
#include "server/process_status.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

using Labels = std::map<std::string, std::string>;
using prometheus::ClientMetric;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;
using prometheus::MetricFamily;
using prometheus::Registry;
using Type = MetricInfo::Type;

constexpr MetricInfo kImages{
    "pixembed_images_total", Type::kCounter, "model, lane, reason",
    "Images to embed that ended, refused ones included; reason is OK, or why there is no vector"};
constexpr MetricInfo kImageBytes{"pixembed_image_bytes_total", Type::kCounter, "model, lane",
                                 "Encoded bytes of the admitted images that ended"};
constexpr MetricInfo kImageSeconds{"pixembed_image_seconds", Type::kHistogram, "model, lane",
                                   "From admission to the vector, of images that have one"};
constexpr MetricInfo kImageQueueSeconds{
    "pixembed_image_queue_seconds", Type::kHistogram, "model, lane",
    "How long of pixembed_image_seconds it waited: for a thread to decode, and for a worker"};
constexpr MetricInfo kImageDecodeSeconds{
    "pixembed_image_decode_seconds", Type::kHistogram, "model",
    "How long of pixembed_image_seconds it took to decode and resize"};
constexpr MetricInfo kBatchSeconds{"pixembed_batch_seconds", Type::kHistogram, "model",
                                   "How long the forward of a batch took"};
constexpr MetricInfo kBatchImages{"pixembed_batch_images", Type::kHistogram, "model",
                                  "Images of a batch"};
constexpr MetricInfo kBusySeconds{
    "pixembed_busy_seconds_total", Type::kCounter, "model",
    "Time of forwards, times the cores (on a GPU: workers) that each had; its rate over "
    "pixembed_capacity is the utilization"};
constexpr MetricInfo kCapacity{"pixembed_capacity", Type::kGauge, "",
                               "Cores, or on a GPU workers, that forwards run on"};
constexpr MetricInfo kWaitSeconds{
    "pixembed_wait_seconds", Type::kGauge, "lane",
    "How long an image of the lane would wait if it came now, at the measured rates: what to scale "
    "on"};
constexpr MetricInfo kQueuedImages{"pixembed_queued_images", Type::kGauge, "",
                                   "Images that were admitted and have not ended"};
constexpr MetricInfo kMaxQueuedImages{"pixembed_max_queued_images", Type::kGauge, "",
                                      "The flag: above it images are OVERLOADED"};
constexpr MetricInfo kQueuedBytes{
    "pixembed_queued_bytes", Type::kGauge, "",
    "Encoded bytes of the images that were admitted and have not ended"};
constexpr MetricInfo kMaxQueuedBytes{"pixembed_max_queued_bytes", Type::kGauge, "",
                                     "The flag: above it images are OVERLOADED"};
constexpr MetricInfo kDecodedBytes{"pixembed_decoded_bytes", Type::kGauge, "",
                                   "Bytes of pixels that are set aside for decoding"};
constexpr MetricInfo kMaxDecodedBytes{"pixembed_max_decoded_bytes", Type::kGauge, "",
                                      "The flag: above it decoding waits"};
constexpr MetricInfo kCalls{"pixembed_calls", Type::kGauge, "", "gRPC calls that are being served"};
constexpr MetricInfo kMaxCalls{"pixembed_max_calls", Type::kGauge, "",
                               "The flag: above it calls are OVERLOADED"};
constexpr MetricInfo kReady{"pixembed_ready", Type::kGauge, "",
                            "1 while health says SERVING, 0 from the first step of a drain on"};
constexpr MetricInfo kCertificateEnd{
    "pixembed_certificate_end_seconds", Type::kGauge, "",
    "With TLS: when the certificate in force ends, in seconds since the epoch"};
constexpr MetricInfo kModelInfo{"pixembed_model_info", Type::kGauge,
                                "model, model_type, precision, devices, dimension, fingerprint",
                                "1 for each model that is served; fingerprint is that of mean"};
constexpr MetricInfo kBuildInfo{"pixembed_build_info", Type::kGauge, "version",
                                "1, with the server's version"};
constexpr MetricInfo kCallsStarted{"grpc_server_started_total", Type::kCounter,
                                   "grpc_type, grpc_service, grpc_method", "Calls that came"};
constexpr MetricInfo kCallsHandled{
    "grpc_server_handled_total", Type::kCounter, "grpc_type, grpc_service, grpc_method, grpc_code",
    "Calls that were answered; codes are written as Go has them (InvalidArgument)"};
constexpr MetricInfo kCallSeconds{"grpc_server_handling_seconds", Type::kHistogram,
                                  "grpc_type, grpc_service, grpc_method",
                                  "How long calls took; of a stream, as long as it was open"};
constexpr MetricInfo kHttpRequests{"pixembed_http_requests_total", Type::kCounter, "route, code",
                                   "Requests to --http_listen that were answered; route is other "
                                   "where there is none or the request was refused unread"};
constexpr MetricInfo kHttpSeconds{
    "pixembed_http_request_seconds", Type::kHistogram, "route",
    "How long requests to --http_listen took, from when they were received whole"};
constexpr MetricInfo kProcessCpu{"process_cpu_seconds_total", Type::kCounter, "",
                                 "CPU time of the process, user and system"};
constexpr MetricInfo kProcessResident{"process_resident_memory_bytes", Type::kGauge, "",
                                      "Resident memory, mapped weights included"};
constexpr MetricInfo kProcessVirtual{"process_virtual_memory_bytes", Type::kGauge, "",
                                     "Virtual memory"};
constexpr MetricInfo kProcessDescriptors{"process_open_fds", Type::kGauge, "",
                                         "Open file descriptors"};
constexpr MetricInfo kProcessMaxDescriptors{"process_max_fds", Type::kGauge, "",
                                            "Open file descriptors that there may be"};
constexpr MetricInfo kProcessStart{"process_start_time_seconds", Type::kGauge, "",
                                   "When the process began, in seconds since the epoch"};

constexpr std::array kAll = {kImages,
                             kImageBytes,
                             kImageSeconds,
                             kImageQueueSeconds,
                             kImageDecodeSeconds,
                             kBatchSeconds,
                             kBatchImages,
                             kBusySeconds,
                             kCapacity,
                             kWaitSeconds,
                             kQueuedImages,
                             kMaxQueuedImages,
                             kQueuedBytes,
                             kMaxQueuedBytes,
                             kDecodedBytes,
                             kMaxDecodedBytes,
                             kCalls,
                             kMaxCalls,
                             kReady,
                             kCertificateEnd,
                             kModelInfo,
                             kBuildInfo,
                             kCallsStarted,
                             kCallsHandled,
                             kCallSeconds,
                             kHttpRequests,
                             kHttpSeconds,
                             kProcessCpu,
                             kProcessResident,
                             kProcessVirtual,
                             kProcessDescriptors,
                             kProcessMaxDescriptors,
                             kProcessStart};

// Six a decade: a quantile that is read off them is right within a fifth.
const Histogram::BucketBoundaries& Seconds() {
  static const Histogram::BucketBoundaries boundaries = {
      0.0001, 0.00015, 0.00022, 0.00033, 0.00047, 0.00068, 0.001, 0.0015, 0.0022,
      0.0033, 0.0047,  0.0068,  0.01,    0.015,   0.022,   0.033, 0.047,  0.068,
      0.1,    0.15,    0.22,    0.33,    0.47,    0.68,    1,     1.5,    2.2,
      3.3,    4.7,     6.8,     10,      15,      22,      33,    47,     68};
  return boundaries;
}

const Histogram::BucketBoundaries& BatchSizes() {
  static const Histogram::BucketBoundaries boundaries = {1,  2,  3,  4,  6,  8,   12,  16,
                                                         24, 32, 48, 64, 96, 128, 256, 512};
  return boundaries;
}

// Of grpc_code, by number. Source: google.golang.org/grpc 1.82, codes/code_string.go, which
// go-grpc-prometheus, whose names these metrics have, writes.
constexpr std::array<const char*, 17> kCodes = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

const char* CodeName(grpc::StatusCode code) {
  const auto number = static_cast<std::size_t>(code);
  return number < kCodes.size() ? kCodes[number] : "Unknown";
}

const char* LaneName(Lane lane) { return lane == Lane::kBulk ? "bulk" : "online"; }

std::string ReasonName(const absl::Status& status) {
  if (status.ok()) return "OK";
  const std::optional<Reason> reason = ReasonOf(status);
  return reason.has_value() ? std::string(Describe(*reason).name)
                            : absl::StatusCodeToString(status.code());
}

// Those that say something of the server: a rate needs a value before the first one that matters.
std::vector<std::string> ReasonsFromTheStart() {
  std::vector<std::string> reasons = {absl::StatusCodeToString(absl::StatusCode::kInternal)};
  for (const Reason reason : {Reason::kOverloaded, Reason::kDeviceFailure, Reason::kOutOfMemory,
                              Reason::kNonFiniteVector}) {
    reasons.emplace_back(Describe(reason).name);
  }
  return reasons;
}

const char* TypeName(Type type) {
  switch (type) {
    case Type::kCounter:
      return "counter";
    case Type::kGauge:
      return "gauge";
    case Type::kHistogram:
      break;
  }
  return "histogram";
}

double InSeconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

Family<Counter>& MakeCounter(const MetricInfo& info, Registry& registry) {
  return prometheus::BuildCounter().Name(info.name).Help(info.help).Register(registry);
}

Family<Histogram>& MakeHistogram(const MetricInfo& info, Registry& registry) {
  return prometheus::BuildHistogram().Name(info.name).Help(info.help).Register(registry);
}

// grpc_type, grpc_service and grpc_method of "/package.Service/Method".
Labels MethodLabels(std::string_view method) {
  const std::vector<std::string> parts =
      absl::StrSplit(absl::string_view(method.data(), method.size()), '/', absl::SkipEmpty());
  if (parts.size() != 2) return {};
  const auto* const descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(
          absl::StrCat(parts[0], ".", parts[1]));
  const bool client = descriptor != nullptr && descriptor->client_streaming();
  const bool server = descriptor != nullptr && descriptor->server_streaming();
  const char* const type =
      client ? (server ? "bidi_stream" : "client_stream") : (server ? "server_stream" : "unary");
  return {{"grpc_type", type}, {"grpc_service", parts[0]}, {"grpc_method", parts[1]}};
}

Labels With(Labels labels, const char* name, std::string value) {
  labels.emplace(name, std::move(value));
  return labels;
}

// A family whose values are those of the moment.
class MomentFamily {
 public:
  explicit MomentFamily(const MetricInfo& info) {
    family_.name = info.name;
    family_.help = info.help;
    const bool counter = info.type == Type::kCounter;
    family_.type = counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
  }

  void Add(double value, const Labels& labels) {
    ClientMetric metric;
    for (const auto& [name, text] : labels) metric.label.push_back({name, text});
    if (family_.type == prometheus::MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
    family_.metric.push_back(std::move(metric));
  }

  MetricFamily Take() { return std::move(family_); }

 private:
  MetricFamily family_;
};

template <typename Number>
MetricFamily One(const MetricInfo& info, Number value, const Labels& labels = {}) {
  MomentFamily family(info);
  family.Add(static_cast<double>(value), labels);
  return family.Take();
}

MetricFamily Models(const ServedModels& models) {
  MomentFamily family(kModelInfo);
  for (const auto& model : models.all()) {
    const v1::Model& description = *model->description();
    family.Add(1, {{"model", model->name()},
                   {"model_type", description.model_type()},
                   {"precision", description.precision()},
                   {"devices", absl::StrJoin(description.devices(), ",")},
                   {"dimension", absl::StrCat(description.dimension())},
                   {"fingerprint", model->Fingerprint({})}});
  }
  return family.Take();
}

MetricFamily Wait(const EngineStats& stats) {
  MomentFamily family(kWaitSeconds);
  family.Add(InSeconds(stats.online_wait), {{"lane", LaneName(Lane::kOnline)}});
  family.Add(InSeconds(stats.bulk_wait), {{"lane", LaneName(Lane::kBulk)}});
  return family.Take();
}

std::size_t PlaceOf(const MetricFamily& family) {
  const auto* const found = std::ranges::find_if(
      kAll, [&family](const MetricInfo& info) { return family.name == info.name; });
  return static_cast<std::size_t>(std::distance(kAll.begin(), found));
}

}  // namespace

std::span<const MetricInfo> AllMetrics() { return kAll; }

std::string MetricsMarkdown() {
  std::string text = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n";
  for (const MetricInfo& info : kAll) {
    absl::StrAppend(&text, "| `", info.name, "` | ", TypeName(info.type), " | ", info.labels,
                    *info.labels == '\0' ? "" : " ", "| ", info.help, ". |\n");
  }
  return text;
}

struct Metrics::ModelSeries {
  struct OfLane {
    Counter& ok;
    Counter& bytes;
    Histogram& seconds;
    Histogram& queue_seconds;
  };

  const OfLane& Of(Lane lane) const { return lane == Lane::kBulk ? bulk : online; }

  std::string model;
  OfLane online;
  OfLane bulk;
  Histogram& decode_seconds;
  Histogram& batch_seconds;
  Histogram& batch_images;
  Counter& busy_seconds;
};

struct Metrics::MethodSeries {
  MethodSeries(Labels its_labels, Counter& its_started, Counter& its_ok)
      : labels(std::move(its_labels)), started(its_started), ok(its_ok) {}

  const Labels labels;
  Counter& started;
  Counter& ok;
  // From the first call on: most methods are never called, and each would have dozens of lines.
  std::atomic<Histogram*> seconds = nullptr;
};

Metrics::Metrics()
    : registry_(std::make_shared<Registry>()),
      images_(MakeCounter(kImages, *registry_)),
      image_bytes_(MakeCounter(kImageBytes, *registry_)),
      image_seconds_(MakeHistogram(kImageSeconds, *registry_)),
      image_queue_seconds_(MakeHistogram(kImageQueueSeconds, *registry_)),
      image_decode_seconds_(MakeHistogram(kImageDecodeSeconds, *registry_)),
      batch_seconds_(MakeHistogram(kBatchSeconds, *registry_)),
      batch_images_(MakeHistogram(kBatchImages, *registry_)),
      busy_seconds_(MakeCounter(kBusySeconds, *registry_)),
      calls_started_(MakeCounter(kCallsStarted, *registry_)),
      calls_handled_(MakeCounter(kCallsHandled, *registry_)),
      call_seconds_(MakeHistogram(kCallSeconds, *registry_)),
      http_requests_(MakeCounter(kHttpRequests, *registry_)),
      http_seconds_(MakeHistogram(kHttpSeconds, *registry_)) {}

Metrics::~Metrics() = default;

void Metrics::Name(std::size_t number, const std::string& model) {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<ModelSeries>& series = models_[model];
  if (series == nullptr) {
    const Labels labels = {{"model", model}};
    const auto of_lane = [&](Lane lane) {
      const Labels both = With(labels, "lane", LaneName(lane));
      for (const std::string& reason : ReasonsFromTheStart()) {
        images_.Add(With(both, "reason", reason));
      }
      return ModelSeries::OfLane{.ok = images_.Add(With(both, "reason", "OK")),
                                 .bytes = image_bytes_.Add(both),
                                 .seconds = image_seconds_.Add(both, Seconds()),
                                 .queue_seconds = image_queue_seconds_.Add(both, Seconds())};
    };
    series = std::make_unique<ModelSeries>(
        ModelSeries{.model = model,
                    .online = of_lane(Lane::kOnline),
                    .bulk = of_lane(Lane::kBulk),
                    .decode_seconds = image_decode_seconds_.Add(labels, Seconds()),
                    .batch_seconds = batch_seconds_.Add(labels, Seconds()),
                    .batch_images = batch_images_.Add(labels, BatchSizes()),
                    .busy_seconds = busy_seconds_.Add(labels)});
  }
  numbers_[number] = series.get();
}

void Metrics::Forget(std::size_t number) {
  const std::lock_guard lock(mutex_);
  numbers_.erase(number);
}

Metrics::ModelSeries* Metrics::Find(std::size_t number) const {
  const std::shared_lock lock(mutex_);
  const auto found = numbers_.find(number);
  return found == numbers_.end() ? nullptr : found->second;
}

void Metrics::CountImage(const ModelSeries& series, Lane lane, const absl::Status& status) {
  if (status.ok()) return series.Of(lane).ok.Increment();
  images_.Add({{"model", series.model}, {"lane", LaneName(lane)}, {"reason", ReasonName(status)}})
      .Increment();
}

void Metrics::OnRefused(std::size_t model, Lane lane, const absl::Status& why) {
  const ModelSeries* const series = Find(model);
  if (series != nullptr) CountImage(*series, lane, why);
}

void Metrics::OnDone(std::size_t model, Lane lane, std::size_t encoded_bytes,
                     std::chrono::nanoseconds inside, const absl::StatusOr<Outcome>& outcome) {
  const ModelSeries* const series = Find(model);
  if (series == nullptr) return;
  CountImage(*series, lane, outcome.status());
  const ModelSeries::OfLane& of_lane = series->Of(lane);
  of_lane.bytes.Increment(static_cast<double>(encoded_bytes));
  if (!outcome.ok()) return;
  of_lane.seconds.Observe(InSeconds(inside));
  of_lane.queue_seconds.Observe(InSeconds(outcome->timings.queue));
  series->decode_seconds.Observe(InSeconds(outcome->timings.decode));
}

void Metrics::OnBatch(std::size_t model, std::size_t images, std::chrono::nanoseconds compute,
                      int units) {
  const ModelSeries* const series = Find(model);
  if (series == nullptr) return;
  series->batch_seconds.Observe(InSeconds(compute));
  series->batch_images.Observe(static_cast<double>(images));
  series->busy_seconds.Increment(InSeconds(compute) * units);
}

void Metrics::OnMethod(std::string_view method) {
  Labels labels = MethodLabels(method);
  Counter& ok = calls_handled_.Add(With(labels, "grpc_code", "OK"));
  Counter& started = calls_started_.Add(labels);
  const std::lock_guard lock(mutex_);
  methods_.emplace(method, std::make_unique<MethodSeries>(std::move(labels), started, ok));
}

Metrics::MethodSeries* Metrics::FindMethod(std::string_view method) const {
  const std::shared_lock lock(mutex_);
  const auto found = methods_.find(method);
  return found == methods_.end() ? nullptr : found->second.get();
}

void Metrics::OnBegin(std::string_view method) {
  MethodSeries* const series = FindMethod(method);
  if (series != nullptr) series->started.Increment();
}

void Metrics::OnEnd(std::string_view method, grpc::StatusCode code, std::chrono::nanoseconds took) {
  MethodSeries* const series = FindMethod(method);
  if (series == nullptr) return;
  Histogram* seconds = series->seconds.load(std::memory_order_acquire);
  if (seconds == nullptr) {
    seconds = &call_seconds_.Add(series->labels, Seconds());  // the same for all who come here
    series->seconds.store(seconds, std::memory_order_release);
  }
  seconds->Observe(InSeconds(took));
  if (code == grpc::StatusCode::OK) return series->ok.Increment();
  calls_handled_.Add(With(series->labels, "grpc_code", CodeName(code))).Increment();
}

void Metrics::OnHttp(std::string_view route, int status,
                     std::optional<std::chrono::nanoseconds> took) {
  const Labels labels = {{"route", std::string(route)}};
  http_requests_.Add(With(labels, "code", absl::StrCat(status))).Increment();
  if (took.has_value()) http_seconds_.Add(labels, Seconds()).Observe(InSeconds(*took));
}

std::string Metrics::Exposition(const Moment& moment) const {
  std::vector<MetricFamily> families = registry_->Collect();
  const EngineStats stats = moment.engine->stats();
  const EngineOptions& options = moment.engine->options();
  families.push_back(One(kCapacity, stats.capacity_units));
  families.push_back(Wait(stats));
  families.push_back(One(kQueuedImages, stats.queued_images));
  families.push_back(One(kMaxQueuedImages, options.max_queued_images));
  families.push_back(One(kQueuedBytes, stats.queued_bytes));
  families.push_back(One(kMaxQueuedBytes, options.max_queued_bytes));
  families.push_back(One(kDecodedBytes, stats.decoding_bytes));
  families.push_back(One(kMaxDecodedBytes, options.max_decoded_bytes));
  families.push_back(One(kCalls, moment.calls));
  families.push_back(One(kMaxCalls, moment.max_calls));
  families.push_back(One(kReady, moment.ready ? 1 : 0));
  if (moment.certificate_end.has_value()) {
    families.push_back(One(kCertificateEnd, *moment.certificate_end));
  }
  families.push_back(Models(*moment.models));
  families.push_back(One(kBuildInfo, 1, {{"version", PIXEMBED_VERSION}}));
  if (const std::optional<ProcessStatus> process = ReadProcessStatus()) {
    families.push_back(One(kProcessCpu, process->cpu_seconds));
    families.push_back(One(kProcessResident, process->resident_bytes));
    families.push_back(One(kProcessVirtual, process->virtual_bytes));
    families.push_back(One(kProcessDescriptors, process->open_descriptors));
    families.push_back(One(kProcessMaxDescriptors, process->max_descriptors));
    families.push_back(One(kProcessStart, process->start_seconds));
  }
  std::erase_if(families, [](const MetricFamily& family) { return family.metric.empty(); });
  std::ranges::sort(families, {}, &PlaceOf);
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace pixembed
