// One bit for every row of a shard.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tfplus {

class Bitmap {
 public:
  bool test(uint32_t at) const { return (at >> 6) < words_.size() && (words_[at >> 6] >> (at & 63)) & 1; }
  void set(uint32_t at) {
    if ((at >> 6) >= words_.size()) words_.resize((at >> 6) + 1);
    words_[at >> 6] |= uint64_t{1} << (at & 63);
  }
  void reset(uint32_t at) {
    if ((at >> 6) < words_.size()) words_[at >> 6] &= ~(uint64_t{1} << (at & 63));
  }
  void clear() { words_.assign(words_.size(), 0); }
  void release() { std::vector<uint64_t>().swap(words_); }
  /// Room for bits below `count`, so that `set` does not allocate. Throws std::bad_alloc.
  void reserve(size_t count) { words_.reserve((count + 63) / 64); }
  size_t bytes() const { return words_.capacity() * sizeof(uint64_t); }
  /// Bits beyond this are 0.
  uint32_t end() const { return static_cast<uint32_t>(words_.size() * 64); }

  size_t count() const {
    size_t found = 0;
    for (uint64_t word : words_) found += static_cast<size_t>(__builtin_popcountll(word));
    return found;
  }

  void merge(const Bitmap& other) {
    if (other.words_.size() > words_.size()) words_.resize(other.words_.size());
    for (size_t at = 0; at < other.words_.size(); ++at) words_[at] |= other.words_[at];
  }

  /// Calls `visit(at)` for the bits set in [from, to), rising; a bit may be reset while it is visited.
  template <typename Visit>
  void each(uint32_t from, uint32_t to, Visit visit) const {
    if (to > end()) to = end();
    for (uint32_t base = from & ~63u; base < to; base += 64) {
      uint64_t word = words_[base >> 6];
      if (base < from) word &= ~uint64_t{0} << (from - base);
      if (to - base < 64) word &= (uint64_t{1} << (to - base)) - 1;
      for (; word != 0; word &= word - 1) visit(base + static_cast<uint32_t>(__builtin_ctzll(word)));
    }
  }
  template <typename Visit>
  void each(Visit visit) const {
    each(0, end(), visit);
  }

 private:
  std::vector<uint64_t> words_;
};

}  // namespace tfplus
