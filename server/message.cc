#include "server/message.h"

#include <grpcpp/impl/codegen/proto_utils.h>

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"

namespace pixembed {

using google::protobuf::Message;

absl::Status ParseMessage(grpc::ByteBuffer& bytes, std::size_t max_bytes, Message& message) {
  const std::size_t size = bytes.Length();
  if (size > max_bytes) {
    bytes.Clear();
    return MessageTooLarge(size, max_bytes);
  }
  const bool parsed = grpc::SerializationTraits<Message>::Deserialize(&bytes, &message).ok();
  bytes.Clear();
  if (parsed) return absl::OkStatus();
  return MakeError(Reason::kMalformedRequest,
                   absl::StrCat("the request message (", size, " bytes) is not a ",
                                message.GetDescriptor()->full_name()));
}

absl::Status MessageTooLarge(std::size_t size, std::size_t max_bytes) {
  return MakeError(Reason::kMessageTooLarge,
                   absl::StrCat("the request message has ", size, " bytes, more than the ",
                                max_bytes, " of --max_message_bytes"));
}

absl::Status NoMessage() {
  return MakeError(Reason::kMalformedRequest, "the call ended without a request message");
}

grpc::ByteBuffer SerializeMessage(const Message& message) {
  grpc::ByteBuffer bytes;
  bool own_buffer = false;
  // Fails only above 2 GiB, which the limits on requests keep out of reach.
  (void)grpc::SerializationTraits<Message>::Serialize(message, &bytes, &own_buffer);
  return bytes;
}

}  // namespace pixembed
