#include "src/engine/engine.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/batching/batching.h"
#include "src/engine/admission.h"
#include "src/engine/hosted_models.h"
#include "src/engine/memory_budget.h"
#include "src/engine/options.h"
#include "src/engine/piecewise_runner.h"
#include "src/engine/roster.h"
#include "src/engine/service_rate.h"
#include "src/engine/start.h"
#include "src/engine/task.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

// A deadline is refused only where even a rate this many times the measured one would miss it.
constexpr int kClearMiss = 2;
// What an image is taken to cost, for RetryDelay, before anything was measured.
constexpr nanoseconds kUnmeasuredCost = std::chrono::milliseconds(1);
constexpr std::chrono::milliseconds kMinRetryDelay{1};
constexpr std::chrono::milliseconds kMaxRetryDelay{60'000};

absl::Status WhyAbandoned(const Abandoned<Pending>& abandoned) {
  if (abandoned.item->cut_off) return CutOffError();
  return abandoned.why == Abandoned<Pending>::Why::kCancelled
             ? MakeError(Reason::kCancelled, "cancelled before the image's turn came")
             : MakeError(Reason::kDeadlineExceeded, "the deadline passed before the image's turn");
}

Demand DemandOf(std::span<const Item> items) {
  Demand demand;
  for (const Item& item : items) {
    const Demand one = DemandOf(item.lane, item.image.bytes.size());
    demand.all.images += one.all.images;
    demand.all.bytes += one.all.bytes;
    demand.bulk.images += one.bulk.images;
    demand.bulk.bytes += one.bulk.bytes;
  }
  return demand;
}

// Images that are on their way to a model: all but those that are only described.
struct Line {
  std::size_t online = 0;
  std::size_t bulk = 0;
};

Line LineOf(std::span<const Item> items) {
  Line line;
  for (const Item& item : items) {
    if (!item.describe) ++(item.lane == Lane::kBulk ? line.bulk : line.online);
  }
  return line;
}

// As `top -H` and debuggers show it. The helpers that a worker starts for itself are called as it.
void NameThisThread(const char* stage, int index) {
  constexpr std::size_t kLongest = 15;  // the kernel's
  const std::string name = absl::StrCat(stage, "-", index);
  pthread_setname_np(pthread_self(), name.substr(0, kLongest).c_str());
}

absl::Status NoSuchModel() {
  return MakeError(Reason::kUnknownModel, "the model is not loaded any more");
}

class EngineImpl final : public Engine {
 public:
  EngineImpl(EngineShape shape, Decoder decoder);
  EngineImpl(const EngineImpl&) = delete;
  EngineImpl& operator=(const EngineImpl&) = delete;
  ~EngineImpl() override;

  absl::Status StartStages(std::span<const std::shared_ptr<const Model>> models);

  absl::StatusOr<std::size_t> Add(std::shared_ptr<const Model> model) override;
  absl::Status Remove(std::size_t model) override;
  absl::Status Submit(std::size_t model, std::vector<Item> items) override;
  void SubmitWhenRoom(std::size_t model, std::vector<Item> items,
                      absl::AnyInvocable<void(absl::Status)> admitted) override;
  std::chrono::milliseconds RetryDelay() const override;
  absl::Status Drain(TimePoint deadline) override;
  EngineStats stats() const override;
  const EngineOptions& options() const override { return shape_.options; }
  std::shared_ptr<const Model> model(std::size_t number) const override;

 private:
  class DecodeWorker;
  class InferenceWorker;

  // A queue of the inference stage that no model has, until GiveQueueBack.
  std::size_t TakeQueue();
  void GiveQueueBack(std::size_t queue);
  // Takes in a model whose runners are made, with batches of its size; its number.
  std::size_t Host(std::shared_ptr<const Model> model, std::size_t queue);
  // On every worker, in turn.
  absl::Status MakeRunners(const Model& model, std::size_t queue);
  void DropRunners(std::size_t queue);

  absl::Status CheckDeadlines(const HostedModel& model, std::span<const Item> items) const;
  // Cores, or on a GPU workers: what ServiceRate's times are divided by.
  int CapacityUnits() const { return shape_.count_cores ? shape_.options.cores : shape_.workers; }
  // Unit time of everything in line or inside that waits for a batch: of the online lane, or of
  // both. `unmeasured` is the cost of an image of a model that has not been measured.
  nanoseconds WaitingCost(bool with_bulk, nanoseconds unmeasured) const;
  // And tells the observer.
  void CountRefused(std::size_t model, std::span<const Item> items, const absl::Status& why);
  static void CountWaiting(HostedModel& model, const Line& line);
  static void UncountWaiting(HostedModel& model, const Line& line);
  // The task ends before the inference stage.
  void ComesNoMore(const Task& task);
  // The walk begins. REQUIRES: the items were admitted and counted as waiting.
  void Begin(const HostedModels::Lease& model, std::vector<Item> items);

  const EngineShape shape_;
  const Decoder decoder_;

  HostedModels models_;
  ServiceRate decode_rate_{1};
  MemoryBudget decode_memory_;
  Admission admission_;
  Roster roster_;
  std::atomic<std::uint64_t> admitted_ = 0;
  std::atomic<std::uint64_t> refused_ = 0;
  std::atomic<std::uint64_t> batches_ = 0;
  std::atomic<bool> draining_ = false;

  std::mutex queues_mutex_;
  std::vector<std::size_t> free_queues_;  // guarded by queues_mutex_

  std::vector<InferenceWorker*> workers_;  // by index; each lives on its thread of inference_

  // Last: their threads use all of the above. Decoding feeds inference, so it ends first.
  std::unique_ptr<BatchScheduler<Pending>> inference_;  // a queue per model
  std::unique_ptr<BatchScheduler<Pending>> decode_;     // one queue, batches of one
};

// Header, budget, pixels; then on to the inference stage.
class EngineImpl::DecodeWorker final : public BatchWorker<Pending> {
 public:
  explicit DecodeWorker(EngineImpl* engine) : engine_(*engine) {}

  void Run(std::size_t /*queue*/, std::vector<Pending> items, int /*threads*/) override {
    for (Pending& pending : items) {
      if (pending->item.describe) {
        Leave(pending, Describe(*pending));
      } else if (absl::Status status = Decode(*pending); !status.ok()) {
        Leave(pending, std::move(status));
      } else {
        const std::size_t queue = pending->model->queue;
        engine_.inference_->Land(queue, std::move(pending));
      }
    }
  }

 private:
  // The walk ends here.
  void Leave(const Pending& pending, absl::StatusOr<Outcome> outcome) {
    engine_.ComesNoMore(*pending);
    engine_.roster_.Finish(*pending, std::move(outcome));
  }

  // Room for the pixels of an image.
  absl::StatusOr<MemoryBudget::Grant> TakeMemory(const Task& task) {
    const absl::StatusOr<ImageHeader> header = engine_.decoder_.read_header(
        task.item.image.bytes, engine_.shape_.options.limits, task.item.policy);
    if (!header.ok()) return header.status();
    return engine_.decode_memory_.Take(header->decoded_bytes, task.item.stop, task.item.deadline);
  }

  absl::StatusOr<Outcome> Describe(Task& task) {
    const absl::StatusOr<MemoryBudget::Grant> memory = TakeMemory(task);
    if (!memory.ok()) return memory.status();
    const TimePoint begin = Clock::now();
    absl::StatusOr<ImageDescription> description =
        engine_.decoder_.describe(task.item.image.bytes, engine_.shape_.options.limits,
                                  task.model->model->info().preprocess, task.item.policy);
    if (!description.ok()) return description.status();
    Outcome outcome;
    outcome.timings.queue = begin - task.submitted;
    outcome.timings.decode = Clock::now() - begin;
    outcome.description = *std::move(description);
    return outcome;
  }

  absl::Status Decode(Task& task) {
    const absl::StatusOr<MemoryBudget::Grant> memory = TakeMemory(task);
    if (!memory.ok()) return memory.status();

    const TimePoint begin = Clock::now();
    const PreprocessSpec& spec = task.model->model->info().preprocess;
    absl::StatusOr<Image> image = engine_.decoder_.decode_and_resize(
        task.item.image.bytes, engine_.shape_.options.limits, spec, task.item.policy);
    task.decoded = Clock::now();
    task.timings.queue = begin - task.submitted;
    task.timings.decode = task.decoded - begin;
    if (!image.ok()) return image.status();
    engine_.decode_rate_.Record(1, task.timings.decode);
    task.image = *std::move(image);
    task.item.image = {};  // the encoded bytes have served
    return absl::OkStatus();
  }

  EngineImpl& engine_;
};

// Runs batches of any model on one device.
class EngineImpl::InferenceWorker final : public BatchWorker<Pending> {
 public:
  // Makes a runner per model and warms it up. The models have the queues 0, 1, ...
  static absl::StatusOr<std::unique_ptr<BatchWorker<Pending>>> Make(
      EngineImpl* engine, std::span<const std::shared_ptr<const Model>> models, int index) {
    auto worker = std::make_unique<InferenceWorker>(engine, index);
    const EngineShape& shape = engine->shape_;
    // All workers warm up at once, so each has its part of the cores.
    const int threads = shape.count_cores ? shape.options.cores / shape.workers : 1;
    for (std::size_t queue = 0; queue < models.size(); ++queue) {
      absl::Status status = worker->MakeRunner(*models[queue], queue);
      for (const int size : shape.options.warm_up_batch_sizes) {
        if (status.ok()) status = worker->WarmUp(*models[queue], queue, size, threads);
      }
      if (!status.ok()) return status;
    }
    return worker;
  }

  InferenceWorker(EngineImpl* engine, int index)
      : engine_(*engine),
        device_(static_cast<std::size_t>(index / engine->shape_.options.workers_per_device)) {
    engine_.workers_[static_cast<std::size_t>(index)] = this;
  }

  // All three on the worker's thread.
  absl::Status MakeRunner(const Model& model, std::size_t queue) {
    absl::StatusOr<std::unique_ptr<Runner>> runner = model.NewRunner(model.devices()[device_]);
    if (!runner.ok()) return runner.status();
    if (runners_.size() <= queue) runners_.resize(queue + 1);
    runners_[queue] = std::make_unique<PiecewiseRunner>(
        *std::move(runner), [this, device = DeviceName(model.devices()[device_])](
                                std::size_t images, std::size_t piece) {
          const auto& warn = engine_.shape_.options.warn;
          if (!warn) return;
          warn(absl::StrCat(device, " has no memory for ", images,
                            " images at once (--max_batch_size): batches run in pieces of ",
                            piece));
        });
    return absl::OkStatus();
  }

  absl::Status WarmUp(const Model& model, std::size_t queue, int batch_size, int threads) {
    const Size input = model.info().input;
    Image image(input.width, input.height);
    std::ranges::fill(image.pixels(), std::uint8_t{0});
    const std::vector<const Image*> images(static_cast<std::size_t>(batch_size), &image);
    const std::vector<OutputSpec> specs(images.size());
    absl::Status status;
    runners_[queue]->Embed(images, specs, threads, [&](const PiecewiseRunner::Piece& piece) {
      if (!piece.embeddings.ok()) {
        status.Update(piece.embeddings.status());
      } else if (!std::ranges::all_of(*piece.embeddings, &Embedding::finite)) {
        status.Update(
            MakeError(Reason::kNonFiniteVector,
                      absl::StrCat("the model's vector of a black image is not finite: its weights "
                                   "are damaged, or too large for ",
                                   std::string(PrecisionName(model.info().precision)))));
      }
    });
    return status;
  }

  void DropRunner(std::size_t queue) {
    if (queue < runners_.size()) runners_[queue] = nullptr;
  }

  void Run(std::size_t queue, std::vector<Pending> items, int threads) override {
    const TimePoint begin = Clock::now();
    for (const Pending& pending : items) {
      --pending->model->Waiting(pending->item.lane);
      pending->timings.queue += begin - pending->decoded;
    }
    Embed(queue, items, threads);
    items_ = std::move(items);
  }

  void Deliver() override {
    for (std::size_t i = 0; i < items_.size(); ++i) {
      engine_.roster_.Finish(*items_[i], std::move(outcomes_[i]));
    }
    items_.clear();
    outcomes_.clear();
  }

 private:
  // Appends an outcome for each item.
  void Embed(std::size_t queue, std::span<const Pending> items, int threads) {
    std::vector<const Image*> images;
    std::vector<OutputSpec> specs;
    for (const Pending& pending : items) {
      images.push_back(&pending->image);
      specs.push_back(pending->item.output);
    }
    runners_[queue]->Embed(images, specs, threads, [&](PiecewiseRunner::Piece piece) {
      ++engine_.batches_;
      if (!piece.embeddings.ok()) {
        outcomes_.resize(outcomes_.size() + piece.size, piece.embeddings.status());
        return;
      }
      HostedModel& model = *items.front()->model;
      model.rate.Record(piece.size, piece.compute * threads);
      if (EngineObserver* const observer = engine_.shape_.options.observer.get()) {
        observer->OnBatch(model.number, piece.size, piece.compute, threads);
      }
      Keep(items.subspan(piece.first, piece.size), *std::move(piece.embeddings), piece.compute);
    });
  }

  void Keep(std::span<const Pending> items, std::vector<Embedding> embeddings,
            nanoseconds compute) {
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (!embeddings[i].finite) {
        outcomes_.emplace_back(
            MakeError(Reason::kNonFiniteVector,
                      "the vector of this image holds NaN or infinity, or a number above what "
                      "options.data_type can hold"));
        continue;
      }
      Outcome outcome{std::move(embeddings[i]), items[i]->timings, std::nullopt};
      outcome.timings.compute = compute;
      outcome.timings.batch_size = static_cast<int>(items.size());
      outcomes_.emplace_back(std::move(outcome));
    }
  }

  EngineImpl& engine_;
  const std::size_t device_;                               // of the models' devices
  std::vector<std::unique_ptr<PiecewiseRunner>> runners_;  // by queue
  // From Run to Deliver.
  std::vector<Pending> items_;
  std::vector<absl::StatusOr<Outcome>> outcomes_;  // by item
};

