#include "server/model_directories.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

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

}  // namespace

ModelDirectories::ModelDirectories(std::vector<ModelSource> models, const fs::path& repository)
    : models_(std::move(models)) {
  std::error_code error;
  repository_ = repository.empty() ? repository : fs::absolute(repository, error);
}

bool ModelDirectories::Holds(std::string_view name) const {
  if (repository_.empty() || !IsSubdirectoryName(name)) return false;
  std::error_code error;
  const fs::path root = fs::canonical(repository_, error);
  if (error) return false;
  const fs::path directory = fs::canonical(root / name, error);
  if (error || !fs::is_directory(directory, error)) return false;
  const auto [root_end, rest] =
      std::mismatch(root.begin(), root.end(), directory.begin(), directory.end());
  return root_end == root.end() && rest != directory.end();
}

std::vector<std::string> ModelDirectories::Names() const {
  std::vector<std::string> names;
  names.reserve(models_.size());
  for (const ModelSource& model : models_) names.push_back(model.name);
  if (repository_.empty()) return names;
  const auto configured = static_cast<std::ptrdiff_t>(names.size());
  std::error_code error;
  for (fs::directory_iterator entry(repository_, error), end; !error && entry != end;
       entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (std::find(names.begin(), names.begin() + configured, name) != names.begin() + configured) {
      continue;
    }
    if (Holds(name)) names.push_back(std::move(name));
  }
  std::sort(names.begin() + configured, names.end());
  return names;
}

absl::StatusOr<ModelSource> ModelDirectories::Find(std::string_view name) const {
  for (const ModelSource& model : models_) {
    if (model.name == name) return model;
  }
  if (!Holds(name)) {
    return MakeError(
        Reason::kUnknownModel,
        absl::StrCat("no model named \"", std::string(name), "\" is configured",
                     repository_.empty() ? " (--model)" : " (--model, --model_repository)"));
  }
  return ModelSource{.name = std::string(name), .directory = repository_ / name};
}

}  // namespace pixembed
