// A TCP connection on which a test writes what no gRPC client would.
#ifndef PIXEMBED_TESTS_SERVER_RAW_CONNECTION_H_
#define PIXEMBED_TESTS_SERVER_RAW_CONNECTION_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "google/protobuf/message.h"

namespace pixembed {

class RawConnection {
 public:
  // `address`: "127.0.0.1:port".
  explicit RawConnection(const std::string& address)
      : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in target = {};
    target.sin_family = AF_INET;
    target.sin_port =
        htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(socket_, reinterpret_cast<const sockaddr*>(&target), sizeof target) == 0;
  }
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;
  ~RawConnection() { close(socket_); }

  bool connected() const { return connected_; }

  // False: the server has closed.
  bool Send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t sent = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  // Blocks until the server closes the connection; what it sent before.
  std::string ReceiveAll() const {
    std::string received;
    char buffer[4096];
    for (;;) {
      const ssize_t size = recv(socket_, buffer, sizeof buffer, 0);
      if (size <= 0) return received;
      received.append(buffer, static_cast<std::size_t>(size));
    }
  }

  // Blocks until something comes.
  void ReceiveSome() const {
    char buffer[4096];
    (void)recv(socket_, buffer, sizeof buffer, 0);
  }

  // HTTP/2's first words of a client.
  static std::string Preface() {
    return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(/*SETTINGS*/ 4, 0, 0, "");
  }

  static std::string Frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                           std::string_view payload) {
    std::string frame;
    for (int shift = 16; shift >= 0; shift -= 8) {
      frame.push_back(static_cast<char>((payload.size() >> shift) & 0xFF));
    }
    frame.push_back(static_cast<char>(type));
    frame.push_back(static_cast<char>(flags));
    for (int shift = 24; shift >= 0; shift -= 8) {
      frame.push_back(static_cast<char>((stream >> shift) & 0xFF));
    }
    frame.append(payload);
    return frame;
  }

  // The HEADERS frame that begins a call of `method`.
  static std::string CallHeaders(std::uint32_t stream, std::string_view method) {
    std::string block;
    for (const auto& [name, value] :
         {std::pair<std::string_view, std::string_view>{":method", "POST"},
          {":scheme", "http"},
          {":path", method},
          {":authority", "test"},
          {"te", "trailers"},
          {"content-type", "application/grpc"}}) {
      block.push_back(0);  // a literal without indexing, without Huffman code
      block.push_back(static_cast<char>(name.size()));
      block.append(name);
      block.push_back(static_cast<char>(value.size()));
      block.append(value);
    }
    return Frame(/*HEADERS*/ 1, /*END_HEADERS*/ 4, stream, block);
  }

  // The DATA frame that holds a message of up to 16 kB, as gRPC frames it.
  static std::string MessageFrame(std::uint32_t stream, const google::protobuf::Message& message) {
    std::string framed(1, '\0');  // not compressed
    for (int shift = 24; shift >= 0; shift -= 8) {
      framed.push_back(static_cast<char>((message.ByteSizeLong() >> shift) & 0xFF));
    }
    framed += message.SerializeAsString();
    return Frame(/*DATA*/ 0, 0, stream, framed);
  }

 private:
  int socket_;
  bool connected_ = false;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_SERVER_RAW_CONNECTION_H_
