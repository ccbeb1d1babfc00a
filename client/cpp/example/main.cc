// The README's call from C++. usage: example IMAGE...   PIXEMBED_ADDRESS: the server's
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "pixembed/client.h"

int main(int argc, char** argv) {
  const char* const address = std::getenv("PIXEMBED_ADDRESS");
  auto client = pixembed::client::Client::Connect({address ? address : "127.0.0.1:50051"});
  if (!client.ok()) {
    std::cerr << client.status().message() << '\n';
    return 1;
  }
  std::vector<pixembed::client::Image> images;
  for (const std::string& path : std::vector<std::string>(argv + 1, argv + argc)) {
    std::ostringstream data;
    if (!(data << std::ifstream(path, std::ios::binary).rdbuf())) {
      std::cerr << path << " cannot be read, or is empty\n";
      return 1;
    }
    images.push_back({.data = data.str(), .id = path});
  }
  const auto results = (*client)->Embed(std::move(images), {.normalize = true});
  if (!results.ok()) {
    std::cerr << pixembed::client::ErrorText(results.status()) << '\n';
    return 1;
  }
  for (const auto& result : *results) {  // one broken image fails alone
    std::cout << result.id << ": "
              << (result.embedding.ok() ? std::to_string(result.embedding->Floats().front())
                                        : pixembed::client::ErrorText(result.embedding.status()))
              << '\n';
  }
}
