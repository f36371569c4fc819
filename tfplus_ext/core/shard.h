// A part of a table that one thread at a time works on: an index, rows, and what changed since the last snapshot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitmap.h"
#include "layout.h"
#include "memory.h"
#include "open_table.h"
#include "row_index.h"

namespace tfplus {

/// A key that was seen and is not yet admitted. `count` is at least 1.
struct Candidate {
  uint32_t low, high;
  uint32_t count;
  uint32_t time;
  uint32_t changed;  // kDirty, kPending

  static constexpr uint32_t kDirty = 1, kPending = 2;

  bool empty() const { return count == 0; }
  int64_t key() const { return static_cast<int64_t>(uint64_t{high} << 32 | low); }
};

/// Rows copied out of a table: what a snapshot writes, and what a restore reads.
struct Part {
  std::vector<int64_t> keys;
  std::vector<uint32_t> counts, times;
  std::vector<float> values;  // `stride` numbers a row
};

struct Candidates {
  std::vector<int64_t> keys;
  std::vector<uint32_t> counts, times;
};

class Shard {
 public:
  Shard(const Layout& layout, Arena& rows, Arena& index, double max_load)
      : layout_(layout), arena_(rows), index_(index, max_load), candidates_(max_load) {}
  ~Shard() { clear(); }
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // -- rows ------------------------------------------------------------------------------------

  uint32_t find(int64_t key, uint64_t hash) const {
    return index_.find(hash, [&](uint32_t row) { return meta(row).key == key; });
  }
  /// The same in three steps, so that memory can be asked for ahead: `prefetch`, then `guess`, whose row is the right
  /// one but for a rare clash of hashes, then `confirm`.
  void prefetch(uint64_t hash) const { index_.prefetch(hash); }
  uint32_t guess(uint64_t hash) const {
    const uint32_t row = index_.find(hash, [](uint32_t) { return true; });
    if (row != kNoRow) {
      __builtin_prefetch(&meta(row), 1);
      __builtin_prefetch(values(row));
    }
    return row;
  }
  uint32_t confirm(uint32_t guessed, int64_t key, uint64_t hash) const {
    return guessed == kNoRow || meta(guessed).key == key ? guessed : find(key, hash);
  }
  /// A row for a key that has none: count 0, its numbers unspecified. Throws std::bad_alloc, nothing changed.
  uint32_t insert(int64_t key, uint64_t hash);
  /// Removes a row and forgets a candidate; false where the key is neither.
  bool erase(int64_t key, uint64_t hash);

  float* values(uint32_t row) const {
    return chunk(row) + (row & (layout_.chunk_rows() - 1)) * layout_.stride;
  }
  Meta& meta(uint32_t row) const {
    float* end = chunk(row) + layout_.chunk_rows() * layout_.stride;
    return reinterpret_cast<Meta*>(end)[row & (layout_.chunk_rows() - 1)];
  }
  /// To be called before a row changes.
  void touch(uint32_t row) {
    if (frozen_.test(row)) preserve(row);
    dirty_.set(row);
  }

  size_t size() const { return index_.size(); }
  size_t bytes() const;
  /// Removes everything; a delta cannot tell what.
  void clear();

  template <typename Visit>
  void each(Visit visit) const {
    live_.each([&](uint32_t row) { visit(row); });
  }

  // -- candidates ------------------------------------------------------------------------------

  Candidate* candidate(int64_t key, uint64_t hash) const { return candidates_.find(key, hash); }
  void add_candidate(int64_t key, uint64_t hash, uint32_t count, uint32_t time, uint32_t changed);
  void drop_candidate(Candidate* candidate) { candidates_.erase(candidate); }
  size_t candidates() const { return candidates_.size(); }
  template <typename Visit>
  void each_candidate(Visit visit) const {
    candidates_.each(visit);
  }

  // -- snapshots -------------------------------------------------------------------------------

  /// Everything, or what is marked as changed, now stays to be taken as it is at this instant.
  void freeze(bool full, Candidates& candidates, std::vector<int64_t>& deleted);
  /// Moves up to `rows` frozen rows into `part`; false when none are left.
  bool take(Part& part, size_t rows);
  /// What was frozen and not taken is forgotten.
  void thaw();
  /// The changes up to the last freeze are durable.
  void committed();
  /// They will never be: they count as changed again.
  void aborted();
  /// Nothing counts as changed.
  void mark_clean();

  size_t changed_rows() const { return dirty_.count(); }
  size_t deleted_keys() const { return deleted_.size(); }
  bool forgot_deletions() const { return forgot_; }

 private:
  float* chunk(uint32_t row) const { return static_cast<float*>(chunks_[row >> layout_.shift]); }
  void preserve(uint32_t row);
  void copy_to(Part& part, uint32_t row) const;
  void note_deleted(int64_t key);

  const Layout layout_;  // its own copy: read for every row
  Arena& arena_;
  RowIndex index_;
  OpenTable<Candidate> candidates_;
  std::vector<void*> chunks_;
  std::vector<uint32_t> free_;
  uint32_t end_ = 0;  // rows ever used
  Bitmap live_, dirty_, pending_, frozen_;
  uint32_t taken_ = 0;  // frozen rows before this are taken, or preserved
  Part preserved_;
  std::vector<int64_t> deleted_, pending_deleted_;
  bool forgot_ = false, pending_forgot_ = false;
};

}  // namespace tfplus
