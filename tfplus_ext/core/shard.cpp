#include "shard.h"

#include <algorithm>
#include <new>
#include <utility>

namespace tfplus {

namespace {

/// Deleted keys that a shard remembers for the next delta whatever its size. Beyond these, and beyond half of the rows
/// that are left, a full snapshot will do better.
constexpr size_t kMostDeleted = size_t{1} << 12;

}  // namespace

uint32_t Shard::insert(int64_t key, uint64_t hash) {
  uint32_t row;
  index_.reserve(index_.size() + 1);
  if (!free_.empty()) {
    row = free_.back();
  } else {
    if (end_ == kNoRow - 1) throw std::bad_alloc();
    if ((end_ >> layout_.shift) == chunks_.size()) {
      const size_t rows = static_cast<size_t>(end_) + layout_.chunk_rows();
      chunks_.reserve(chunks_.size() + 1);
      live_.reserve(rows);
      dirty_.reserve(rows);
      chunks_.push_back(arena_.take());
    }
    row = end_;
  }
  index_.insert(hash, row);
  if (row == end_) {
    ++end_;
  } else {
    free_.pop_back();
  }
  live_.set(row);
  dirty_.set(row);
  meta(row) = {key, 0, 0};
  return row;
}

bool Shard::erase(int64_t key, uint64_t hash) {
  bool known = false;
  if (Candidate* candidate = candidates_.find(key, hash)) {
    candidates_.erase(candidate);
    known = true;
  }
  const uint32_t row = find(key, hash);
  if (row != kNoRow) {
    // What may find no memory comes first.
    if (free_.size() == free_.capacity()) free_.reserve(2 * free_.size() + 64);
    if (frozen_.test(row)) preserve(row);
    index_.erase(hash, row);
    live_.reset(row);
    dirty_.reset(row);
    pending_.reset(row);
    free_.push_back(row);
    known = true;
  }
  if (known) note_deleted(key);
  return known;
}

void Shard::note_deleted(int64_t key) {
  if (forgot_) return;
  if (deleted_.size() >= std::max(kMostDeleted, size() / 2)) {
    // Memory stays bounded where nobody takes snapshots.
    std::vector<int64_t>().swap(deleted_);
    forgot_ = true;
    return;
  }
  deleted_.push_back(key);
}

void Shard::add_candidate(int64_t key, uint64_t hash, uint32_t count, uint32_t time, uint32_t changed) {
  const uint64_t bits = static_cast<uint64_t>(key);
  candidates_.insert({static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32), count, time, changed}, hash);
}

size_t Shard::bytes() const {
  const size_t bitmaps = live_.bytes() + dirty_.bytes() + pending_.bytes() + frozen_.bytes();
  const size_t lists = free_.size() * sizeof(uint32_t) + (deleted_.size() + pending_deleted_.size()) * sizeof(int64_t);
  return chunks_.size() * layout_.chunk_bytes() + index_.bytes() + candidates_.bytes() + bitmaps + lists;
}

void Shard::clear() {
  for (void* chunk : chunks_) arena_.give(chunk);
  chunks_.clear();
  index_.clear();
  candidates_.clear();
  free_.clear();
  end_ = 0;
  for (Bitmap* bitmap : {&live_, &dirty_, &pending_, &frozen_}) bitmap->release();
  preserved_ = {};
  deleted_.clear();
  pending_deleted_.clear();
  // What was there is not noted key by key: only a full snapshot will do.
  forgot_ = true;
  pending_forgot_ = false;
}

// -- snapshots -----------------------------------------------------------------------------------

