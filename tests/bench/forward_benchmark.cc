// The bare forward pass: images per second of Runner::Embed on a model directory, without a server.
//
// usage: forward_benchmark MODEL_DIR [--shapes 2x1,1x2] [--batches 1,4] [--seconds 10]
//
// With --photos=FOLDER, first a line that says what the model is, how long loading it took, and the
// smallest cosine of the vectors of these photos with those of float32. A shape is WORKERSxTHREADS.
// Prints a line of JSON for each shape and batch size, with the page
// faults per image, which are 0 when nothing is given back to the kernel between batches.
//
// With --due=FILE, what arrival_times prints: an open loop of single images instead, which wait in
// one line for the workers. Its p99 is what the machine makes of these arrivals, without a server.
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "src/image/image.h"
#include "src/model/model.h"

ABSL_FLAG(std::vector<std::string>, shapes, std::vector<std::string>({"2x1", "1x2"}),
          "Workers x threads of each worker");
ABSL_FLAG(std::vector<std::string>, batches, std::vector<std::string>({"1", "4"}),
          "Images in a batch");
ABSL_FLAG(double, seconds, 10.0, "How long each combination is measured");
ABSL_FLAG(bool, deterministic, false, "As the server's flag");
ABSL_FLAG(std::string, precision, "float32", "As the server's flag");
ABSL_FLAG(double, precision_min_cosine, 0.999, "As the server's flag");
ABSL_FLAG(std::string, due, "", "A file of seconds from the start, when images come; see above");
ABSL_FLAG(std::string, photos, "", "A folder of images to compare the vectors of float32 on");
ABSL_FLAG(std::string, device, "cpu", "As the server's --device; the first one is measured");
ABSL_FLAG(bool, cuda_graphs, true, "As the server's flag");
ABSL_FLAG(bool, fused_kernels, true, "As the server's flag");
ABSL_FLAG(bool, trust_model_code, false, "As the server's, for model.pt and model.pt2");

namespace pixembed {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void Exit(const std::string& text) {
  std::fprintf(stderr, "forward_benchmark: %s\n", text.c_str());
  std::exit(1);
}

template <typename T>
T OrExit(absl::StatusOr<T> value) {
  if (!value.ok()) Exit(value.status().ToString());
  return *std::move(value);
}

int Number(absl::string_view text) {
  int value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < 1) Exit(absl::StrCat("not a number: ", text));
  return value;
}

Precision PrecisionOf(const std::string& name) {
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16, Precision::kInt16,
                                    Precision::kInt8, Precision::kAuto}) {
    if (PrecisionName(precision) == name) return precision;
  }
  Exit(absl::StrCat("not a precision: ", name));
}

struct Shape {
  int workers = 1;
  int threads = 1;
  int batch = 1;
};

// What the process used up to now.
struct Usage {
  double cpu_seconds = 0.0;
  std::int64_t faults = 0;
};

Usage Now() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return {seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_minflt};
}

Image NoiseImage(Size size) {
  Image image(size.width, size.height);
  std::uint32_t state = 1;
  for (std::uint8_t& pixel : image.pixels()) {
    state = state * 1'664'525U + 1'013'904'223U;
    pixel = static_cast<std::uint8_t>(state >> 24);
  }
  return image;
}

// What one worker did after its warm-up.
struct Tally {
  int images = 0;
  double seconds = 0.0;
};

// One worker: a thread with a runner of its own.
class Worker {
 public:
  Worker(const Model& model, const Device& device, const Shape& shape)
      : runner_(OrExit(model.NewRunner(device))),
        threads_(shape.threads),
        image_(NoiseImage(model.info().input)),
        batch_(static_cast<std::size_t>(shape.batch), &image_),
        specs_(batch_.size()) {}

  void WarmUp() {
    constexpr int kBatches = 3;
    for (int i = 0; i < kBatches; ++i) RunBatch();
  }

  void RunBatch() { OrExit(runner_->Embed(batch_, specs_, threads_)); }

  // Whole batches, until `duration` is over.
  Tally Run(std::chrono::duration<double> duration) {
    Tally tally;
    const Clock::time_point start = Clock::now();
    std::chrono::duration<double> elapsed{};
    while (elapsed < duration) {
      RunBatch();
      tally.images += static_cast<int>(batch_.size());
      elapsed = Clock::now() - start;
    }
    tally.seconds = elapsed.count();
    return tally;
  }

