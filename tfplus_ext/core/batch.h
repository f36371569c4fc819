// One batch of keys, split among threads, each key once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hash.h"
#include "memory.h"

namespace tfplus {

constexpr uint32_t kMostShards = 1u << 12;

/// An array that is not filled when it grows, and keeps its memory.
template <typename T>
class Scratch {
 public:
  T* resize(size_t count) {
    if (count * sizeof(T) > block_.bytes()) {
      block_ = Block();
      block_ = Block((count + count / 4) * sizeof(T));
    }
    return data();
  }
  T* data() const { return static_cast<T*>(block_.data()); }
  T& operator[](size_t at) const { return data()[at]; }
  size_t bytes() const { return block_.bytes(); }

 private:
  Block block_;
};

/// The keys of one batch that belong to one thread.
struct Group {
  size_t count = 0;               // keys, repeated ones too
  const uint32_t* positions;      // where they stand in the batch; null: everywhere
  size_t different = 0;
  Scratch<uint32_t> which;        // for each key, which of the different ones it is
  Scratch<int64_t> keys;          // the different ones, in the order they come, …
  Scratch<uint32_t> repeats;      // … how often,
  Scratch<uint32_t> rows;         // … their rows,
  Scratch<float*> values;         // … and those rows' numbers; null where there is no row
  Scratch<uint32_t> slots;        // for `apply`: where gradients are summed
  Scratch<float> sums;
  Scratch<const float*> gradients;

  /// Finds the different keys. `ahead(u)` is called when the u-th comes up, `find(u)` some keys later.
  template <typename Ahead, typename Find>
  void distinguish(const int64_t* batch, Ahead ahead, Find find);

  size_t bytes() const {
    return which.bytes() + keys.bytes() + repeats.bytes() + rows.bytes() + values.bytes() + slots.bytes() +
           sums.bytes() + gradients.bytes() + seen_.bytes();
  }

 private:
  struct Seen {
    int64_t key;
    uint32_t which;
    uint32_t round;
  };
  // Shards take the low bits of the hash and the index the high ones: these are the ones between.
  static size_t place_of(int64_t key) { return hash_key(key) >> 12; }
  void resize_seen(size_t capacity);
  void next_round();
  void widen();

  Scratch<Seen> seen_;
  size_t capacity_ = 0;
  uint32_t round_ = 0;  // entries of other rounds are empty
};

template <typename Ahead, typename Find>
void Group::distinguish(const int64_t* batch, Ahead ahead, Find find) {
  constexpr size_t lag = 16;
  which.resize(count);
  keys.resize(count);
  repeats.resize(count);
  rows.resize(count);
  values.resize(count);
  // As large as the last batch needed: the hot part of a small table stays in the cache. It grows when it must.
  size_t wanted = 1024;
  while (wanted < 3 * different) wanted *= 2;
  if (wanted > capacity_ || 8 * wanted < capacity_) resize_seen(wanted);
  next_round();
  different = 0;
  for (size_t i = 0; i < count; ++i) {
    const int64_t key = batch[positions == nullptr ? i : positions[i]];
    Seen* const seen = seen_.data();
    const size_t mask = capacity_ - 1;
    size_t at = place_of(key) & mask;
    while (seen[at].round == round_ && seen[at].key != key) at = (at + 1) & mask;
    if (seen[at].round == round_) {
      const uint32_t u = seen[at].which;
      ++repeats[u];
      which[i] = u;
      continue;
    }
    const uint32_t u = static_cast<uint32_t>(different++);
    seen[at] = {key, u, round_};
    keys[u] = key;
    repeats[u] = 1;
    which[i] = u;
    ahead(u);
    if (u >= lag) find(u - lag);
    if (2 * different > capacity_) widen();
  }
  for (size_t u = different > lag ? different - lag : 0; u < different; ++u) find(u);
}

/// Positions of a batch by group, in order. Groups are runs of shards.
class Split {
 public:
  /// The part of the batch that `part` of `parts` threads looks at.
  void scan(const int64_t* keys, size_t count, size_t part, size_t parts, uint32_t shard_mask);
  void prepare(size_t parts);
  /// After all parts were scanned: the positions of one group, whole.
  void collect(size_t group, size_t parts, Group& into);

  static size_t group_of(uint64_t hash, uint32_t shard_mask, size_t parts) {
    return ((hash & shard_mask) * parts) / (shard_mask + 1);
  }

 private:
  std::vector<Scratch<uint32_t>> found_;  // [part][group]
  std::vector<size_t> counts_;
  std::vector<Scratch<uint32_t>> joined_;
};

}  // namespace tfplus