void Shard::freeze(bool full, Candidates& candidates, std::vector<int64_t>& deleted) {
  candidates_.each([&](Candidate& candidate) {
    if (full || (candidate.changed & Candidate::kDirty) != 0) {
      candidates.keys.push_back(candidate.key());
      candidates.counts.push_back(candidate.count);
      candidates.times.push_back(candidate.time);
    }
    if ((candidate.changed & Candidate::kDirty) != 0) candidate.changed = Candidate::kPending;
  });
  frozen_ = full ? live_ : dirty_;
  taken_ = 0;
  pending_ = std::move(dirty_);
  dirty_ = Bitmap();
  dirty_.reserve(chunks_.size() * static_cast<size_t>(layout_.chunk_rows()));
  if (!full) deleted.insert(deleted.end(), deleted_.begin(), deleted_.end());
  pending_deleted_ = std::exchange(deleted_, {});
  pending_forgot_ = std::exchange(forgot_, false);
}

bool Shard::take(Part& part, size_t rows) {
  if (!preserved_.keys.empty()) {
    // Rows that changed since: their old content was kept aside.
    const size_t count = std::min(rows, preserved_.keys.size());
    const size_t from = preserved_.keys.size() - count;
    part.keys.insert(part.keys.end(), preserved_.keys.begin() + from, preserved_.keys.end());
    part.counts.insert(part.counts.end(), preserved_.counts.begin() + from, preserved_.counts.end());
    part.times.insert(part.times.end(), preserved_.times.begin() + from, preserved_.times.end());
    part.values.insert(part.values.end(), preserved_.values.begin() + from * layout_.stride, preserved_.values.end());
    preserved_.keys.resize(from);
    preserved_.counts.resize(from);
    preserved_.times.resize(from);
    preserved_.values.resize(from * layout_.stride);
    return true;
  }
  size_t left = rows;
  while (taken_ < frozen_.end() && left > 0) {
    const uint32_t to = static_cast<uint32_t>(std::min<size_t>(frozen_.end(), taken_ + std::max<size_t>(64, left / 64 * 64)));
    frozen_.each(taken_, to, [&](uint32_t row) {
      copy_to(part, row);
      frozen_.reset(row);
      if (left > 0) --left;
    });
    taken_ = to;
  }
  return taken_ < frozen_.end() || !preserved_.keys.empty();
}

void Shard::thaw() {
  frozen_.release();
  taken_ = 0;
  preserved_ = {};
}

void Shard::committed() {
  pending_.release();
  pending_deleted_ = {};
  pending_forgot_ = false;
  candidates_.each([](Candidate& candidate) { candidate.changed &= ~Candidate::kPending; });
}

void Shard::aborted() {
  thaw();
  dirty_.merge(pending_);
  pending_.release();
  deleted_.insert(deleted_.begin(), pending_deleted_.begin(), pending_deleted_.end());
  pending_deleted_ = {};
  forgot_ = forgot_ || std::exchange(pending_forgot_, false);
  candidates_.each([](Candidate& candidate) {
    if (candidate.changed != 0) candidate.changed = Candidate::kDirty;
  });
}

void Shard::mark_clean() {
  dirty_.clear();
  pending_.release();
  deleted_ = {};
  pending_deleted_ = {};
  forgot_ = pending_forgot_ = false;
  candidates_.each([](Candidate& candidate) { candidate.changed = 0; });
}

void Shard::preserve(uint32_t row) {
  copy_to(preserved_, row);
  frozen_.reset(row);
}

void Shard::copy_to(Part& part, uint32_t row) const {
  const Meta& known = meta(row);
  if (part.keys.size() == part.keys.capacity()) {
    // Room for all that belongs to a row first: without memory none of it is there.
    const size_t rows = std::max<size_t>(64, 2 * part.keys.size());
    part.values.reserve(rows * layout_.stride);
    part.times.reserve(rows);
    part.counts.reserve(rows);
    part.keys.reserve(rows);
  }
  part.keys.push_back(known.key);
  part.counts.push_back(known.count);
  part.times.push_back(known.time);
  const float* from = values(row);
  part.values.insert(part.values.end(), from, from + layout_.stride);
}

}  // namespace tfplus
