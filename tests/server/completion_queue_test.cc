#include "server/completion_queue.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <vector>

namespace pixembed {
namespace {

// A queue without calls: all that a server has to offer here is the queue.
class CompletionQueueTest : public ::testing::Test {
 protected:
  CompletionQueueTest() {
    grpc::ServerBuilder builder;
    queue_ = std::make_unique<CompletionQueue>(builder.AddCompletionQueue());
    start_ = std::make_unique<Event>(*queue_);
    server_ = builder.BuildAndStart();
    queue_->Start();
  }
  ~CompletionQueueTest() override {
    server_->Shutdown();
    queue_.reset();
  }

  // Runs `body` on the queue's thread and waits for its end. It starts there, as handlers do.
  void RunOnQueue(const std::function<Task()>& body) {
    const auto ended = std::make_shared<std::promise<void>>();
    Drive(*start_, body, ended);
    start_->Set();
    ended->get_future().wait();
  }

  static Detached Drive(Event& start, const std::function<Task()>& body,
                        std::shared_ptr<std::promise<void>> ended) {
    co_await start.Wait();
    co_await body();
    ended->set_value();
  }

  std::unique_ptr<CompletionQueue> queue_;
  std::unique_ptr<Event> start_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(CompletionQueueTest, AnEventSetByAnotherThreadResumesTheWaiterOnTheQueuesThread) {
  std::thread::id before;
  std::thread::id after;
  Event event(*queue_);
  std::jthread setter;
  RunOnQueue([&]() -> Task {
    before = std::this_thread::get_id();
    setter = std::jthread([&event] { event.Set(); });
    co_await event.Wait();
    after = std::this_thread::get_id();
  });
  EXPECT_EQ(before, after);
  EXPECT_NE(before, std::this_thread::get_id());
}

TEST_F(CompletionQueueTest, ASetBeforeTheWaitIsRememberedOnce) {
  Event event(*queue_);
  event.Set();
  event.Set();
  bool second_wait_over = false;
  std::promise<void> first_wait_over;
  std::jthread setter([&] {
    first_wait_over.get_future().wait();
    EXPECT_FALSE(second_wait_over);
    event.Set();
  });
  RunOnQueue([&]() -> Task {
    co_await event.Wait();
    first_wait_over.set_value();
    co_await event.Wait();
    second_wait_over = true;
  });
  EXPECT_TRUE(second_wait_over);
}

TEST_F(CompletionQueueTest, NoSetIsLostWhenManyThreadsSetAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kSets = 2000;
  std::atomic<int> sets = 0;
  Event event(*queue_);
  std::vector<std::jthread> setters;
  RunOnQueue([&]() -> Task {
    for (int i = 0; i < kThreads; ++i) {
      setters.emplace_back([&] {
        for (int set = 0; set < kSets; ++set) {
          ++sets;
          event.Set();
        }
      });
    }
    while (sets < kThreads * kSets) co_await event.Wait();
  });
  EXPECT_EQ(sets, kThreads * kSets);
}

TEST_F(CompletionQueueTest, TheLastSetterMayOutliveTheWaiter) {
  for (int round = 0; round < 200; ++round) {
    auto event = std::make_shared<Event>(*queue_);
    std::vector<std::jthread> setters;
    RunOnQueue([&]() -> Task {
      for (int i = 0; i < 2; ++i) setters.emplace_back([event] { event->Set(); });
      co_await event->Wait();
      event.reset();
    });
  }
}

TEST_F(CompletionQueueTest, ATaskThatHasEndedIsNotWaitedFor) {
  bool ran = false;
  RunOnQueue([&]() -> Task {
    const auto part = [&ran]() -> Task {
      ran = true;
      co_return;
    };
    const Task task = part();
    EXPECT_TRUE(ran);
    EXPECT_TRUE(task.done());
    co_await task;
  });
}

TEST_F(CompletionQueueTest, ATaskRunsBesideItsStarterUntilItIsWaitedFor) {
  std::vector<int> order;
  Event event(*queue_);
  RunOnQueue([&]() -> Task {
    const auto part = [&]() -> Task {
      order.push_back(1);
      co_await event.Wait();
      order.push_back(3);
    };
    const Task task = part();
    order.push_back(2);
    event.Set();
    co_await task;
    order.push_back(4);
  });
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 4}));
}

}  // namespace
}  // namespace pixembed
