// Where the models of a server lie, by name: the only way from a name to a directory. Names may
// come from the network; paths never do.
#ifndef PIXEMBED_SERVER_MODEL_DIRECTORIES_H_
#define PIXEMBED_SERVER_MODEL_DIRECTORIES_H_

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/launch/launch.h"

namespace pixembed {

// Immutable, thread-safe. What it says of the repository is what lies there at the moment.
class ModelDirectories {
 public:
  // `models`: those of --model. `repository`: a directory of which each subdirectory is a model
  // under its own name; empty: there is none. A name of `models` hides one of the repository.
  ModelDirectories(std::vector<ModelSource> models, const std::filesystem::path& repository);

  // All names: those of `models` in their order, then those of the repository in alphabetical
  // order. Reads the repository's directory; one that cannot be read has no names.
  std::vector<std::string> Names() const;

  // A subdirectory of the repository, or a link, that is not among the names.
  struct LeftOut {
    std::string name;
    std::string why;
  };
  // All of them, in alphabetical order. Plain files are no subdirectories, and what is hidden (a
  // mounted volume's own "..data") is not meant.
  std::vector<LeftOut> AllLeftOut() const;

  // Whether there is no repository, or one that can be read. Errors: INVALID_OPTION names
  // --model_repository, its directory, and the system's reason.
  absl::Status CheckRepository() const;

  // The directory of a name. In the repository a name is letters, digits, '.', '_' and '-' and does
  // not begin with '.', and its directory lies in the repository once every link is followed.
  // Errors: UNKNOWN_MODEL: there is none of that name.
  absl::StatusOr<ModelSource> Find(std::string_view name) const;

 private:
  // Why the repository has no model of that name; nothing if it has one.
  std::optional<std::string> WhyNot(std::string_view name) const;
  // Whether it is a name of `models_`.
  bool IsOwn(std::string_view name) const;

  std::vector<ModelSource> models_;
  std::filesystem::path repository_;  // absolute; empty: none
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_MODEL_DIRECTORIES_H_
