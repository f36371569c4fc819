// Memory from the system in large pieces: zeroed, on huge pages where that pays.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

namespace tfplus {

/// A zeroed block of memory, freed with its owner. Throws std::bad_alloc.
class Block {
 public:
  Block() = default;
  explicit Block(size_t bytes);
  Block(Block&& other) noexcept;
  Block& operator=(Block&& other) noexcept;
  ~Block();

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

/// Chunks of one size, carved from blocks that many chunks share, so that a huge page is not half empty
/// at the end of every chunk. Safe to use from several threads.
class Arena {
 public:
  explicit Arena(size_t chunk_bytes);

  /// A chunk, 64-byte aligned; its content is unspecified. Throws std::bad_alloc.
  void* take();
  void give(void* chunk);

  size_t chunk_bytes() const { return chunk_bytes_; }

 private:
  std::mutex mutex_;
  size_t chunk_bytes_;
  std::vector<Block> blocks_;
  std::vector<void*> free_;
  char* next_ = nullptr;
  size_t left_ = 0;
  size_t chunks_ = 0;  // carved or to be carved
};

}  // namespace tfplus