EngineImpl::EngineImpl(EngineShape shape, Decoder decoder)
    : shape_(std::move(shape)),
      decoder_(std::move(decoder)),
      decode_memory_(shape_.options.max_decoded_bytes),
      admission_({shape_.options.max_queued_images, shape_.options.max_queued_bytes}),
      roster_(&admission_, shape_.options.observer.get()),
      workers_(static_cast<std::size_t>(shape_.workers)) {}

EngineImpl::~EngineImpl() {
  (void)Drain(TimePoint::max());  // cannot miss it
  decode_.reset();
  inference_.reset();
}

absl::Status EngineImpl::StartStages(std::span<const std::shared_ptr<const Model>> models) {
  BatchSchedulerOptions inference;
  inference.queues = models.size();
  inference.queue.max_delay = shape_.options.max_queue_delay;
  inference.queue.cost = shape_.cost;
  inference.workers = shape_.workers;
  inference.cores = shape_.count_cores ? shape_.options.cores : 0;
  absl::StatusOr<std::unique_ptr<BatchScheduler<Pending>>> started = BatchScheduler<Pending>::Start(
      inference,
      // Called before Start returns only: it holds no model.
      [this, models](int index) {
        NameThisThread("embed", index);
        return InferenceWorker::Make(this, models, index);
      },
      [this](const Abandoned<Pending>& abandoned) {
        const Task& task = *abandoned.item;
        --task.model->Waiting(task.item.lane);
        roster_.Finish(*abandoned.item, WhyAbandoned(abandoned));
      });
  if (!started.ok()) return started.status();
  inference_ = *std::move(started);
  for (std::size_t queue = 0; queue < models.size(); ++queue) Host(models[queue], queue);

  BatchSchedulerOptions decode;
  decode.queue.cost = BatchCost::kPerItem;
  decode.workers = shape_.options.decode_threads;
  started = BatchScheduler<Pending>::Start(
      decode,
      [this](int index) {
        NameThisThread("decode", index);
        return std::make_unique<DecodeWorker>(this);
      },
      [this](const Abandoned<Pending>& abandoned) {
        const Task& task = *abandoned.item;
        ComesNoMore(task);
        roster_.Finish(*abandoned.item, WhyAbandoned(abandoned));
      });
  if (!started.ok()) return started.status();
  decode_ = *std::move(started);
  return absl::OkStatus();
}