 private:
  std::unique_ptr<Runner> runner_;
  int threads_;
  Image image_;
  std::vector<const Image*> batch_;
  std::vector<OutputSpec> specs_;
};

void Measure(const Model& model, const Device& device, const Shape& shape) {
  const std::chrono::duration<double> duration(absl::GetFlag(FLAGS_seconds));
  std::vector<Tally> tallies(static_cast<std::size_t>(shape.workers));
  Usage before;
  Usage after;
  // Passed by all workers after the warm-up, and again at the end.
  std::barrier begin(shape.workers, [&before]() noexcept { before = Now(); });
  std::barrier end(shape.workers, [&after]() noexcept { after = Now(); });
  {
    std::vector<std::jthread> threads;
    threads.reserve(tallies.size());
    for (Tally& tally : tallies) {
      threads.emplace_back([&] {
        Worker worker(model, device, shape);
        worker.WarmUp();
        begin.arrive_and_wait();
        tally = worker.Run(duration);
        end.arrive_and_wait();
      });
    }
  }
  int images = 0;
  double rate = 0.0;
  for (const Tally& tally : tallies) {
    images += tally.images;
    rate += tally.images / tally.seconds;
  }
  std::printf(R"({"shape": "%dx%d", "batch": %d, "images": %d, "images_per_second": %.3f, )"
              R"("images_per_cpu_second": %.3f, "page_faults_per_image": %.2f})"
              "\n",
              shape.workers, shape.threads, shape.batch, images, rate,
              images / (after.cpu_seconds - before.cpu_seconds),
              static_cast<double>(after.faults - before.faults) / images);
  std::fflush(stdout);
}

std::vector<double> ReadDue(const std::string& path) {
  std::ifstream file(path);
  std::vector<double> due{std::istream_iterator<double>(file), {}};
  if (due.empty() || !std::ranges::is_sorted(due)) Exit(path + ": no times in order");
  return due;
}

// By nearest rank. REQUIRES: not empty.
double Percentile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  const auto count = static_cast<double>(values.size());
  return values[static_cast<std::size_t>(std::max(std::ceil(share * count), 1.0)) - 1];
}

// One line before all workers, each of which takes the next image when it is free.
void MeasureArrivals(const Model& model, const Device& device, Shape shape,
                     const std::vector<double>& due) {
  shape.batch = 1;
  std::vector<double> responses(due.size());  // milliseconds
  std::vector<double> services(due.size());
  std::atomic<std::size_t> next = 0;
  Clock::time_point start;
  std::barrier begin(shape.workers, [&start]() noexcept { start = Clock::now(); });
  const auto serve = [&] {
    Worker worker(model, device, shape);
    worker.WarmUp();
    begin.arrive_and_wait();
    const auto elapsed = [&start] {
      return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    };
    for (std::size_t i = next++; i < due.size(); i = next++) {
      const auto after = std::chrono::duration<double>(due[i]);
      std::this_thread::sleep_until(start + std::chrono::duration_cast<Clock::duration>(after));
      const double begun = elapsed();
      worker.RunBatch();
      const double done = elapsed();
      services[i] = done - begun;
      responses[i] = done - 1e3 * due[i];
    }
  };
  {
    std::vector<std::jthread> threads;
    threads.reserve(static_cast<std::size_t>(shape.workers));
    for (int i = 0; i < shape.workers; ++i) threads.emplace_back(serve);
  }
  std::printf(R"({"shape": "%dx%d", "requests": %zu, "service_ms": {"p50": %.3f, "p99": %.3f}, )"
              R"("latency_ms": {"p50": %.3f, "p99": %.3f}})"
              "\n",
              shape.workers, shape.threads, due.size(), Percentile(services, 0.5),
              Percentile(services, 0.99), Percentile(responses, 0.5), Percentile(responses, 0.99));
  std::fflush(stdout);
}

std::vector<Image> ReadPhotos(const std::filesystem::path& folder, const PreprocessSpec& spec) {
  std::vector<Image> photos;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string extension = entry.path().extension();
    if (extension != ".png" && extension != ".jpg") continue;
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    photos.push_back(
        OrExit(DecodeAndResize(std::as_bytes(std::span(bytes.data(), bytes.size())), {}, spec)));
  }
  if (photos.empty()) Exit("no .png and no .jpg in " + folder.string());
  return photos;
}

