// Key → row of one shard: open addressing with linear probing, in the order of the hash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "memory.h"
#include "probing.h"

namespace tfplus {

constexpr uint32_t kNoRow = 0xFFFFFFFF;

/// Eight bytes a row: its number, and the upper half of its key's hash. Whoever asks compares the key beside the row,
/// which is needed then anyway. Growing looks at nothing but these; removal closes the gap and leaves no tombstone.
/// The entries lie in pieces of one size, on huge pages that all indexes share.
class RowIndex {
 public:
  static constexpr size_t kPieceBytes = size_t{1} << 16;

  /// `max_load`: grow beyond this share of used entries. Indexes that differ in it do not grow at the same moment.
  RowIndex(Arena& arena, double max_load) : arena_(arena), max_load_(max_load) {}
  ~RowIndex() { clear(); }
  RowIndex(const RowIndex&) = delete;
  RowIndex& operator=(const RowIndex&) = delete;

  size_t size() const { return size_; }
  size_t bytes() const { return capacity_ * sizeof(Entry); }

  void prefetch(uint64_t hash) const {
    if (capacity_ == 0) return;
    const size_t at = home(tag_of(hash));
    __builtin_prefetch(&entry(at));
    __builtin_prefetch(reinterpret_cast<const char*>(&entry(at)) + 48);  // where the search may go on
  }

  /// The first row with that hash for which `is_it(row)`; kNoRow where there is none.
  template <typename IsIt>
  uint32_t find(uint64_t hash, IsIt is_it) const {
    if (capacity_ == 0) return kNoRow;
    const uint32_t tag = tag_of(hash);
    for (size_t at = home(tag);; at = next(at)) {
      const Entry& found = entry(at);
      if (found.row_plus_one == 0) return kNoRow;
      if (found.tag == tag && is_it(found.row_plus_one - 1)) return found.row_plus_one - 1;
    }
  }

  /// Adds a row that is not there. Throws std::bad_alloc, nothing changed.
  void insert(uint64_t hash, uint32_t row) {
    reserve(size_ + 1);
    place({row + 1, tag_of(hash)});
    ++size_;
  }

  /// Room for `count` rows in all. Throws std::bad_alloc, nothing changed.
  void reserve(size_t count) {
    if (count > limit_) grow(count);
  }

  /// Removes a row that is there.
  void erase(uint64_t hash, uint32_t row) {
    size_t gap = home(tag_of(hash));
    while (entry(gap).row_plus_one != row + 1) gap = next(gap);
    for (size_t at = next(gap); entry(at).row_plus_one != 0; at = next(at)) {
      if (!fills(gap, home(entry(at).tag), at)) continue;
      entry(gap) = entry(at);
      gap = at;
    }
    entry(gap) = {0, 0};
    --size_;
  }

  void clear() {
    give(pieces_);
    capacity_ = limit_ = size_ = 0;
  }

 private:
  struct Entry {
    uint32_t row_plus_one;  // 0: empty
    uint32_t tag;
  };
  static constexpr size_t kShift = 13;
  static constexpr size_t kPerPiece = size_t{1} << kShift;
  static_assert(kPerPiece * sizeof(Entry) == kPieceBytes);

  static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }
  size_t home(uint32_t tag) const { return static_cast<size_t>((uint64_t{tag} * capacity_) >> 32); }
  size_t next(size_t at) const { return at + 1 == capacity_ ? 0 : at + 1; }
  Entry& entry(size_t at) const { return static_cast<Entry*>(pieces_[at >> kShift])[at & (kPerPiece - 1)]; }

  void place(Entry added) {
    size_t at = home(added.tag);
    while (entry(at).row_plus_one != 0) at = next(at);
    entry(at) = added;
  }

  void give(std::vector<void*>& pieces) {
    for (void* piece : pieces) arena_.give(piece);
    pieces.clear();
  }

  void grow(size_t count) {
    // By a quarter: an index then never takes much more than it must.
    size_t capacity = capacity_ < 1024 ? 2 * capacity_ + 16 : capacity_ + capacity_ / 4;
    while (static_cast<size_t>(max_load_ * static_cast<double>(capacity)) < count) capacity += capacity / 4;
    if (capacity > kPerPiece) capacity = (capacity + kPerPiece - 1) / kPerPiece * kPerPiece;
    std::vector<void*> pieces;
    pieces.reserve((capacity + kPerPiece - 1) / kPerPiece);
    try {
      while (pieces.size() < pieces.capacity()) pieces.push_back(arena_.take());
    } catch (...) {
      give(pieces);
      throw;
    }
    for (size_t left = capacity, at = 0; left > 0; ++at) {
      const size_t part = left < kPerPiece ? left : kPerPiece;
      std::memset(pieces[at], 0, part * sizeof(Entry));
      left -= part;
    }
    pieces_.swap(pieces);
    const size_t before = std::exchange(capacity_, capacity);
    limit_ = static_cast<size_t>(max_load_ * static_cast<double>(capacity));
    for (size_t at = 0; at < before; ++at) {
      const Entry moved = static_cast<Entry*>(pieces[at >> kShift])[at & (kPerPiece - 1)];
      if (moved.row_plus_one != 0) place(moved);
    }
    give(pieces);
  }

  Arena& arena_;
  double max_load_;
  std::vector<void*> pieces_;
  size_t capacity_ = 0;
  size_t limit_ = 0;
  size_t size_ = 0;
};

}  // namespace tfplus
