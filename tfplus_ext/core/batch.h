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
  Scratch<uint64_t> hashes;       // … their hashes,
  Scratch<uint32_t> repeats;      // … how often they come,
  Scratch<uint32_t> rows;         // … their rows,
  Scratch<float*> values;         // … and those rows' numbers; null where there is no row
  Scratch<const float*> gradients;  // for `apply`: the gradient of each, …
  Scratch<float> sums;              // … and where those are added up that come more than once

  /// Finds the different keys. Of each, `ask(u)` is called when it comes up, `locate(u)` some keys later, `confirm(u)`
  /// later still: each can ask for the memory that the next one reads.
  template <typename Ask, typename Locate, typename Confirm>
  void distinguish(const int64_t* batch, Ask ask, Locate locate, Confirm confirm);

  size_t bytes() const {
    return which.bytes() + keys.bytes() + hashes.bytes() + repeats.bytes() + rows.bytes() + values.bytes() +
           sums.bytes() + gradients.bytes() + seen_.bytes();
  }

 private:
  /// Open addressing over the different keys of this batch: small, so that it stays in the cache.
  struct Seen {
    uint32_t which_plus_one;  // 0: empty
    uint32_t tag;
  };
  // Shards take the low bits of the hash and the index the high ones: these are the ones between.
  size_t place_of(uint64_t hash) const { return (hash >> 12) & (capacity_ - 1); }
  static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }
  void resize_seen(size_t capacity);
  void widen();

  Scratch<Seen> seen_;
  size_t capacity_ = 0;
};

template <typename Ask, typename Locate, typename Confirm>
void Group::distinguish(const int64_t* batch, Ask ask, Locate locate, Confirm confirm) {
  constexpr size_t block = 128;
  which.resize(count);
  keys.resize(count);
  hashes.resize(count);
  repeats.resize(count);
  rows.resize(count);
  values.resize(count);
  // As large as the last batch needed. It grows when it must.
  size_t wanted = 1024;
  while (wanted < 3 * different) wanted *= 2;
  if (wanted > capacity_ || 8 * wanted < capacity_) capacity_ = wanted;
  resize_seen(capacity_);
  different = 0;
  size_t located = 0, confirmed = 0;
  int64_t some[block];
  uint64_t some_hashes[block];
  for (size_t from = 0; from < count; from += block) {
    const size_t size = count - from < block ? count - from : block;
    for (size_t i = 0; i < size; ++i) {
      some[i] = batch[positions == nullptr ? from + i : positions[from + i]];
      some_hashes[i] = hash_key(some[i]);
      __builtin_prefetch(&seen_[place_of(some_hashes[i])]);
    }
    const size_t before = different;
    for (size_t i = 0; i < size; ++i) {
      const uint64_t hash = some_hashes[i];
      const uint32_t tag = tag_of(hash);
      Seen* const seen = seen_.data();
      size_t at = place_of(hash);
      while (seen[at].which_plus_one != 0 && (seen[at].tag != tag || keys[seen[at].which_plus_one - 1] != some[i])) {
        at = (at + 1) & (capacity_ - 1);
      }
      if (seen[at].which_plus_one != 0) {
        const uint32_t u = seen[at].which_plus_one - 1;
        ++repeats[u];
        which[from + i] = u;
        continue;
      }
      const uint32_t u = static_cast<uint32_t>(different++);
      seen[at] = {u + 1, tag};
      keys[u] = some[i];
      hashes[u] = hash;
      repeats[u] = 1;
      which[from + i] = u;
      ask(u);
      if (2 * different > capacity_) widen();
    }
    for (; located < before; ++located) locate(located);
    for (; confirmed + 2 * block < located; ++confirmed) confirm(confirmed);
  }
  for (; located < different; ++located) locate(located);
  for (; confirmed < different; ++confirmed) confirm(confirmed);
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
