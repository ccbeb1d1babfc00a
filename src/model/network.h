// What a family builds. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_NETWORK_H_
#define PIXEMBED_SRC_MODEL_NETWORK_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "src/image/image.h"

namespace pixembed {

// What is known of a network once it is built.
struct NetworkInfo {
  // The input is cut into patches of this size, row by row; pixels beyond the last whole patch are
  // not looked at. A network that wants whole images says patch == input.
  Size patch;
  int tokens = 0;
  int dimension = 0;
  bool has_cls = false;
  // Every number of the architecture, as text, for the fingerprint.
  std::string architecture;
};

// Immutable, thread-safe.
class Network {
 public:
  Network() = default;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;
  virtual ~Network() = default;

  virtual const NetworkInfo& info() const = 0;

  // `patches`: [N, P, 3 * patch.height * patch.width] float32, normalized pixels, each patch in the
  // order (channel, y, x). That is the order of a convolution's weight, so that the embedding is
  // one matrix product, and [N, 3, H, W] itself where patch == input.
  // Returns the last hidden state: [N, tokens, dimension] float32.
  virtual at::Tensor Forward(const at::Tensor& patches) const = 0;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_NETWORK_H_
