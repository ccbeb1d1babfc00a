// Safetensors files made by hand, for tests of what reads them.
#ifndef PIXEMBED_TESTS_CHECKPOINT_SAFETENSORS_BYTES_H_
#define PIXEMBED_TESTS_CHECKPOINT_SAFETENSORS_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <ios>
#include <string>
#include <string_view>

namespace pixembed {

// The length of `header`, `header`, then `data`: a file, valid or not.
inline std::string SafetensorsBytes(std::string_view header, std::string_view data) {
  std::string bytes;
  for (std::size_t i = 0; i < 8; ++i) {
    bytes.push_back(static_cast<char>(static_cast<std::uint64_t>(header.size()) >> (8 * i)));
  }
  return bytes.append(header).append(data);
}

inline void WriteFile(const std::filesystem::path& file, std::string_view bytes) {
  std::ofstream(file, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_CHECKPOINT_SAFETENSORS_BYTES_H_
