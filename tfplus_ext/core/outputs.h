// Memory that answers lie in, used again once Python has let go of them: fresh pages cost more than the lookup.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "memory.h"

namespace tfplus {

class Outputs {
 public:
  /// A block on loan. It may outlive the table.
  class Held {
   public:
    Held(std::shared_ptr<Outputs> outputs, size_t bytes) : outputs_(std::move(outputs)), block_(outputs_->take(bytes)) {}
    ~Held() { outputs_->give(std::move(block_)); }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    void* data() const { return block_.data(); }

   private:
    std::shared_ptr<Outputs> outputs_;
    Block block_;
  };

  Outputs() { kept_.reserve(kKept); }  // so that `give` never allocates

  size_t bytes() {
    std::lock_guard<std::mutex> lock(mutex_);
    size_t bytes = 0;
    for (const Block& block : kept_) bytes += block.bytes();
    return bytes;
  }

 private:
  static constexpr size_t kKept = 4;

  Block take(size_t bytes) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      for (size_t at = kept_.size(); at-- > 0;) {
        if (kept_[at].bytes() < bytes || kept_[at].bytes() > 4 * bytes + 4096) continue;
        Block found = std::move(kept_[at]);
        kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(at));
        return found;
      }
    }
    return Block(bytes < 64 ? 64 : bytes);
  }

  void give(Block&& block) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (kept_.size() == kKept) kept_.erase(kept_.begin());
    kept_.push_back(std::move(block));
  }

  std::mutex mutex_;
  std::vector<Block> kept_;
};

}  // namespace tfplus
