#include "server/model_directories.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

namespace fs = std::filesystem;

// With what this leaves, the name is one component of a path, and an ordinary one.
bool IsSubdirectoryName(std::string_view name) {
  constexpr std::size_t kMaxBytes = 255;
  const auto allowed = [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kMaxBytes && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), allowed);
}

// The names of all that lies in a directory; none where it cannot be read.
std::vector<std::string> EntriesOf(const fs::path& directory) {
  std::vector<std::string> names;
  if (directory.empty()) return names;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  return names;
}

}  // namespace

ModelDirectories::ModelDirectories(std::vector<ModelSource> models, const fs::path& repository)
    : models_(std::move(models)) {
  std::error_code error;
  repository_ = repository.empty() ? repository : fs::absolute(repository, error);
}

bool ModelDirectories::IsOwn(std::string_view name) const {
  return std::ranges::any_of(models_, [name](const ModelSource& m) { return m.name == name; });
}

std::optional<std::string> ModelDirectories::WhyNot(std::string_view name) const {
  if (repository_.empty()) return "there is no repository";
  if (!IsSubdirectoryName(name)) {
    return "a name is letters, digits, '.', '_' and '-', and does not begin with '.'";
  }
  std::error_code error;
  const fs::path root = fs::canonical(repository_, error);
  if (error) return error.message();
  const fs::path directory = fs::canonical(root / name, error);
  if (error) return error.message();
  if (!fs::is_directory(directory, error)) return "it is no directory";
  const auto [root_end, rest] =
      std::mismatch(root.begin(), root.end(), directory.begin(), directory.end());
  if (root_end != root.end() || rest == directory.end()) {
    return "it is a link that leads to no directory within the repository";
  }
  return std::nullopt;
}

std::vector<std::string> ModelDirectories::Names() const {
  std::vector<std::string> names;
  names.reserve(models_.size());
  for (const ModelSource& model : models_) names.push_back(model.name);
  const auto configured = static_cast<std::ptrdiff_t>(names.size());
  for (std::string& name : EntriesOf(repository_)) {
    if (!IsOwn(name) && !WhyNot(name).has_value()) names.push_back(std::move(name));
  }
  std::sort(names.begin() + configured, names.end());
  return names;
}

std::vector<ModelDirectories::LeftOut> ModelDirectories::AllLeftOut() const {
  std::vector<LeftOut> all;
  for (std::string& name : EntriesOf(repository_)) {
    if (name.front() == '.') continue;
    const fs::path path = repository_ / name;
    std::error_code error;
    const bool lost_link =
        fs::is_symlink(path, error) && fs::status(path, error).type() != fs::file_type::regular;
    if (!lost_link && !fs::is_directory(path, error)) continue;
    const std::optional<std::string> why =
        IsOwn(name) ? "--model names another directory so" : WhyNot(name);
    if (why.has_value()) all.push_back({.name = std::move(name), .why = *why});
  }
  std::ranges::sort(all, {}, &LeftOut::name);
  return all;
}

absl::Status ModelDirectories::CheckRepository() const {
  if (repository_.empty()) return absl::OkStatus();
  std::error_code error;
  const fs::directory_iterator entries(repository_, error);
  if (!error) return absl::OkStatus();
  return MakeError(Reason::kInvalidOption, absl::StrCat("--model_repository=", repository_.string(),
                                                        " cannot be read: ", error.message()));
}

absl::StatusOr<ModelSource> ModelDirectories::Find(std::string_view name) const {
  for (const ModelSource& model : models_) {
    if (model.name == name) return model;
  }
  if (WhyNot(name).has_value()) {
    return MakeError(
        Reason::kUnknownModel,
        absl::StrCat("no model named \"", std::string(name), "\" is configured",
                     repository_.empty() ? " (--model)" : " (--model, --model_repository)"));
  }
  return ModelSource{.name = std::string(name), .directory = repository_ / name};
}

}  // namespace pixembed