std::size_t EngineImpl::TakeQueue() {
  const std::lock_guard lock(queues_mutex_);
  if (free_queues_.empty()) return inference_->AddQueue();
  const std::size_t queue = free_queues_.back();
  free_queues_.pop_back();
  return queue;
}

void EngineImpl::GiveQueueBack(std::size_t queue) {
  const std::lock_guard lock(queues_mutex_);
  free_queues_.push_back(queue);
}

std::size_t EngineImpl::Host(std::shared_ptr<const Model> model, std::size_t queue) {
  const std::size_t max_batch_size = MaxBatchSize(shape_, model->info());
  inference_->SetMaxBatchSize(queue, max_batch_size);
  return models_.Add(std::move(model), queue, max_batch_size);
}

absl::Status EngineImpl::MakeRunners(const Model& model, std::size_t queue) {
  for (int index = 0; index < shape_.workers; ++index) {
    InferenceWorker& worker = *workers_[static_cast<std::size_t>(index)];
    absl::Status status;
    inference_->RunOn(index, [&] { status = worker.MakeRunner(model, queue); });
    // A batch at a time, so that the worker serves others between them.
    for (const int size : shape_.options.warm_up_batch_sizes) {
      if (!status.ok()) return status;
      inference_->RunOn(index, [&] { status = worker.WarmUp(model, queue, size, /*threads=*/1); });
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

void EngineImpl::DropRunners(std::size_t queue) {
  for (int index = 0; index < shape_.workers; ++index) {
    InferenceWorker& worker = *workers_[static_cast<std::size_t>(index)];
    inference_->RunOn(index, [&] { worker.DropRunner(queue); });
  }
}

absl::StatusOr<std::size_t> EngineImpl::Add(std::shared_ptr<const Model> model) {
  if (!std::ranges::equal(model->devices(), shape_.options.devices)) {
    return MakeError(Reason::kInvalidOption, "the model is on other devices than the engine");
  }
  if (draining_) return MakeError(Reason::kDraining, "the server is shutting down");
  const std::size_t queue = TakeQueue();
  if (absl::Status status = MakeRunners(*model, queue); !status.ok()) {
    DropRunners(queue);
    GiveQueueBack(queue);
    return status;
  }
  return Host(std::move(model), queue);
}

absl::Status EngineImpl::Remove(std::size_t model) {
  const std::unique_ptr<HostedModel> removed = models_.Remove(model);
  if (removed == nullptr) return NoSuchModel();
  DropRunners(removed->queue);
  GiveQueueBack(removed->queue);
  return absl::OkStatus();
}

std::shared_ptr<const Model> EngineImpl::model(std::size_t number) const {
  const HostedModels::Lease found = models_.Find(number);
  return found == nullptr ? nullptr : found->model;
}

absl::Status EngineImpl::Submit(std::size_t model, std::vector<Item> items) {
  const HostedModels::Lease hosted = models_.Find(model);
  const Demand demand = DemandOf(items);
  absl::Status status = hosted == nullptr ? NoSuchModel() : CheckDeadlines(*hosted, items);
  if (status.ok()) status = admission_.TryAdmit(demand);
  if (!status.ok()) {
    CountRefused(model, items, status);
    return status;
  }
  CountWaiting(*hosted, LineOf(items));
  Begin(hosted, std::move(items));
  return absl::OkStatus();
}

void EngineImpl::SubmitWhenRoom(std::size_t model, std::vector<Item> items,
                                absl::AnyInvocable<void(absl::Status)> admitted) {
  if (items.empty()) return admitted(absl::OkStatus());
  HostedModels::Lease hosted = models_.Find(model);
  if (hosted == nullptr) {
    absl::Status status = NoSuchModel();
    CountRefused(model, items, status);
    return admitted(std::move(status));
  }
  const Demand demand = DemandOf(items);
  const std::stop_token stop = items.front().stop;
  CountWaiting(*hosted, LineOf(items));
  admission_.AdmitWhenRoom(
      demand, stop,
      [this, hosted = std::move(hosted), items = std::move(items),
       admitted = std::move(admitted)](absl::Status status) mutable {
        if (status.ok()) {
          admitted(absl::OkStatus());  // first the word, so that it comes before the first `done`
          Begin(hosted, std::move(items));
        } else {
          CountRefused(hosted->number, items, status);
          UncountWaiting(*hosted, LineOf(items));
          admitted(std::move(status));
        }
      });
}

void EngineImpl::Begin(const HostedModels::Lease& model, std::vector<Item> items) {
  const Line line = LineOf(items);
  const TimePoint now = Clock::now();
  std::vector<std::shared_ptr<Task>> tasks;
  for (Item& item : items) {
    auto task = std::make_shared<Task>();
    task->model = model;
    task->encoded_bytes = item.image.bytes.size();
    task->item = std::move(item);
    task->submitted = now;
    tasks.push_back(std::move(task));
  }
  admitted_ += tasks.size();
  roster_.Enter(tasks);
  for (const std::shared_ptr<Task>& task : tasks) {
    if (!task->item.stop.stop_possible()) continue;
    task->on_stop.emplace(task->item.stop, [this] {
      decode_->SweepCancelled();
      inference_->SweepCancelled();
    });
  }
  inference_->Expect(model->queue, line.online, line.bulk);
  decode_->Schedule(0, std::vector<Pending>(std::make_move_iterator(tasks.begin()),
                                            std::make_move_iterator(tasks.end())));
}

void EngineImpl::CountRefused(std::size_t model, std::span<const Item> items,
                              const absl::Status& why) {
  refused_ += items.size();
  EngineObserver* const observer = shape_.options.observer.get();
  if (observer == nullptr) return;
  for (const Item& item : items) {
    if (!item.describe) observer->OnRefused(model, item.lane, why);
  }
}

void EngineImpl::CountWaiting(HostedModel& model, const Line& line) {
  model.online_waiting += line.online;
  model.bulk_waiting += line.bulk;
}

void EngineImpl::UncountWaiting(HostedModel& model, const Line& line) {
  model.online_waiting -= line.online;
  model.bulk_waiting -= line.bulk;
}

void EngineImpl::ComesNoMore(const Task& task) {
  if (task.item.describe) return;  // nobody waits for it
  inference_->Unexpect(task.model->queue, task.item.lane == Lane::kBulk);
  --task.model->Waiting(task.item.lane);
}

nanoseconds EngineImpl::WaitingCost(bool with_bulk, nanoseconds unmeasured) const {
  nanoseconds cost{0};
  models_.ForEach([&](const HostedModel& model) {
    std::size_t images = model.online_waiting;
    if (with_bulk) images += model.bulk_waiting;
    cost += model.rate.PerImage().value_or(unmeasured) * images;
  });
  return cost;
}

absl::Status EngineImpl::CheckDeadlines(const HostedModel& model,
                                        std::span<const Item> items) const {
  const std::optional<nanoseconds> per_image = model.rate.PerImage();
  const bool any = std::ranges::any_of(
      items, [](const Item& item) { return item.deadline != TimePoint::max(); });
  if (!any || !per_image.has_value()) return absl::OkStatus();

  const TimePoint now = Clock::now();
  nanoseconds cost_online = WaitingCost(false, nanoseconds{0});
  nanoseconds cost_all = WaitingCost(true, nanoseconds{0});
  for (const Item& item : items) {
    if (item.describe) continue;  // it takes a decode, of whose time there is no telling
    const bool bulk = item.lane == Lane::kBulk;
    cost_all += *per_image;
    if (!bulk) cost_online += *per_image;
    if (item.deadline == TimePoint::max()) continue;
    const nanoseconds needed = (bulk ? cost_all : cost_online) / CapacityUnits();
    if (now + needed / kClearMiss <= item.deadline) continue;
    using Milliseconds = std::chrono::duration<double, std::milli>;
    const double left = Milliseconds(item.deadline - now).count();
    const std::string when =
        left > 0 ? absl::StrCat("is in ", left, " ms") : absl::StrCat("passed ", -left, " ms ago");
    return MakeError(
        Reason::kDeadlineTooShort,
        absl::StrCat("the deadline ", when, "; at the measured rate the image would be done in ",
                     Milliseconds(needed).count(), " ms"));
  }
  return absl::OkStatus();
}

std::chrono::milliseconds EngineImpl::RetryDelay() const {
  // Half of what waits: a caller that came back for the first free place would meet all the others.
  const nanoseconds inference = WaitingCost(true, kUnmeasuredCost) / CapacityUnits();
  std::size_t images = 0;
  models_.ForEach(
      [&images](const HostedModel& model) { images += model.online_waiting + model.bulk_waiting; });
  const nanoseconds decode =
      decode_rate_.PerImage().value_or(nanoseconds{0}) * images / shape_.options.decode_threads;
  return std::clamp(std::chrono::ceil<std::chrono::milliseconds>(std::max(inference, decode) / 2),
                    kMinRetryDelay, kMaxRetryDelay);
}

absl::Status EngineImpl::Drain(TimePoint deadline) {
  draining_ = true;
  admission_.Close();
  if (admission_.WaitUntilEmpty(deadline)) return absl::OkStatus();
  roster_.CutOff();
  decode_->SweepCancelled();
  inference_->SweepCancelled();
  admission_.WaitUntilEmpty(TimePoint::max());  // calls of `done` under way on other threads
  const std::size_t cut_off = roster_.cut_off();
  if (cut_off == 0) return absl::OkStatus();
  return MakeError(Reason::kDeadlineExceeded,
                   absl::StrCat(cut_off, " images were cut off at the end of the drain"));
}

EngineStats EngineImpl::stats() const {
  EngineStats stats;
  const Load inside = admission_.inside();
  stats.queued_images = inside.images;
  stats.queued_bytes = inside.bytes;
  stats.decoding_bytes = decode_memory_.held();
  stats.admitted = admitted_;
  stats.refused = refused_;
  stats.completed = roster_.completed();
  stats.failed = roster_.failed();
  stats.batches = batches_;
  stats.capacity_units = CapacityUnits();
  stats.online_wait = WaitingCost(/*with_bulk=*/false, nanoseconds{0}) / CapacityUnits();
  stats.bulk_wait = WaitingCost(/*with_bulk=*/true, nanoseconds{0}) / CapacityUnits();
  return stats;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> StartEngine(
    std::vector<std::shared_ptr<const Model>> models, EngineOptions options, int usable_cores,
    Decoder decoder) {
  absl::StatusOr<EngineShape> shape = ShapeEngine(models, std::move(options), usable_cores);
  if (!shape.ok()) return shape.status();
  auto engine = std::make_unique<EngineImpl>(*std::move(shape), std::move(decoder));
  absl::Status status = engine->StartStages(models);
  if (status.ok()) return engine;
  // Without a reason it is the scheduler's: no thread could be had.
  if (ReasonOf(status).has_value()) return status;
  return MakeError(Reason::kOutOfMemory, absl::StrCat("starting the threads: ", status.message()));
}

}  // namespace pixembed
