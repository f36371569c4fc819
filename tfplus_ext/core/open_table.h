// Open addressing with linear probing, in the order of the hash: growing is one pass over memory, and removal
// closes the gap, so that no tombstones are left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hash.h"
#include "memory.h"
#include "probing.h"

namespace tfplus {

/// `Entry` is trivially copyable, all zeros when empty, and has `empty()` and `key()`.
template <typename Entry>
class OpenTable {
 public:
  /// `max_load`: grow beyond this share of used entries. Tables that differ in it do not grow at the same moment.
  explicit OpenTable(double max_load) : max_load_(max_load) {}

  size_t size() const { return size_; }
  size_t bytes() const { return block_.bytes(); }

  Entry* find(int64_t key, uint64_t hash) const {
    if (capacity_ == 0) return nullptr;
    for (size_t at = home(hash);; at = next(at)) {
      Entry& entry = entries()[at];
      if (entry.empty()) return nullptr;
      if (entry.key() == key) return &entry;
    }
  }

  /// Adds an entry whose key is not there. Throws std::bad_alloc, nothing changed.
  void insert(const Entry& entry, uint64_t hash) {
    if (size_ >= limit_) grow(size_ + 1);
    place(entry, hash);
    ++size_;
  }

  /// Removes the entry that `find` returned.
  void erase(Entry* entry) {
    size_t gap = static_cast<size_t>(entry - entries());
    for (size_t at = next(gap);; at = next(at)) {
      const Entry& moved = entries()[at];
      if (moved.empty()) break;
      if (!fills(gap, home(hash_key(moved.key())), at)) continue;
      entries()[gap] = moved;
      gap = at;
    }
    std::memset(static_cast<void*>(entries() + gap), 0, sizeof(Entry));
    --size_;
  }

  template <typename Visit>
  void each(Visit visit) const {
    for (size_t at = 0; at < capacity_; ++at) {
      if (!entries()[at].empty()) visit(entries()[at]);
    }
  }

  void clear() {
    block_ = Block();
    capacity_ = limit_ = size_ = 0;
  }

 private:
  Entry* entries() const { return static_cast<Entry*>(block_.data()); }
  size_t home(uint64_t hash) const {
    return static_cast<size_t>((static_cast<unsigned __int128>(hash) * capacity_) >> 64);
  }
  size_t next(size_t at) const { return at + 1 == capacity_ ? 0 : at + 1; }

  void place(const Entry& entry, uint64_t hash) {
    size_t at = home(hash);
    while (!entries()[at].empty()) at = next(at);
    entries()[at] = entry;
  }

  void grow(size_t count) {
    // By a quarter: a table's index then never takes much more than it must, and all entries lie in hash order.
    size_t capacity = capacity_ < 1024 ? 2 * capacity_ + 16 : capacity_ + capacity_ / 4;
    while (static_cast<size_t>(max_load_ * static_cast<double>(capacity)) < count) capacity += capacity / 4;
    OpenTable larger(max_load_);
    larger.block_ = Block(capacity * sizeof(Entry));
    larger.capacity_ = capacity;
    each([&](const Entry& entry) { larger.place(entry, hash_key(entry.key())); });
    block_ = std::move(larger.block_);
    capacity_ = capacity;
    limit_ = static_cast<size_t>(max_load_ * static_cast<double>(capacity));
  }

  double max_load_;
  Block block_;
  size_t capacity_ = 0;
  size_t limit_ = 0;
  size_t size_ = 0;
};

}  // namespace tfplus
