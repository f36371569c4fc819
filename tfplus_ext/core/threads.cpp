#include "threads.h"

#include <unistd.h>

#include <system_error>
#include <utility>

namespace tfplus {

namespace {

/// Looks before a thread goes to sleep: the parts of a batch follow each other within microseconds.
constexpr int kLooks = 2000;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

Threads::~Threads() {
  if (threads_.empty()) return;
  if (owner_ != getpid()) {
    leave();
    return;
  }
  {
    std::lock_guard<std::mutex> lock(signals_->mutex);
    stopping_ = true;
  }
  signals_->wake.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Threads::start() {
  if (!threads_.empty() && owner_ != getpid()) leave();
  if (!threads_.empty() || size_ < 2) return;
  owner_ = getpid();
  threads_.reserve(size_ - 1);
  try {
    for (size_t part = 1; part < size_; ++part) threads_.emplace_back(&Threads::work, this, part, round_.load());
  } catch (const std::system_error&) {
    // Those that there are will do.
  }
}

void Threads::leave() {
  // The handles can be neither joined nor detached here, and what the parent's threads slept at not even be
  // destroyed: both stay where they are, a few bytes.
  static_cast<void>(new std::vector<std::thread>(std::move(threads_)));
  static_cast<void>(signals_.release());
  signals_ = std::make_unique<Signals>();
  threads_.clear();
}

void Threads::run(const std::function<void(size_t)>& task) {
  start();
  errors_.assign(size_, nullptr);
  task_ = &task;
  left_.store(threads_.size(), std::memory_order_relaxed);
  if (!threads_.empty()) {
    {
      std::lock_guard<std::mutex> lock(signals_->mutex);
      round_.fetch_add(1, std::memory_order_release);
    }
    signals_->wake.notify_all();
  }
  perform(0);
  for (size_t part = threads_.size() + 1; part < size_; ++part) perform(part);
  for (int look = 0; look < kLooks && left_.load(std::memory_order_acquire) != 0; ++look) pause();
  if (left_.load(std::memory_order_acquire) != 0) {
    std::unique_lock<std::mutex> lock(signals_->mutex);
    signals_->done.wait(lock, [&] { return left_.load(std::memory_order_acquire) == 0; });
  }
  for (const std::exception_ptr& error : errors_) {
    if (error) std::rethrow_exception(error);
  }
}

void Threads::perform(size_t part) noexcept {
  try {
    (*task_)(part);
  } catch (...) {
    errors_[part] = std::current_exception();
  }
}

void Threads::work(size_t part, size_t seen) {
  for (;;) {
    for (int look = 0; look < kLooks && round_.load(std::memory_order_acquire) == seen; ++look) pause();
    if (round_.load(std::memory_order_acquire) == seen) {
      std::unique_lock<std::mutex> lock(signals_->mutex);
      signals_->wake.wait(lock, [&] { return stopping_ || round_.load(std::memory_order_acquire) != seen; });
      if (stopping_) return;
    }
    seen = round_.load(std::memory_order_acquire);
    perform(part);
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      std::lock_guard<std::mutex> lock(signals_->mutex);
      signals_->done.notify_one();
    }
  }
}

}  // namespace tfplus
