// Paths -> encoded images.
#ifndef PIXEMBED_CLIENT_CPP_IMAGE_FILES_H_
#define PIXEMBED_CLIENT_CPP_IMAGE_FILES_H_

#include <cstddef>
#include <istream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pixembed::client {

// The path that stands for one image on standard input.
inline constexpr char kStandardInput[] = "-";

// A path to read, or the reason why it is none.
struct ImageFile {
  std::string path;
  absl::Status status = {};
};

// Every named file, whatever it is called, and every file under a named directory whose extension
// is listed (with or without its dot; case does not matter; "*" lists all). Directories are walked
// depth first, their entries sorted by name, links as what they lead to; a directory that holds
// itself is not entered again.
// What such a directory holds and cannot be read fails alone, with the error of the system: a
// directory; a link that leads nowhere, where its name has a listed extension or, as a directory's,
// none. So does what has a listed extension but is neither file nor directory: a pipe would be
// waited for.
// Errors: NOT_FOUND, PERMISSION_DENIED and the like name the named path; a directory without images
// is INVALID_ARGUMENT.
absl::StatusOr<std::vector<ImageFile>> ListImages(const std::vector<std::string>& paths,
                                                  const std::vector<std::string>& extensions);

// The lines of `list`; empty ones are left out.
std::vector<std::string> ReadPaths(std::istream& list);

// The bytes of a file, or of `input` for kStandardInput.
// Errors: the file's own; those of the system, naming the path; INVALID_ARGUMENT with both numbers
// for more than `max_bytes`, of which not more than that is read.
absl::StatusOr<std::string> ReadImage(const ImageFile& image, std::size_t max_bytes,
                                      std::istream& input);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_IMAGE_FILES_H_
