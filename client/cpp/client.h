// A client of pixembed: encoded images in, vectors out. Library pixembed::client.
//
//   auto client = pixembed::client::Client::Connect({"localhost:50051"});
//   auto results = (*client)->Embed({{.data = bytes_of_a_jpeg}}, {.normalize = true});
//   std::vector<float> vector = results->front().embedding->Floats();
//
// Knows the protocol, never the service.
#ifndef PIXEMBED_CLIENT_CPP_CLIENT_H_
#define PIXEMBED_CLIENT_CPP_CLIENT_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pixembed/v1/embedding.pb.h"

namespace pixembed::client {

// An encoded image: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF.
struct Image {
  std::string data = {};
  // The caller's name for it; comes back with its result. UTF-8.
  std::string id = {};
};

struct Color {
  std::uint8_t red = 0;
  std::uint8_t green = 0;
  std::uint8_t blue = 0;
};

// One vector as it travelled.
struct Embedding {
  v1::DataType data_type = v1::DATA_TYPE_FLOAT32;
  int dimensions = 0;
  // DATA_TYPE_INT8 only.
  float scale = 1.0F;
  // `dimensions` numbers of `data_type`, packed, little-endian; DATA_TYPE_BINARY: a bit each, the
  // first in the highest bit.
  std::string data = {};

  // The numbers as float32: float16 and bfloat16 widened, int8 times `scale`, binary as 0 or 1.
  std::vector<float> Floats() const;
};

// What became of one image.
struct Result {
  // Position of the image among those of the call.
  std::uint64_t index = 0;
  std::string id = {};
  // The vector, or why there is none (ErrorReason tells in a word).
  absl::StatusOr<Embedding> embedding;
  v1::Timings timings = {};
  // The space that the vector lives in. Vectors of two fingerprints must not meet in one index.
  std::string fingerprint = {};
};

// What to compute. The server applies: turn upright, composite on the background, preprocess,
// select layers, pool, truncate to `dimensions`, normalize, convert.
struct EmbedOptions {
  // Empty: the server's first model.
  std::string model = {};
  v1::Pooling pooling = v1::POOLING_MEAN;
  // Which hidden states are pooled: indices into transformers' output_hidden_states, negative ones
  // from the end; several: their mean. Empty: last_hidden_state.
  std::vector<int> layers = {};
  // APPLY: images are turned upright as their EXIF data say. TIFF always is.
  v1::ExifOrientation exif_orientation = v1::EXIF_ORIENTATION_IGNORE;
  // What shows through where an image is transparent. Nothing: alpha is dropped.
  std::optional<Color> background = {};
  // Scale each vector to length 1.
  bool normalize = false;
  // Keep the first so many dimensions; 0 keeps all.
  std::uint32_t dimensions = 0;
  v1::DataType data_type = v1::DATA_TYPE_FLOAT32;
  // Unspecified: ONLINE for Embed, BULK for EmbedStream.
  v1::Lane lane = v1::LANE_UNSPECIFIED;
  // Not empty: refuse with FAILED_PRECONDITION unless the answer has this fingerprint.
  std::string expected_fingerprint = {};
};

// Gives a stream its images, one a call; nothing ends it. An error is an image that failed before
// it could be sent.
using ImageSource = std::function<std::optional<absl::StatusOr<Image>>()>;
using ResultSink = std::function<void(Result)>;

struct StreamOptions {
  // Images and encoded bytes that may be on their way at once. An image larger than
  // `max_in_flight_bytes` travels alone.
  int max_in_flight_images = 256;
  std::size_t max_in_flight_bytes = std::size_t{64} << 20;
  // Results in the order of the images.
  bool ordered = false;
  // Ends the stream early: its unanswered images fail with CANCELLED.
  std::stop_token stop = {};
};

// TLS. All are the text of PEM files.
struct Tls {
  // Authorities of which one must have signed the server's certificate; empty: gRPC's own list.
  std::string ca = {};
  // The client's own, for servers that want one, and its key; both or none.
  std::string certificate = {};
  std::string private_key = {};
  // The name in the server's certificate, where it is not that of the address.
  std::string server_name = {};
};

struct ClientOptions {
  // Absent: plain text.
  std::optional<Tls> tls = {};
  // Goes with every call, as "authorization: Bearer TOKEN"; empty: none.
  std::string token = {};
  // Lets a token travel in plain text: inside a mesh, to localhost, over a unix socket.
  bool insecure_token = false;
  // Time of one call, all of its attempts together. Zero: no limit; without `max_attempts` it is
  // tried again for a minute from its first failure on. A stream may take as long as it likes; for
  // so long it waits for a server that went away.
  std::chrono::milliseconds timeout = std::chrono::seconds(60);
  // Largest message to send and to receive. The server has a limit of its own
  // (Model.limits.max_message_bytes).
  std::size_t max_message_bytes = std::size_t{64} << 20;
  // Attempts of one call, the first included, and of a stream, since its last result; 1: it is
  // never tried again. Absent: as many as there is time for, so that a call outlives a restart of
  // its server; 5 of CheckHealth, and while no server has answered this client. UNAVAILABLE is
  // tried again at once at another address, else with exponential backoff (50 ms to 1 s, with
  // jitter); RESOURCE_EXHAUSTED only where the server said when (RetryInfo), after that time and up
  // to half of it again at random; where it is refused again and again, after no less than the
  // backoff. Nothing is tried again after `timeout`, nor where TLS does not fit. A stream does not
  // count how often a server says that it is DRAINING.
  std::optional<int> max_attempts = {};
  // Connections to each address, used in turn.
  int channels_per_address = 1;
};

enum class Health { kServing, kNotServing };

// Thread-safe. Calls block their thread. Outlives no call.
class Client {
 public:
  // Addresses are gRPC targets: "host:port", "unix:path", "dns:///name:port" (every address behind
  // the name, round robin). Calls use them in turn. Connects at the first call.
  // Errors: INVALID_ARGUMENT: no address, one that cannot be meant, or an option out of range.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const std::vector<std::string>& addresses,
                                                         const ClientOptions& options = {});
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // One result per image, in order. An image that cannot be used fails alone.
  // Errors, for the call: those of the server (unknown model, wrong option, overload, drain,
  // deadline) with their reason; INVALID_ARGUMENT for a request above `max_message_bytes`, which
  // EmbedStream would take.
  absl::StatusOr<std::vector<Result>> Embed(std::vector<Image> images,
                                            const EmbedOptions& options = {});

