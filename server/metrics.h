// What the server counts and times, for Prometheus.
//
// Metrics hears of images and batches from the engine and of calls from gRPC and HTTP; what can be
// looked up, such as the length of the queue, is looked up when it is asked for (Moment).
#ifndef PIXEMBED_SERVER_METRICS_H_
#define PIXEMBED_SERVER_METRICS_H_

#include <grpcpp/support/status.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/served_model.h"
#include "server/call.h"
#include "src/engine/engine.h"

namespace pixembed {

// A metric, as the documentation has it.
struct MetricInfo {
  enum class Type { kCounter, kGauge, kHistogram };
  const char* name;
  Type type;
  const char* labels;  // "model, lane"; empty: none
  const char* help;    // without a stop at its end
};

// Every metric that there is, in the order of the documentation.
std::span<const MetricInfo> AllMetrics();

// The table of docs/metrics.md.
std::string MetricsMarkdown();

// Thread-safe.
class Metrics final : public EngineObserver, public CallObserver {
 public:
  // What is not counted but so at the moment.
  struct Moment {
    const Engine* engine = nullptr;
    std::shared_ptr<const ServedModels> models;
    std::size_t calls = 0;      // that are being served
    std::size_t max_calls = 0;  // --max_calls
    bool ready = false;         // health says SERVING
    // Of the server's certificate, in seconds since the epoch; nothing without TLS.
    std::optional<std::int64_t> certificate_end = std::nullopt;
  };

  Metrics();
  ~Metrics() override;

  // What the engine says of this number is counted for the model of this name from now on; of a
  // model that is reloaded, under its new number, the counts go on. Before anything is submitted
  // for the number. What is said of a number that has no name is not counted.
  void Name(std::size_t number, const std::string& model);
  // The engine will say nothing more of it.
  void Forget(std::size_t number);

  void OnRefused(std::size_t model, Lane lane, const absl::Status& why) override;
  void OnDone(std::size_t model, Lane lane, std::size_t encoded_bytes,
              std::chrono::nanoseconds inside, const absl::StatusOr<Outcome>& outcome) override;
  void OnBatch(std::size_t model, std::size_t images, std::chrono::nanoseconds compute,
               int units) override;

  void OnMethod(std::string_view method) override;
  void OnBegin(std::string_view method) override;
  void OnEnd(std::string_view method, grpc::StatusCode code,
             std::chrono::nanoseconds took) override;

  // A request over HTTP was answered. `route`: one of few. `took`: nothing where it was refused
  // before it was received whole.
  void OnHttp(std::string_view route, int status, std::optional<std::chrono::nanoseconds> took);

  // All of AllMetrics() that has a value, in Prometheus' text format 0.0.4.
  std::string Exposition(const Moment& moment) const;
  static constexpr char kMediaType[] = "text/plain; version=0.0.4; charset=utf-8";

 private:
  using Labels = std::map<std::string, std::string>;
  struct ModelSeries;
  struct MethodSeries;

  ModelSeries* Find(std::size_t number) const;
  MethodSeries* FindMethod(std::string_view method) const;
  void CountImage(const ModelSeries& series, Lane lane, const absl::Status& status);

  // The registry owns what the others refer to, and is itself thread-safe.
  std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Family<prometheus::Counter>& images_;
  prometheus::Family<prometheus::Counter>& image_bytes_;
  prometheus::Family<prometheus::Histogram>& image_seconds_;
  prometheus::Family<prometheus::Histogram>& image_queue_seconds_;
  prometheus::Family<prometheus::Histogram>& image_decode_seconds_;
  prometheus::Family<prometheus::Histogram>& batch_seconds_;
  prometheus::Family<prometheus::Histogram>& batch_images_;
  prometheus::Family<prometheus::Counter>& busy_seconds_;
  prometheus::Family<prometheus::Counter>& calls_started_;
  prometheus::Family<prometheus::Counter>& calls_handled_;
  prometheus::Family<prometheus::Histogram>& call_seconds_;
  prometheus::Family<prometheus::Counter>& http_requests_;
  prometheus::Family<prometheus::Histogram>& http_seconds_;

  mutable std::shared_mutex mutex_;
  // Guarded by mutex_, all below; what is found in them lives as long as this.
  std::map<std::string, std::unique_ptr<ModelSeries>> models_;  // by name
  std::map<std::size_t, ModelSeries*> numbers_;                 // by number
  std::map<std::string, std::unique_ptr<MethodSeries>, std::less<>>
      methods_;  // by name on the wire
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_METRICS_H_
