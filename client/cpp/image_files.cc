#include "client/cpp/image_files.h"

#include <sys/stat.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <istream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace pixembed::client {
namespace {

namespace fs = std::filesystem;

absl::Status SystemError(int number, const std::string& path) {
  return absl::ErrnoToStatus(number, path);
}

// As IsListed compares them.
std::vector<std::string> Normalized(const std::vector<std::string>& extensions) {
  std::vector<std::string> normalized;
  normalized.reserve(extensions.size());
  for (const std::string& extension : extensions) {
    normalized.push_back(absl::AsciiStrToLower(absl::StripPrefix(extension, ".")));
  }
  return normalized;
}

// One walk. Its directories are known by device and inode, which links do not change.
class Walk {
 public:
  Walk(const std::vector<std::string>& extensions, std::vector<ImageFile>& images)
      : extensions_(Normalized(extensions)), images_(images) {}

  // Errors: `directory` cannot be read; nothing of what it holds.
  absl::Status Enter(const fs::path& directory) {
    struct stat status {};
    if (stat(directory.c_str(), &status) != 0) {
      return SystemError(errno, directory.string());
    }
    const Identity identity(status.st_dev, status.st_ino);
    if (std::find(entered_.begin(), entered_.end(), identity) != entered_.end()) {
      return absl::OkStatus();
    }
    std::error_code error;
    std::vector<fs::path> entries;
    for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error)) {
      entries.push_back(entry->path());
    }
    if (error) {
      return SystemError(error.value(), directory.string());
    }
    std::sort(entries.begin(), entries.end());
    entered_.push_back(identity);
    for (const fs::path& entry : entries) {
      Take(entry);
    }
    entered_.pop_back();
    return absl::OkStatus();
  }

 private:
  using Identity = std::pair<dev_t, ino_t>;

  void Take(const fs::path& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) {
      const int number = errno;
      if (IsListed(path) || !path.has_extension()) {
        Fail(path, SystemError(number, path.string()));
      }
    } else if (S_ISDIR(status.st_mode)) {
      if (absl::Status entered = Enter(path); !entered.ok()) {
        Fail(path, std::move(entered));
      }
    } else if (!IsListed(path)) {
      return;
    } else if (S_ISREG(status.st_mode)) {
      images_.push_back({path.string()});
    } else {
      Fail(path, absl::InvalidArgumentError(absl::StrCat(
                     path.string(), " is a pipe, a socket or a device, which is not opened here")));
    }
  }

  bool IsListed(const fs::path& file) const {
    const std::string extension =
        absl::AsciiStrToLower(absl::StripPrefix(file.extension().string(), "."));
    return std::any_of(extensions_.begin(), extensions_.end(), [&](const std::string& listed) {
      return listed == "*" || listed == extension;
    });
  }

  void Fail(const fs::path& path, absl::Status status) {
    images_.push_back({path.string(), std::move(status)});
  }

  const std::vector<std::string> extensions_;
  std::vector<ImageFile>& images_;
  std::vector<Identity> entered_;  // the directory that is walked, and those above it
};

absl::Status TooLarge(const std::string& path, std::size_t max_bytes) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, " has more than ", max_bytes, " bytes, the server's limit for an image"));
}

}  // namespace

absl::StatusOr<std::vector<ImageFile>> ListImages(const std::vector<std::string>& paths,
                                                  const std::vector<std::string>& extensions) {
  std::vector<ImageFile> images;
  Walk walk(extensions, images);
  for (const std::string& path : paths) {
    std::error_code error;
    const fs::file_status status =
        path == kStandardInput ? fs::file_status() : fs::status(path, error);
    if (path == kStandardInput || (fs::exists(status) && !fs::is_directory(status))) {
      images.push_back({path});
      continue;
    }
    if (!fs::exists(status)) {
      return SystemError(error ? error.value() : ENOENT, path);
    }
    const std::size_t before = images.size();
    if (absl::Status walked = walk.Enter(path); !walked.ok()) {
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

absl::StatusOr<std::string> ReadImage(const ImageFile& image, std::size_t max_bytes,
                                      std::istream& input) {
  if (!image.status.ok()) {
    return image.status;
  }
  const std::string& path = image.path;
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
