#include "memory.h"

#include <sys/mman.h>

#include <new>
#include <utility>

namespace tfplus {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;
/// Blocks from here on are asked to lie on huge pages; smaller ones would waste more than they gain.
constexpr size_t kHugeFrom = 2 * kHugePage;
/// Chunks of the first block: small tables touch a few pages of it, so it does without huge pages.
constexpr size_t kFirstChunks = 64;
constexpr size_t kBlockBytes = size_t{64} << 20;

void* map(size_t bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  return data;
}

}  // namespace

Block::Block(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  if (bytes < kHugeFrom) {
    data_ = map(bytes);
    return;
  }
  // Mapped with room to spare, then cut so that it starts at a huge page.
  bytes_ = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  char* start = static_cast<char*>(map(bytes_ + kHugePage));
  const size_t before = (kHugePage - reinterpret_cast<size_t>(start) % kHugePage) % kHugePage;
  if (before != 0) munmap(start, before);
  if (before != kHugePage) munmap(start + before + bytes_, kHugePage - before);
  data_ = start + before;
  madvise(data_, bytes_, MADV_HUGEPAGE);  // only advice: without it everything works, slower
}

Block::Block(Block&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Block& Block::operator=(Block&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Block::~Block() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

Arena::Arena(size_t chunk_bytes) : chunk_bytes_((chunk_bytes + 63) / 64 * 64) {}

void* Arena::take() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!free_.empty()) {
    void* chunk = free_.back();
    free_.pop_back();
    return chunk;
  }
  if (left_ == 0) {
    const bool first = blocks_.empty();
    const size_t chunks = first ? kFirstChunks : kBlockBytes / chunk_bytes_ + 1;
    free_.reserve(chunks_ + chunks);  // so that `give` never allocates
    left_ = chunks;
    blocks_.emplace_back();
    try {
      blocks_.back() = Block(left_ * chunk_bytes_);
    } catch (...) {
      blocks_.pop_back();
      left_ = 0;
      throw;
    }
    chunks_ += chunks;
    next_ = static_cast<char*>(blocks_.back().data());
    if (first) madvise(next_, blocks_.back().bytes(), MADV_NOHUGEPAGE);
  }
  void* chunk = next_;
  next_ += chunk_bytes_;
  --left_;
  return chunk;
}

void Arena::give(void* chunk) {
  std::lock_guard<std::mutex> lock(mutex_);
  free_.push_back(chunk);
}

}  // namespace tfplus
