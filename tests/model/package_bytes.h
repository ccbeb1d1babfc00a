// Archives as LibTorch writes them, made by hand.
#ifndef PIXEMBED_TESTS_MODEL_PACKAGE_BYTES_H_
#define PIXEMBED_TESTS_MODEL_PACKAGE_BYTES_H_

#include <caffe2/serialize/inline_container.h>

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "src/checkpoint/checkpoint.h"

namespace pixembed {

using Entries = std::map<std::string, std::string>;  // name -> content

inline std::string ArchiveBytes(const Entries& entries) {
  std::string bytes;
  caffe2::serialize::PyTorchStreamWriter writer([&](const void* data, std::size_t size) {
    bytes.append(static_cast<const char*>(data), size);
    return size;
  });
  for (const auto& [name, content] : entries) {
    writer.writeRecord(name, content.data(), content.size());
  }
  writer.writeEndOfFile();
  return bytes;
}

// The bytes as if they were a file's.
inline MappedFile InMemory(std::string bytes) {
  auto owner = std::make_shared<const std::string>(std::move(bytes));
  return {owner, std::as_bytes(std::span(owner->data(), owner->size()))};
}

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_MODEL_PACKAGE_BYTES_H_
