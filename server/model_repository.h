// The models that a server may serve, by name, and those that it serves at the moment: loads,
// reloads and unloads them while it runs.
//
// One thread of its own does that, one model after the other. Whoever serves takes the snapshot of
// the moment (served), plans by it, and lets go of it when its images are submitted: that is what
// an unload waits for, and then for what was submitted.
#ifndef PIXEMBED_SERVER_MODEL_REPOSITORY_H_
#define PIXEMBED_SERVER_MODEL_REPOSITORY_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/served_model.h"
#include "src/engine/engine.h"
#include "src/model/model.h"

namespace pixembed {

// What loading at run time takes. Called before serving and then on one thread, one at a time.
struct ModelControl {
  // The names that may be loaded, in the order of the index.
  std::function<std::vector<std::string>()> names;
  // Reads and checks a model of those names; may take long, on one core. When `stop` is requested
  // nobody wants it any more.
  std::function<absl::StatusOr<std::shared_ptr<const Model>>(const std::string& name,
                                                             const std::stop_token& stop)>
      load;
  // A line for the log.
  std::function<void(const std::string& line)> log;
};

// Thread-safe.
class ModelRepository {
 public:
  enum class State { kReady, kLoading, kUnloading, kUnavailable };
  // A model of the index.
  struct Row {
    std::string name;
    State state = State::kUnavailable;
    std::string reason;  // why it is not ready; of one that is: what became of a reload
  };

  // Hears of models: in the constructor, and then on the repository's thread.
  struct Listener {
    // Whether a model is served.
    std::function<void(const std::string& name, bool served)> on_change = nullptr;
    // The engine's model of this number is to be served as `name`: nothing has been submitted for
    // it. May be null, as the next.
    std::function<void(std::size_t number, const std::string& name)> on_enter = nullptr;
    // It left the engine.
    std::function<void(std::size_t number)> on_leave = nullptr;
  };

  using Done = absl::AnyInvocable<void(absl::Status)>;
  using Listed = absl::AnyInvocable<void(std::vector<Row>)>;

  // Loads and unloads that may wait for their turn.
  static constexpr std::size_t kMaxWaiting = 64;

  // `names[i]` names the engine's model i; the first is the default model. Without `control` they
  // are all there will ever be. The engine outlives the repository.
  ModelRepository(Engine& engine, const std::vector<std::string>& names,
                  const RequestLimits& limits, std::optional<ModelControl> control,
                  Listener listener);
  ModelRepository(const ModelRepository&) = delete;
  ModelRepository& operator=(const ModelRepository&) = delete;
  // Close, and waits for the thread: for a load under way as long as it takes.
  ~ModelRepository();

  // Whether models can be loaded and unloaded.
  bool controlled() const { return control_.has_value(); }

  // What is served at this moment. To be let go of at once: see above.
  std::shared_ptr<const ServedModels> served() const;

  // Loads a model. One that is served is read anew, checked and warmed up beside the old one, then
  // takes its place at once: what was planned before is finished by the old one. `done` is called
  // once, on the repository's thread or this one: OK when the model is served and the memory of the
  // old one given back.
  // Errors: UNKNOWN_MODEL: it is not among the names; those of ModelControl::load and Engine::Add:
  // what was served is served on; OVERLOADED: kMaxWaiting; DRAINING.
  // REQUIRES: controlled().
  void Load(std::string name, Done done);

  // Unloads a model. Plans for it fail from the beginning on; `done` is called, as above, when what
  // was submitted before is finished and the memory of the model given back. OK as well for one
  // that is not loaded. Errors: UNKNOWN_MODEL, OVERLOADED, DRAINING. REQUIRES: controlled().
  void Unload(std::string name, Done done);

  // Every model that may be loaded. Where nothing is being loaded or unloaded the names are read
  // anew, on the repository's thread; otherwise they are those of the beginning of that. `listed`
  // is called once, there or on this thread.
  void Index(Listed listed);

  // What waits, and what is under way, is answered with DRAINING, and nothing is begun any more.
  // Waits for no load; when it returns, none of these is called any more on the repository's
  // thread. Idempotent.
  void Close();

 private:
  struct Entry {
    Row row;
    // Of a model that is served; it leaves the engine when `unused` is open.
    std::shared_ptr<const ServedModel> model;
    std::shared_ptr<std::latch> unused;
  };
  enum class Kind { kLoad, kUnload, kList };
  struct Job {
    Kind kind;
    std::string name;
    Done done;      // kLoad, kUnload
    Listed listed;  // kList
  };

  void Enqueue(Job job);
  void Run();
  // These on the repository's thread.
  absl::Status RunJob(Kind kind, const std::string& name);
  absl::Status LoadNow(const std::string& name);
  absl::Status UnloadNow(const std::string& name);
  void ReadNames();
  void Retire(Entry old);
  // Answers the job under way, unless that has been done. On any thread.
  void Answer(absl::Status status);

  // These REQUIRE mutex_ held.
  Entry* Find(std::string_view name);
  void Set(Entry& entry, State state, std::string reason);
  void Publish();
  std::vector<Row> Rows() const;

  Entry MakeEntry(const std::string& name, std::size_t number,
                  std::shared_ptr<const Model> model) const;

  Engine& engine_;
  const RequestLimits limits_;
  const std::optional<ModelControl> control_;
  const Listener listener_;
  const std::string default_;  // empty: there is none
  std::stop_source stop_;

  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable answered_;
  // All below are guarded by mutex_.
  std::vector<Entry> entries_;  // in the order of the index
  std::shared_ptr<const ServedModels> served_;
  std::deque<Job> jobs_;
  bool busy_ = false;           // a job is under way
  std::optional<Job> current_;  // the job under way, until it is answered
  int answering_ = 0;           // calls of `done` and `listed` under way
  bool closed_ = false;

  std::jthread thread_;  // last: it uses all of the above
};

// As the index of Triton has it: "READY", "LOADING", "UNLOADING", "UNAVAILABLE".
const char* StateName(ModelRepository::State state);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_MODEL_REPOSITORY_H_
