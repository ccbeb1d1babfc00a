// The sinks that print.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <numeric>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cpp/client.h"
#include "client/cpp/vector_sink.h"

namespace pixembed::client {
namespace {

constexpr std::size_t kHead = 4;

std::string Head(const std::vector<float>& floats, const char* separator) {
  const auto end = floats.begin() + static_cast<std::ptrdiff_t>(std::min(kHead, floats.size()));
  return absl::StrJoin(floats.begin(), end, separator, [](std::string* out, float value) {
    absl::StrAppendFormat(out, "%8.4f", value);
  });
}

absl::Status Written(const std::ostream& out) {
  return out ? absl::OkStatus() : absl::DataLossError("standard output takes no more");
}

class HeadPrinter final : public VectorSink {
 public:
  explicit HeadPrinter(std::ostream& out) : out_(out) {}

  absl::Status Add(const std::string& id, const Result& result) override {
    if (result.embedding.ok()) {
      out_ << id << '\t' << result.embedding->dimensions << '\t'
           << Head(result.embedding->Floats(), "\t") << '\n';
    }
    return Written(out_);
  }

  absl::Status Finish() override {
    out_.flush();
    return Written(out_);
  }

 private:
  std::ostream& out_;
};

class NeighbourPrinter final : public VectorSink {
 public:
  explicit NeighbourPrinter(std::ostream& out) : out_(out) {}

  absl::Status Add(const std::string& id, const Result& result) override {
    if (!result.embedding.ok()) {
      return absl::OkStatus();
    }
    if (images_.size() == kMaxNeighbours) {
      return absl::InvalidArgumentError(absl::StrCat("--neighbours compares at most ",
                                                     kMaxNeighbours, " images with each other"));
    }
    std::vector<float> floats = result.embedding->Floats();
    std::string head = Head(floats, " ");
    images_.push_back({id, std::move(head), ToUnit(std::move(floats))});
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    std::size_t width = 0;
    for (const Embedded& image : images_) {
      width = std::max(width, image.id.size());
    }
    const int columns = static_cast<int>(width);
    for (std::size_t i = 0; i < images_.size(); ++i) {
      const Embedded& image = images_[i];
      out_ << absl::StrFormat("%-*s %5d [%s ...]  ", columns, image.id, image.unit.size(),
                              image.head);
      if (images_.size() == 1) {
        out_ << "has no other to be near to\n";
        continue;
      }
      const auto [nearest, cosine] = Nearest(i);
      out_ << absl::StrFormat("nearest %-*s cosine %.4f\n", columns, images_[nearest].id, cosine);
    }
    out_.flush();
    return Written(out_);
  }

 private:
  struct Embedded {
    std::string id;
    std::string head;
    std::vector<float> unit;  // length 1, or 0 where the vector is
  };

  static std::vector<float> ToUnit(std::vector<float> floats) {
    const double square = std::inner_product(floats.begin(), floats.end(), floats.begin(), 0.0);
    const double scale = square > 0 ? 1.0 / std::sqrt(square) : 0.0;
    for (float& value : floats) {
      value = static_cast<float>(value * scale);
    }
    return floats;
  }

  std::pair<std::size_t, double> Nearest(std::size_t i) const {
    std::pair<std::size_t, double> nearest = {i, -2.0};
    for (std::size_t j = 0; j < images_.size(); ++j) {
      const double cosine = std::inner_product(images_[i].unit.begin(), images_[i].unit.end(),
                                               images_[j].unit.begin(), 0.0);
      if (j != i && cosine > nearest.second) {
        nearest = {j, cosine};
      }
    }
    return nearest;
  }

  std::ostream& out_;
  std::vector<Embedded> images_;
};

}  // namespace

std::unique_ptr<VectorSink> NewHeadPrinter(std::ostream& out) {
  return std::make_unique<HeadPrinter>(out);
}

std::unique_ptr<VectorSink> NewNeighbourPrinter(std::ostream& out) {
  return std::make_unique<NeighbourPrinter>(out);
}

}  // namespace pixembed::client