// Mean-pooled, one image after the other.
std::vector<std::vector<float>> EmbedEach(const Model& model, const Device& device,
                                          const std::vector<Image>& images) {
  const std::unique_ptr<Runner> runner = OrExit(model.NewRunner(device));
  const std::vector<OutputSpec> specs(1);
  std::vector<std::vector<float>> vectors;
  for (const Image& image : images) {
    const Image* const one[] = {&image};
    vectors.push_back(FloatValues(OrExit(runner->Embed(one, specs, 1)).front()));
  }
  return vectors;
}

// `exact`: the same in float32.
void Compare(const Model& model, const Model& exact, const Device& device, double load_seconds) {
  const std::vector<Image> photos =
      ReadPhotos(absl::GetFlag(FLAGS_photos), model.info().preprocess);
  const std::vector<std::vector<float>> vectors = EmbedEach(model, device, photos);
  const std::vector<std::vector<float>> expected = EmbedEach(exact, device, photos);
  double smallest = 1.0;
  double sum = 0.0;
  for (std::size_t i = 0; i < photos.size(); ++i) {
    const double cosine = CosineSimilarity(vectors[i], expected[i]);
    smallest = std::min(smallest, cosine);
    sum += cosine;
  }
  std::printf(R"({"precision": "%s", "kernels": "%s", "load_seconds": %.2f, )"
              R"("calibration_cosine": %.6f, "photos": %zu, "smallest_cosine": %.6f, )"
              R"("mean_cosine": %.6f})"
              "\n",
              std::string(PrecisionName(model.info().precision)).c_str(),
              model.info().kernels.c_str(), load_seconds, model.info().precision_cosine,
              photos.size(), smallest, sum / static_cast<double>(photos.size()));
  std::fflush(stdout);
}

void MeasureAll(const std::string& directory) {
  InitializeRuntime();
  const Device device = OrExit(ResolveDevices(absl::GetFlag(FLAGS_device))).front();
  const Clock::time_point start = Clock::now();
  const auto loaded =
      LoadModel(directory, {.trust_model_code = absl::GetFlag(FLAGS_trust_model_code),
                            .devices = {device},
                            .deterministic = absl::GetFlag(FLAGS_deterministic),
                            .precision = PrecisionOf(absl::GetFlag(FLAGS_precision)),
                            .precision_min_cosine = absl::GetFlag(FLAGS_precision_min_cosine),
                            .cuda_graphs = absl::GetFlag(FLAGS_cuda_graphs),
                            .fused_kernels = absl::GetFlag(FLAGS_fused_kernels),
                            .warn = [](const std::string& line) {
                              std::fprintf(stderr, "forward_benchmark: %s\n", line.c_str());
                            }});
  if (!loaded.ok()) Exit(absl::StrCat(directory, ": ", loaded.status().ToString()));
  const std::shared_ptr<const Model>& model = *loaded;
  std::fprintf(stderr, "%s: %lld parameters, %s, cosine %.6f\n", directory.c_str(),
               static_cast<long long>(model->info().parameters), model->info().kernels.c_str(),
               model->info().precision_cosine);
  const std::chrono::duration<double> load = Clock::now() - start;
  if (!absl::GetFlag(FLAGS_photos).empty()) {
    const auto exact =
        OrExit(LoadModel(directory, {.trust_model_code = absl::GetFlag(FLAGS_trust_model_code),
                                     .devices = {device}}));
    Compare(*model, *exact, device, load.count());
  }
  for (const std::string& text : absl::GetFlag(FLAGS_shapes)) {
    const std::vector<std::string> sides = absl::StrSplit(text, 'x');
    if (sides.size() != 2) Exit("a shape is WORKERSxTHREADS, not " + text);
    if (const std::string due = absl::GetFlag(FLAGS_due); !due.empty()) {
      MeasureArrivals(*model, device, {Number(sides[0]), Number(sides[1])}, ReadDue(due));
      continue;
    }
    for (const std::string& batch : absl::GetFlag(FLAGS_batches)) {
      Measure(*model, device, {Number(sides[0]), Number(sides[1]), Number(batch)});
    }
  }
}

}  // namespace
}  // namespace pixembed

int main(int argc, char** argv) {
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  if (arguments.size() != 2) pixembed::Exit("usage: forward_benchmark MODEL_DIR [flags]");
  pixembed::MeasureAll(arguments[1]);
  return 0;
}
