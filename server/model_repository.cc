#include "server/model_repository.h"

#include <pthread.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "api/served_model.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

absl::Status ShuttingDown() {
  return MakeError(Reason::kDraining, "the server is shutting down; nothing is loaded any more");
}

absl::Status NotConfigured(const std::string& name) {
  return MakeError(Reason::kUnknownModel,
                   absl::StrCat("of the models that can be loaded (RepositoryIndex lists them) "
                                "none is named \"",
                                name, "\""));
}

}  // namespace

const char* StateName(ModelRepository::State state) {
  switch (state) {
    case ModelRepository::State::kReady:
      return "READY";
    case ModelRepository::State::kLoading:
      return "LOADING";
    case ModelRepository::State::kUnloading:
      return "UNLOADING";
    case ModelRepository::State::kUnavailable:
      break;
  }
  return "UNAVAILABLE";
}

ModelRepository::ModelRepository(Engine& engine, const std::vector<std::string>& names,
                                 const RequestLimits& limits, std::optional<ModelControl> control,
                                 Listener listener)
    : engine_(engine),
      limits_(limits),
      control_(std::move(control)),
      listener_(std::move(listener)),
      default_(names.empty() ? "" : names.front()) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    entries_.push_back(MakeEntry(names[i], i, engine_.model(i)));
    listener_.on_change(names[i], true);
  }
  Publish();
  if (!control_.has_value()) return;
  ReadNames();
  thread_ = std::jthread([this] {
    pthread_setname_np(pthread_self(), "repository");
    Run();
  });
}

ModelRepository::~ModelRepository() { Close(); }

std::shared_ptr<const ServedModels> ModelRepository::served() const {
  const std::lock_guard lock(mutex_);
  return served_;
}

void ModelRepository::Load(std::string name, Done done) {
  Enqueue({.kind = Kind::kLoad, .name = std::move(name), .done = std::move(done), .listed = {}});
}

void ModelRepository::Unload(std::string name, Done done) {
  Enqueue({.kind = Kind::kUnload, .name = std::move(name), .done = std::move(done), .listed = {}});
}

void ModelRepository::Enqueue(Job job) {
  absl::Status refusal;
  {
    const std::lock_guard lock(mutex_);
    if (!closed_ && jobs_.size() < kMaxWaiting) {
      jobs_.push_back(std::move(job));
      work_.notify_one();
      return;
    }
    refusal = closed_
                  ? ShuttingDown()
                  : MakeError(Reason::kOverloaded,
                              absl::StrCat(jobs_.size(), " models wait to be loaded or unloaded"));
  }
  job.done(std::move(refusal));
}

void ModelRepository::Index(Listed listed) {
  std::vector<Row> rows;
  {
    const std::lock_guard lock(mutex_);
    if (control_.has_value() && !closed_ && !busy_ && jobs_.empty()) {
      jobs_.push_back({.kind = Kind::kList, .name = "", .done = {}, .listed = std::move(listed)});
      work_.notify_one();
      return;
    }
    rows = Rows();
  }
  listed(std::move(rows));
}

void ModelRepository::Close() {
  stop_.request_stop();
  std::deque<Job> jobs;
  std::vector<Row> rows;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    jobs.swap(jobs_);
    rows = Rows();
    work_.notify_one();
  }
  Answer(ShuttingDown());
  for (Job& job : jobs) {
    job.kind == Kind::kList ? job.listed(rows) : job.done(ShuttingDown());
  }
  std::unique_lock lock(mutex_);
  answered_.wait(lock, [this] { return answering_ == 0; });
}

void ModelRepository::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return closed_ || !jobs_.empty(); });
    if (closed_) return;
    current_ = std::move(jobs_.front());
    jobs_.pop_front();
    busy_ = true;
    const Kind kind = current_->kind;
    const std::string name = current_->name;
    lock.unlock();
    absl::Status status = RunJob(kind, name);
    lock.lock();
    busy_ = false;  // first, so that who hears the answer finds it so
    lock.unlock();
    Answer(std::move(status));
    lock.lock();
  }
}

absl::Status ModelRepository::RunJob(Kind kind, const std::string& name) {
  ReadNames();
  switch (kind) {
    case Kind::kLoad:
      return LoadNow(name);
    case Kind::kUnload:
      return UnloadNow(name);
    case Kind::kList:
      break;
  }
  return absl::OkStatus();
}

void ModelRepository::Answer(absl::Status status) {
  std::unique_lock lock(mutex_);
  if (!current_.has_value()) return;
  {
    Job job = *std::move(current_);
    current_.reset();
    std::vector<Row> rows = Rows();
    ++answering_;
    lock.unlock();
    job.kind == Kind::kList ? job.listed(std::move(rows)) : job.done(std::move(status));
  }
  lock.lock();
  --answering_;
  answered_.notify_all();
}

