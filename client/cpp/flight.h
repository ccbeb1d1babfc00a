// The images of one stream that were taken from its source and are not answered yet.
#ifndef PIXEMBED_CLIENT_CPP_FLIGHT_H_
#define PIXEMBED_CLIENT_CPP_FLIGHT_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "client/cpp/client.h"
#include "pixembed/v1/embedding.pb.h"

namespace pixembed::client {

// Survives the calls that carry the images: Restart makes all of them ready to be sent again.
//
// Thread-safe, for three threads: the taker's (WaitForRoom, Add, WaitUntilEmpty, Complete), that of
// a call's writer (Next), and that of its reader (all others).
class Flight {
 public:
  struct Item {
    std::uint64_t index = 0;  // by the caller's count
    std::string id;
    std::size_t bytes = 0;
    v1::EmbedRequest request;  // the image; the options, too, where it is the first of a call
  };

  // Outlived by `stream_options`.
  Flight(const EmbedOptions& options, const StreamOptions& stream_options);

  // What an image's request may grow by where it is the first of a call.
  std::size_t header_bytes() const { return header_bytes_; }

  // Waits until one more image may be on its way. False after Close.
  bool WaitForRoom();
  // Waits until its bytes have room, then adds. After Close it does not wait: the image is then
  // among those that TakeAll gives.
  void Add(Item item);
  // Until all that was added has been removed, or Close.
  void WaitUntilEmpty();
  // Nothing more will be added.
  void Complete();
  // The taker waits no more.
  void Close();

  // Waits for what is to be sent next. Nothing when there will be none, or after EndCall.
  std::shared_ptr<const Item> Next();

  // Next gives nothing more.
  void EndCall();
  // Another call begins: all that was not removed is to be sent, in the order of the images.
  void Restart();

  // The image of this number, by the server's count, which begins anew with each call; nothing if
  // it is not on its way.
  std::shared_ptr<const Item> Find(std::uint64_t number) const;
  // It was answered, in the space of `fingerprint`, which is what later calls ask for (empty: it
  // has no vector). REQUIRES: Find found it.
  void Remove(std::uint64_t number, const std::string& fingerprint);

  // Whether an image was ever removed.
  bool AnyAnswered() const;
  // Whether nothing more will be added, and all was removed.
  bool IsFinished() const;
  std::size_t unanswered() const;
  // What was not removed, in the order of the images.
  std::vector<std::shared_ptr<const Item>> TakeAll();

 private:
  const StreamOptions& stream_options_;
  std::size_t header_bytes_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable room_;     // for the taker
  std::condition_variable sending_;  // for the writer
  EmbedOptions options_;
  std::map<std::uint64_t, std::shared_ptr<Item>> unanswered_;  // by the caller's count
  std::deque<std::shared_ptr<Item>> ready_;
  std::map<std::uint64_t, std::shared_ptr<Item>> sent_;  // by the server's count
  std::uint64_t sent_count_ = 0;
  std::size_t bytes_ = 0;
  bool any_answered_ = false;
  bool complete_ = false;
  bool closed_ = false;
  bool call_ended_ = false;
};

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_FLIGHT_H_
