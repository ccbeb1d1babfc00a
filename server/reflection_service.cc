#include "server/reflection_service.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <cstddef>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "grpc/reflection/v1alpha/reflection.pb.h"
#include "server/call.h"
#include "server/message.h"
#include "server/status.h"

namespace pixembed {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using grpc::reflection::v1alpha::ServerReflectionRequest;
using grpc::reflection::v1alpha::ServerReflectionResponse;

// A name; nothing here is ever longer.
constexpr std::size_t kMaxRequestBytes = 64 << 10;
constexpr std::chrono::seconds kRetryDelay(1);

const DescriptorPool& Pool() { return *DescriptorPool::generated_pool(); }

void SetError(grpc::StatusCode code, const std::string& text, ServerReflectionResponse& response) {
  response.mutable_error_response()->set_error_code(code);
  response.mutable_error_response()->set_error_message(text);
}

void NotFound(const std::string& what, ServerReflectionResponse& response) {
  SetError(grpc::StatusCode::NOT_FOUND, "there is no " + what, response);
}

// `file` and what it imports, each once.
void AddFile(const FileDescriptor& file, std::set<const FileDescriptor*>& added,
             ServerReflectionResponse& response) {
  if (!added.insert(&file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  response.mutable_file_descriptor_response()->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) {
    AddFile(*file.dependency(i), added, response);
  }
}

void SetFile(const FileDescriptor* file, const std::string& what,
             ServerReflectionResponse& response) {
  if (file == nullptr) return NotFound(what, response);
  std::set<const FileDescriptor*> added;
  AddFile(*file, added, response);
}

void SetExtensionNumbers(const std::string& name, ServerReflectionResponse& response) {
  const Descriptor* const type = Pool().FindMessageTypeByName(name);
  if (type == nullptr) return NotFound("message " + name, response);
  std::vector<const FieldDescriptor*> extensions;
  Pool().FindAllExtensions(type, &extensions);
  auto& numbers = *response.mutable_all_extension_numbers_response();
  numbers.set_base_type_name(name);
  for (const FieldDescriptor* const field : extensions) {
    numbers.add_extension_number(field->number());
  }
}

void SetFileOfExtension(const grpc::reflection::v1alpha::ExtensionRequest& request,
                        ServerReflectionResponse& response) {
  const Descriptor* const type = Pool().FindMessageTypeByName(request.containing_type());
  const FieldDescriptor* const field =
      type == nullptr ? nullptr : Pool().FindExtensionByNumber(type, request.extension_number());
  SetFile(field == nullptr ? nullptr : field->file(),
          "extension " + std::to_string(request.extension_number()) + " of " +
              request.containing_type(),
          response);
}

ServerReflectionResponse AnswerTo(ServerReflectionRequest request,
                                  const std::vector<std::string>& services) {
  ServerReflectionResponse response;
  response.set_valid_host(request.host());
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      SetFile(Pool().FindFileByName(request.file_by_filename()),
              "file " + request.file_by_filename(), response);
      break;
    case ServerReflectionRequest::kFileContainingSymbol:
      SetFile(Pool().FindFileContainingSymbol(request.file_containing_symbol()),
              "symbol " + request.file_containing_symbol(), response);
      break;
    case ServerReflectionRequest::kFileContainingExtension:
      SetFileOfExtension(request.file_containing_extension(), response);
      break;
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      SetExtensionNumbers(request.all_extension_numbers_of_type(), response);
      break;
    case ServerReflectionRequest::kListServices:
      for (const std::string& service : services) {
        response.mutable_list_services_response()->add_service()->set_name(service);
      }
      break;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      SetError(grpc::StatusCode::INVALID_ARGUMENT, "the request asks for nothing", response);
      break;
  }
  *response.mutable_original_request() = std::move(request);
  return response;
}

}  // namespace

ReflectionService::ReflectionService(std::vector<std::string> services, std::stop_token draining)
    : services_(std::move(services)), draining_(std::move(draining)) {}

std::vector<Method> ReflectionService::Methods() {
  return {{.name = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
           .handler = [this](Call& call) { return Answer(call); }}};
}

Task ReflectionService::Answer(Call& call) const {
  const std::stop_callback on_drain(draining_, [&call] { call.Cancel(); });
  absl::Status failure;
  for (;;) {
    grpc::ByteBuffer bytes;
    const bool received = co_await call.Read(&bytes);
    if (!received) break;
    ServerReflectionRequest request;
    failure = ParseMessage(bytes, kMaxRequestBytes, request);
    if (!failure.ok()) break;
    const grpc::ByteBuffer response = SerializeMessage(AnswerTo(std::move(request), services_));
    const bool written = co_await call.Write(response);
    if (!written) break;
  }
  const grpc::Status status = ToGrpcStatus(failure, kRetryDelay);
  co_await call.Finish(status);
}

}  // namespace pixembed
