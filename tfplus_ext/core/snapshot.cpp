// A table's content at one instant, taken in pieces while training goes on.
#include <algorithm>
#include <stdexcept>

#include "table.h"

namespace tfplus {

Table::Changes Table::changes() {
  Turn turn(*this);
  Changes changes{0, 0, true};
  for (const auto& shard : shards_) {
    changes.rows += shard->changed_rows();
    changes.deleted += shard->deleted_keys();
    changes.known = changes.known && !shard->forgot_deletions();
  }
  return changes;
}

Table::Frozen Table::freeze(bool full) {
  Turn turn(*this);
  if (in_flight_) throw std::runtime_error("the last snapshot is neither committed nor aborted");
  Frozen frozen{++tickets_, 0, {}, {}, counters_};
  try {
    for (const auto& shard : shards_) {
      frozen.rows += full ? shard->size() : shard->changed_rows();
      shard->freeze(full, frozen.candidates, frozen.deleted);
    }
  } catch (...) {
    for (const auto& shard : shards_) shard->aborted();
    throw;
  }
  ticket_ = frozen.ticket;
  taking_ = 0;
  in_flight_ = true;
  return frozen;
}

bool Table::take(uint64_t ticket, Part& part, size_t rows) {
  Turn turn(*this, Turn::For::snapshot);
  if (ticket != ticket_) throw std::runtime_error("the snapshot was aborted, or its table cleared");
  const size_t before = part.keys.size();
  while (taking_ < shards_.size()) {
    const bool more = shards_[taking_]->take(part, rows);
    if (!more) shards_[taking_++]->thaw();
    if (part.keys.size() > before) return true;
  }
  return false;
}

void Table::committed() {
  Turn turn(*this);
  for (const auto& shard : shards_) {
    shard->thaw();
    shard->committed();
  }
  ticket_ = 0;
  in_flight_ = false;
}

void Table::aborted() {
  Turn turn(*this);
  if (in_flight_) {
    for (const auto& shard : shards_) shard->aborted();
  }
  ticket_ = 0;
  in_flight_ = false;
}

void Table::load(const Part& part) {
  Turn turn(*this);
  load_unlocked(part);
}

void Table::load(const Candidates& candidates) {
  Turn turn(*this);
  load_unlocked(candidates);
}

void Table::mark_clean() {
  Turn turn(*this);
  for (const auto& shard : shards_) shard->mark_clean();
}

void Table::take_over(const Content& content) {
  Turn turn(*this);
  if (content.whole) clear_unlocked();
  for (const int64_t key : content.deleted) {
    const uint64_t hash = hash_key(key);
    shard_of(hash).erase(key, hash);
  }
  load_unlocked(content.candidates);
  load_unlocked(content.rows);
  counters_ = content.counters;
  if (!content.whole) return;
  for (const auto& shard : shards_) shard->mark_clean();
}

void Table::load_unlocked(const Part& part) {
  forget_batch();
  for (size_t i = 0; i < part.keys.size(); ++i) {
    const uint64_t hash = hash_key(part.keys[i]);
    Shard& shard = shard_of(hash);
    if (Candidate* candidate = shard.candidate(part.keys[i], hash)) shard.drop_candidate(candidate);
    uint32_t row = shard.find(part.keys[i], hash);
    if (row == kNoRow) row = shard.insert(part.keys[i], hash);
    shard.touch(row);
    shard.meta(row).count = part.counts[i];
    shard.meta(row).time = part.times[i];
    const float* from = part.values.data() + i * layout_.stride;
    std::copy(from, from + layout_.stride, shard.values(row));
  }
}

void Table::load_unlocked(const Candidates& candidates) {
  forget_batch();
  for (size_t i = 0; i < candidates.keys.size(); ++i) {
    const int64_t key = candidates.keys[i];
    const uint64_t hash = hash_key(key);
    Shard& shard = shard_of(hash);
    shard.erase(key, hash);
    shard.add_candidate(key, hash, candidates.counts[i], candidates.times[i], 0);
  }
}

}  // namespace tfplus
