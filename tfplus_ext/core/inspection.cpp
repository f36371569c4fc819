// What is in a table: sizes, keys, and what is known of each.
#include <algorithm>
#include <vector>

#include "table.h"

namespace tfplus {

template <typename Visit>
void Table::each_found(const int64_t* keys, size_t n, Visit visit) {
  Turn turn(*this);
  for (size_t i = 0; i < n; ++i) {
    const uint64_t hash = hash_key(keys[i]);
    Shard& shard = shard_of(hash);
    visit(i, shard, hash, shard.find(keys[i], hash));
  }
}

void Table::counts(const int64_t* keys, size_t n, int64_t* out) {
  each_found(keys, n, [&](size_t i, Shard& shard, uint64_t hash, uint32_t row) {
    const Candidate* candidate = row == kNoRow ? shard.candidate(keys[i], hash) : nullptr;
    out[i] = row != kNoRow ? shard.meta(row).count : candidate != nullptr ? candidate->count : 0;
  });
}

void Table::times(const int64_t* keys, size_t n, int64_t* out) {
  each_found(keys, n, [&](size_t i, Shard& shard, uint64_t hash, uint32_t row) {
    const Candidate* candidate = row == kNoRow ? shard.candidate(keys[i], hash) : nullptr;
    out[i] = row != kNoRow ? int64_t{shard.meta(row).time} : candidate != nullptr ? int64_t{candidate->time} : -1;
  });
}

void Table::contains(const int64_t* keys, size_t n, bool* out) {
  each_found(keys, n, [&](size_t i, Shard&, uint64_t, uint32_t row) { out[i] = row != kNoRow; });
}

void Table::slots(const int64_t* keys, size_t n, float* out) {
  const size_t width = layout_.stride - layout_.width;
  each_found(keys, n, [&](size_t i, Shard& shard, uint64_t, uint32_t row) {
    if (row == kNoRow) {
      std::fill_n(out + i * width, width, 0.0f);
    } else {
      std::copy_n(shard.values(row) + layout_.width, width, out + i * width);
    }
  });
}

size_t Table::erase(const int64_t* keys, size_t n) {
  size_t erased = 0;
  each_found(keys, n, [&](size_t i, Shard& shard, uint64_t hash, uint32_t row) {
    forget_batch();
    shard.erase(keys[i], hash);
    erased += row != kNoRow;
  });
  return erased;
}

size_t Table::size() {
  Turn turn(*this);
  return rows_unlocked();
}

size_t Table::candidates() {
  Turn turn(*this);
  size_t count = 0;
  for (const auto& shard : shards_) count += shard->candidates();
  return count;
}

size_t Table::bytes() {
  Turn turn(*this);
  size_t bytes = last_keys_.bytes();
  for (const auto& shard : shards_) bytes += shard->bytes();
  for (const Group& group : groups_) bytes += group.bytes();
  return bytes;
}

Counters Table::counters() {
  Turn turn(*this);
  return counters_;
}

void Table::set_counters(const Counters& counters) {
  Turn turn(*this);
  counters_ = counters;
}

std::vector<int64_t> Table::keys() {
  Turn turn(*this);
  std::vector<int64_t> found;
  found.reserve(rows_unlocked());
  for (const auto& shard : shards_) {
    shard->each([&](uint32_t row) { found.push_back(shard->meta(row).key); });
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace tfplus