absl::Status ModelRepository::LoadNow(const std::string& name) {
  bool reload = false;
  {
    const std::lock_guard lock(mutex_);
    Entry* const entry = Find(name);
    if (entry == nullptr) return NotConfigured(name);
    reload = entry->model != nullptr;
    reload ? Set(*entry, State::kReady, "it is being reloaded") : Set(*entry, State::kLoading, "");
  }
  absl::StatusOr<std::shared_ptr<const Model>> model = control_->load(name, stop_.get_token());
  const absl::StatusOr<std::size_t> number =
      model.ok() ? engine_.Add(*model) : absl::StatusOr<std::size_t>(model.status());
  if (!number.ok()) {
    const std::string why(number.status().message());
    const std::lock_guard lock(mutex_);
    reload ? Set(*Find(name), State::kReady,
                 absl::StrCat("the model loaded before is served: reloading failed: ", why))
           : Set(*Find(name), State::kUnavailable, absl::StrCat("loading failed: ", why));
    control_->log(
        absl::StrCat("model ", name, ": ", reload ? "not reloaded: " : "not loaded: ", why));
    return number.status();
  }
  Entry fresh = MakeEntry(name, *number, *std::move(model));
  Entry old;
  {
    const std::lock_guard lock(mutex_);
    old = std::exchange(*Find(name), std::move(fresh));
    Publish();
  }
  listener_.on_change(name, true);
  control_->log(absl::StrCat("model ", name, ": ", reload ? "reloaded" : "loaded"));
  if (reload) Retire(std::move(old));
  return absl::OkStatus();
}

absl::Status ModelRepository::UnloadNow(const std::string& name) {
  Entry old;
  {
    const std::lock_guard lock(mutex_);
    Entry* const entry = Find(name);
    if (entry == nullptr) return NotConfigured(name);
    if (entry->model == nullptr) return absl::OkStatus();
    old.model = std::move(entry->model);
    old.unused = std::move(entry->unused);
    Set(*entry, State::kUnloading, "");
  }
  listener_.on_change(name, false);
  Retire(std::move(old));
  control_->log(absl::StrCat("model ", name, ": unloaded"));
  const std::lock_guard lock(mutex_);
  Set(*Find(name), State::kUnavailable, "unloaded");
  return absl::OkStatus();
}

void ModelRepository::Retire(Entry old) {
  const std::size_t number = old.model->index();
  old.model.reset();
  old.unused->wait();
  (void)engine_.Remove(number);  // nobody else removes any
  if (listener_.on_leave) listener_.on_leave(number);
}

void ModelRepository::ReadNames() {
  const std::vector<std::string> names = control_->names();
  std::vector<std::string> appeared;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(entries_, [&names](const Entry& entry) {
      return entry.model == nullptr &&
             std::find(names.begin(), names.end(), entry.row.name) == names.end();
    });
    for (const std::string& name : names) {
      if (Find(name) != nullptr) continue;
      entries_.push_back(
          {.row = {.name = name, .state = State::kUnavailable, .reason = "not loaded"},
           .model = nullptr,
           .unused = nullptr});
      appeared.push_back(name);
    }
    Publish();
  }
  for (const std::string& name : appeared) listener_.on_change(name, false);
}

ModelRepository::Entry* ModelRepository::Find(std::string_view name) {
  const auto found =
      std::ranges::find_if(entries_, [name](const Entry& e) { return e.row.name == name; });
  return found == entries_.end() ? nullptr : &*found;
}

void ModelRepository::Set(Entry& entry, State state, std::string reason) {
  entry.row.state = state;
  entry.row.reason = std::move(reason);
  Publish();
}

void ModelRepository::Publish() {
  std::vector<std::shared_ptr<const ServedModel>> models;
  std::map<std::string, std::string> absent;
  for (const Entry& entry : entries_) {
    if (entry.model != nullptr) {
      models.push_back(entry.model);
    } else {
      const std::string& reason = entry.row.reason;
      absent[entry.row.name] = entry.row.state == State::kLoading     ? "it is being loaded"
                               : entry.row.state == State::kUnloading ? "it is being unloaded"
                                                                      : reason;
    }
  }
  served_ = std::make_shared<const ServedModels>(std::move(models), default_, std::move(absent));
}

std::vector<ModelRepository::Row> ModelRepository::Rows() const {
  std::vector<Row> rows;
  rows.reserve(entries_.size());
  for (const Entry& entry : entries_) rows.push_back(entry.row);
  return rows;
}

ModelRepository::Entry ModelRepository::MakeEntry(const std::string& name, std::size_t number,
                                                  std::shared_ptr<const Model> model) const {
  if (listener_.on_enter) listener_.on_enter(number, name);
  auto unused = std::make_shared<std::latch>(1);
  std::shared_ptr<const ServedModel> served(
      new ServedModel(name, number, std::move(model), engine_.options().limits, limits_),
      [unused](const ServedModel* last) {
        delete last;
        unused->count_down();
      });
  return {.row = {.name = name, .state = State::kReady, .reason = ""},
          .model = std::move(served),
          .unused = std::move(unused)};
}

}  // namespace pixembed
