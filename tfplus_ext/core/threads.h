// The threads that share the work of one batch.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace tfplus {

/// Runs a task once for each of `size` parts: part 0 on the caller, the others on threads that wait in between.
/// One caller at a time. Threads start at first use, and again in a child that was forked; where the system gives
/// fewer, the caller does their parts too.
class Threads {
 public:
  explicit Threads(size_t size) : size_(size) {}
  ~Threads();

  size_t size() const { return size_; }

  /// Returns when every part is done. Rethrows the first exception, in the order of the parts.
  void run(const std::function<void(size_t part)>& task);

 private:
  struct Signals {
    std::mutex mutex;
    std::condition_variable wake, done;
  };

  void start();
  /// In a forked child: forgets the parent's threads.
  void leave();
  void work(size_t part, size_t seen);
  void perform(size_t part) noexcept;

  size_t size_;
  pid_t owner_ = 0;
  std::vector<std::thread> threads_;
  std::unique_ptr<Signals> signals_ = std::make_unique<Signals>();
  std::atomic<size_t> round_{0};
  std::atomic<size_t> left_{0};
  std::atomic<bool> stopping_{false};
  const std::function<void(size_t)>* task_ = nullptr;
  std::vector<std::exception_ptr> errors_;
};

}  // namespace tfplus
