// Which rows go: by age, frequency or norm, and down to a number of rows.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <tuple>
#include <vector>

#include "table.h"

namespace tfplus {

namespace {

/// The order in which rows go: longest unseen first, then least seen, then by key. The same in every run.
using Rank = std::tuple<uint32_t, uint32_t, int64_t>;

Rank rank_of(const Meta& meta) { return {meta.time, meta.count, meta.key}; }

bool falls(const Eviction& eviction, const Meta& meta, const float* values, size_t width) {
  if (eviction.by_time && meta.time < eviction.before) return true;
  if (eviction.by_count && meta.count < eviction.min_count) return true;
  if (!eviction.by_norm) return false;
  double squares = 0;
  for (size_t i = 0; i < width; ++i) squares += static_cast<double>(values[i]) * values[i];
  return std::sqrt(squares) < eviction.min_norm;
}

}  // namespace

size_t Table::evict(const Eviction& eviction) {
  Turn turn(*this);
  return evict_unlocked(eviction);
}

size_t Table::evict_unlocked(const Eviction& eviction) {
  forget_batch();
  const auto erase_all = [](Shard& shard, const std::vector<int64_t>& keys) {
    for (int64_t key : keys) shard.erase(key, hash_key(key));
  };
  std::atomic<size_t> evicted{0};
  const auto each_shard = [&](const std::function<void(Shard&)>& task) {
    threads_.run([&](size_t part) {
      for (size_t i = part; i < shards_.size(); i += threads_.size()) task(*shards_[i]);
    });
  };
  each_shard([&](Shard& shard) {
    std::vector<int64_t> keys;
    shard.each([&](uint32_t row) {
      if (falls(eviction, shard.meta(row), shard.values(row), layout_.width)) keys.push_back(shard.meta(row).key);
    });
    evicted += keys.size();
    // Candidates have an age too; how often they were seen is what they are waiting for.
    shard.each_candidate([&](const Candidate& candidate) {
      if (eviction.by_time && candidate.time < eviction.before) keys.push_back(candidate.key());
    });
    erase_all(shard, keys);
  });
  const size_t rows = rows_unlocked();
  if (eviction.by_rows && rows > eviction.max_rows) {
    const size_t surplus = rows - eviction.max_rows;
    // How many rows there are of each time, in 65536 steps: only those of one step need be put in order.
    uint32_t first = UINT32_MAX, last = 0;
    for (const auto& shard : shards_) {
      shard->each([&](uint32_t row) {
        first = std::min(first, shard->meta(row).time);
        last = std::max(last, shard->meta(row).time);
      });
    }
    const uint64_t step = (uint64_t{last} - first) / 65536 + 1;
    std::vector<size_t> histogram(65536, 0);
    for (const auto& shard : shards_) {
      shard->each([&](uint32_t row) { ++histogram[(shard->meta(row).time - first) / step]; });
    }
    size_t at = 0, before = 0;
    while (before + histogram[at] < surplus) before += histogram[at++];
    std::vector<Rank> ranks;
    ranks.reserve(histogram[at]);
    for (const auto& shard : shards_) {
      shard->each([&](uint32_t row) {
        const Meta& meta = shard->meta(row);
        if ((meta.time - first) / step == at) ranks.push_back(rank_of(meta));
      });
    }
    const auto bound = ranks.begin() + static_cast<std::ptrdiff_t>(surplus - before - 1);
    std::nth_element(ranks.begin(), bound, ranks.end());
    const Rank highest = *bound;
    each_shard([&](Shard& shard) {
      std::vector<int64_t> keys;
      shard.each([&](uint32_t row) {
        if (rank_of(shard.meta(row)) <= highest) keys.push_back(shard.meta(row).key);
      });
      evicted += keys.size();
      erase_all(shard, keys);
    });
  }
  counters_.evicted += evicted;
  return evicted;
}

void Table::trim_candidates() {
  if (options_.max_rows == 0) return;
  size_t count = 0;
  for (const auto& shard : shards_) count += shard->candidates();
  if (count <= options_.max_rows) return;
  std::vector<Rank> ranks;
  ranks.reserve(count);
  for (const auto& shard : shards_) {
    shard->each_candidate([&](const Candidate& each) { ranks.emplace_back(each.time, each.count, each.key()); });
  }
  // A tenth at a time, as with rows.
  const auto bound = ranks.begin() + static_cast<std::ptrdiff_t>(count - (options_.max_rows - options_.max_rows / 10));
  std::nth_element(ranks.begin(), bound, ranks.end());
  for (auto rank = ranks.begin(); rank != bound; ++rank) {
    const int64_t key = std::get<2>(*rank);
    const uint64_t hash = hash_key(key);
    shard_of(hash).erase(key, hash);
  }
}

}  // namespace tfplus
