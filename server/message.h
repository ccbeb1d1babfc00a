// Bytes on the wire <-> protobuf messages.
#ifndef PIXEMBED_SERVER_MESSAGE_H_
#define PIXEMBED_SERVER_MESSAGE_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace pixembed {

// Parses `bytes` and frees them, whatever comes out.
// Errors: MESSAGE_TOO_LARGE (both sizes and the flag in the text); MALFORMED_REQUEST.
absl::Status ParseMessage(grpc::ByteBuffer& bytes, std::size_t max_bytes,
                          google::protobuf::Message& message);

// MESSAGE_TOO_LARGE for a message of `size` bytes: both numbers and the flag.
absl::Status MessageTooLarge(std::size_t size, std::size_t max_bytes);

// What a call that needs a message gets when it ends without one: MALFORMED_REQUEST.
absl::Status NoMessage();

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_MESSAGE_H_