  // Any number of images in bounded memory. Takes images from `next` until it gives nothing, each
  // when there is room for it in flight, and calls `on_result` exactly once for each image taken,
  // failures included: an image that the stream left unanswered gets the stream's own status. An
  // image that failed before it was sent keeps its place in the count.
  //
  // When the server goes away (UNAVAILABLE: a restart, a drain, a lost connection) what it has not
  // answered is sent again, to the same server once it is back (within `timeout`) or to another
  // address. No image is lost or answered twice, and `ordered` holds. A server that would give
  // vectors of another space does not go on with it: FINGERPRINT_MISMATCH. For this an image is
  // held until it is answered.
  //
  // `next` runs on a thread of its own; `on_result` on that thread or the caller's, never on two at
  // once. When the stream fails, `next` is not called again, but a call under way is waited for.
  // Errors: those of the server, for the stream as a whole.
  absl::Status EmbedStream(const EmbedOptions& options, const StreamOptions& stream_options,
                           const ImageSource& next, const ResultSink& on_result);

  absl::StatusOr<std::vector<v1::Model>> ListModels();
  // Empty name: the server's first model. Errors: NOT_FOUND names the models there are.
  absl::StatusOr<v1::Model> GetModel(const std::string& name = {});

  // What the server does to one encoded image, before the model sees it, for an embedding under
  // these options. Errors: the image's reason (TRUNCATED_IMAGE, ...); those of Embed.
  absl::StatusOr<v1::ImageExplanation> ExplainImage(std::string data,
                                                    const EmbedOptions& options = {});

  // grpc.health.v1: of the server (empty), of "pixembed.v1.EmbeddingService", of a model.
  // Errors: NOT_FOUND: no such service; UNAVAILABLE: nobody answers.
  absl::StatusOr<Health> CheckHealth(const std::string& service = {});
  // Returns once the service is SERVING, through connection failures and NOT_SERVING; a push from
  // the server ends the wait, nothing polls. Errors: DEADLINE_EXCEEDED after `timeout`; those of
  // CheckHealth other than UNAVAILABLE.
  absl::Status WaitUntilServing(const std::string& service, std::chrono::milliseconds timeout);

 private:
  struct Rep;
  explicit Client(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

// The server's reason ("TRUNCATED_IMAGE"), or an empty string where there is none.
std::string ErrorReason(const absl::Status& status);

// "TRUNCATED_IMAGE: the data ends ...": the reason, or else the code, and the message.
std::string ErrorText(const absl::Status& status);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_CLIENT_H_
