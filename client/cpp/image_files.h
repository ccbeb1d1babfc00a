// Paths -> encoded images.
#ifndef PIXEMBED_CLIENT_CPP_IMAGE_FILES_H_
#define PIXEMBED_CLIENT_CPP_IMAGE_FILES_H_

#include <cstddef>
#include <istream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pixembed::client {

// The path that stands for one image on standard input.
inline constexpr char kStandardInput[] = "-";

// Every named file, whatever it is called, and every file under a named directory whose extension
// is listed (lower case, without the dot; case does not matter; "*" lists all). Directories are
// walked depth first, their entries sorted by name; links to directories are not followed.
// Errors: NOT_FOUND, PERMISSION_DENIED and the like name the path; a directory without images is
// INVALID_ARGUMENT.
absl::StatusOr<std::vector<std::string>> ListImages(const std::vector<std::string>& paths,
                                                    const std::vector<std::string>& extensions);

// The lines of `list`; empty ones are left out.
std::vector<std::string> ReadPaths(std::istream& list);

// The bytes of a file, or of `input` for kStandardInput.
// Errors: those of the system, naming the path; INVALID_ARGUMENT with both numbers for more than
// `max_bytes`, of which not more than that is read.
absl::StatusOr<std::string> ReadImage(const std::string& path, std::size_t max_bytes,
                                      std::istream& input);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_IMAGE_FILES_H_
