#include "client/cpp/image_files.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <istream>
#include <string>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace pixembed::client {
namespace {

namespace fs = std::filesystem;

absl::Status SystemError(int number, const std::string& path) {
  return absl::ErrnoToStatus(number, path);
}

bool IsListed(const fs::path& file, const std::vector<std::string>& extensions) {
  std::string extension = file.extension().string();
  if (!extension.empty()) {
    extension.erase(0, 1);
  }
  return std::any_of(extensions.begin(), extensions.end(), [&](const std::string& listed) {
    return listed == "*" || listed == absl::AsciiStrToLower(extension);
  });
}

absl::Status WalkDirectory(const fs::path& directory, const std::vector<std::string>& extensions,
                           std::vector<std::string>& images) {
  std::error_code error;
  std::vector<fs::directory_entry> entries;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    entries.push_back(*entry);
  }
  if (error) {
    return SystemError(error.value(), directory.string());
  }
  std::sort(entries.begin(), entries.end());
  for (const fs::directory_entry& entry : entries) {
    if (entry.is_directory(error) && !entry.is_symlink(error)) {
      if (absl::Status status = WalkDirectory(entry.path(), extensions, images); !status.ok()) {
        return status;
      }
    } else if (entry.is_regular_file(error) && IsListed(entry.path(), extensions)) {
      images.push_back(entry.path().string());
    }
  }
  return absl::OkStatus();
}

absl::Status TooLarge(const std::string& path, std::size_t max_bytes) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, " has more than ", max_bytes, " bytes, the server's limit for an image"));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ListImages(const std::vector<std::string>& paths,
                                                    const std::vector<std::string>& extensions) {
  std::vector<std::string> images;
  for (const std::string& path : paths) {
    std::error_code error;
    const fs::file_status status =
        path == kStandardInput ? fs::file_status() : fs::status(path, error);
    if (path == kStandardInput || (fs::exists(status) && !fs::is_directory(status))) {
      images.push_back(path);
      continue;
    }
    if (!fs::exists(status)) {
      return SystemError(error ? error.value() : ENOENT, path);
    }
    const std::size_t before = images.size();
    if (absl::Status walked = WalkDirectory(path, extensions, images); !walked.ok()) {
      return walked;
    }
    if (images.size() == before) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": no file with an extension of --extensions (",
                       absl::StrJoin(extensions, ","), ")"));
    }
  }
  return images;
}

std::vector<std::string> ReadPaths(std::istream& list) {
  std::vector<std::string> paths;
  for (std::string line; std::getline(list, line);) {
    if (!line.empty()) {
      paths.push_back(line);
    }
  }
  return paths;
}

absl::StatusOr<std::string> ReadImage(const std::string& path, std::size_t max_bytes,
                                      std::istream& input) {
  std::ifstream file;
  if (path != kStandardInput) {
    errno = 0;
    file.open(path, std::ios::binary);
    if (!file) {
      return SystemError(errno, path);
    }
  }
  std::istream& stream = path == kStandardInput ? input : file;
  constexpr std::size_t kChunk = std::size_t{1} << 16;
  std::string data;
  while (data.size() <= max_bytes) {
    const std::size_t size = data.size();
    const std::size_t wanted = std::min(kChunk, max_bytes + 1 - size);
    data.resize(size + wanted);
    errno = 0;
    stream.read(data.data() + size, static_cast<std::streamsize>(wanted));
    const auto got = static_cast<std::size_t>(stream.gcount());
    data.resize(size + got);
    if (got < wanted) {
      if (stream.bad() || errno != 0) {
        return SystemError(errno != 0 ? errno : EIO, path);
      }
      return data;
    }
  }
  return TooLarge(path, max_bytes);
}

}  // namespace pixembed::client
