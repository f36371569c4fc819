#include "table.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace tfplus {

namespace {

/// Batches below this are not worth waking a thread for.
constexpr size_t kSmallBatch = 4096;

size_t stride_of(const OptimizerInfo& optimizer, size_t width) {
  size_t stride = width;
  for (const SlotInfo& slot : optimizer.slots) stride += slot.per_row ? 1 : width;
  return stride;
}

const OptimizerInfo& optimizer_of(const std::string& name) {
  const OptimizerInfo* found = find_optimizer(name);
  if (found == nullptr) throw std::invalid_argument("no optimizer is called " + name);
  return *found;
}

const TableOptions& checked(const TableOptions& options) {
  if (options.width < 1 || options.width > 1024) throw std::invalid_argument("width must be from 1 to 1024");
  if (options.threads < 1 || options.threads > 256) throw std::invalid_argument("threads must be from 1 to 256");
  const size_t shards = options.shards;
  if (shards < 1 || shards > kMostShards || (shards & (shards - 1)) != 0) {
    throw std::invalid_argument("shards must be a power of two, at most " + std::to_string(kMostShards));
  }
  return options;
}

}  // namespace

Table::Table(const TableOptions& options)
    : options_(checked(options)),
      kernels_(kernels()),
      optimizer_(optimizer_of(options.optimizer)),
      layout_(options.width, stride_of(optimizer_, options.width)),
      initializer_(options.initializer, options.initial, options.seed),
      shard_mask_(static_cast<uint32_t>(options.shards - 1)),
      arena_(layout_.chunk_bytes()),
      index_arena_(RowIndex::kPieceBytes),
      threads_(std::min(options.threads, options.shards)) {
  const std::vector<ParameterInfo>& known = optimizer_.parameters;
  if (options_.parameters.size() != known.size()) throw std::invalid_argument("a parameter is missing");
  for (const SlotInfo& slot : optimizer_.slots) {
    double initial = 0;
    for (size_t i = 0; i < known.size(); ++i) {
      if (known[i].name == slot.initial) initial = options_.parameters[i];
    }
    first_slots_.insert(first_slots_.end(), slot.per_row ? 1 : layout_.width, static_cast<float>(initial));
  }
  for (size_t i = 0; i < options_.shards; ++i) {
    // From 0.70 to 0.80, each its own: shards fill at the same rate and should not grow in the same step.
    const double spread = 0.6180339887498949 * static_cast<double>(i);
    shards_.push_back(std::make_unique<Shard>(layout_, arena_, index_arena_, 0.70 + 0.10 * (spread - std::floor(spread))));
  }
  groups_.resize(threads_.size());
}

// -- batches -------------------------------------------------------------------------------------

void Table::each_group(const std::function<void(Group&)>& task) {
  if (used_groups_ == 1) return task(groups_[0]);
  threads_.run([&](size_t part) { task(groups_[part]); });
}

void Table::find(const int64_t* keys, size_t n, const std::function<void(Group&)>& then) {
  if (n > std::numeric_limits<uint32_t>::max() - 1) throw std::length_error("a batch has at most 2^32 - 2 keys");
  forget_batch();
  int64_t* kept = last_keys_.resize(n);
  last_count_ = n;
  used_groups_ = n < kSmallBatch ? 1 : threads_.size();
  if (used_groups_ == 1) {
    groups_[0].positions = nullptr;
    groups_[0].count = n;
    std::copy_n(keys, n, kept);
  } else {
    split_.prepare(used_groups_);
    threads_.run([&](size_t part) {
      split_.scan(keys, n, part, used_groups_, shard_mask_);
      const size_t from = n * part / used_groups_, to = n * (part + 1) / used_groups_;
      std::copy(keys + from, keys + to, kept + from);
    });
  }
  each_group([&](Group& group) {
    if (used_groups_ > 1) split_.collect(static_cast<size_t>(&group - groups_.data()), used_groups_, group);
    group.distinguish(
        keys, [&](size_t u) { shard_of(group.hashes[u]).prefetch(group.hashes[u]); },
        [&](size_t u) { group.rows[u] = shard_of(group.hashes[u]).guess(group.hashes[u]); },
        [&](size_t u) {
          const Shard& shard = shard_of(group.hashes[u]);
          const uint32_t row = shard.confirm(group.rows[u], group.keys[u], group.hashes[u]);
          group.rows[u] = row;
          group.values[u] = row == kNoRow ? nullptr : shard.values(row);
        });
    if (then) then(group);
  });
}

bool Table::carried(const int64_t* keys, size_t n) const {
  return carried_ && n == last_count_ && std::equal(keys, keys + n, last_keys_.data());
}

void Table::gather(const Group& group, float* out) const {
  kernels_.gather(out, group.positions, group.which.data(), group.values.data(), group.count, layout_.width);
}

void Table::look(const int64_t* keys, size_t n, Unseen unseen, float* out) {
  Turn turn(*this);
  find(keys, n, [&](Group& group) {
    if (unseen == Unseen::first_value) fill_missing(group);
    gather(group, out);
  });
}

void Table::fill_missing(Group& group) {
  size_t missing = 0;
  for (size_t u = 0; u < group.different; ++u) missing += group.values[u] == nullptr;
  float* row = group.sums.resize(missing * layout_.width);
  for (size_t u = 0; u < group.different; ++u) {
    if (group.values[u] != nullptr) continue;
    initializer_.fill(group.keys[u], row, layout_.width);
    group.values[u] = row;
    row += layout_.width;
  }
}

void Table::lookup(const int64_t* keys, size_t n, float* out) {
  Turn turn(*this);
  const auto learn = [&](Group& group) {
    admit(group);
    gather(group, out);
  };
  if (options_.max_rows == 0) {
    find(keys, n, learn);
  } else {
    find(keys, n);
    make_room(keys, n, false);
    each_group(learn);
    if (options_.admission == Admission::count) trim_candidates();
  }
  ++counters_.lookups;
  carried_ = true;
  carried_tickets_ = tickets_;
}

void Table::admit(Group& group) {
  for (size_t u = 0; u < group.different; ++u) {
    const uint32_t row = group.rows[u];
    const int64_t key = group.keys[u];
    const uint64_t hash = group.hashes[u];
    Shard& shard = shard_of(hash);
    if (row != kNoRow) {
      shard.touch(row);
    } else if (admitted(shard, key, hash, group.repeats[u])) {
      make(shard, group, u, hash);
    } else {
      if (options_.admission == Admission::count) wait(shard, key, hash, group.repeats[u]);
      continue;
    }
    Meta& meta = shard.meta(group.rows[u]);
    const uint32_t room = std::numeric_limits<uint32_t>::max() - meta.count;
    meta.count += std::min(room, group.repeats[u]);
  }
}

bool Table::admitted(const Shard& shard, int64_t key, uint64_t hash, uint32_t repeats) const {
  switch (options_.admission) {
    case Admission::always: return true;
    case Admission::probability: {
      const uint64_t draw = mix(mix(static_cast<uint64_t>(key) + mix(options_.seed)) + counters_.lookups);
      const double passed = 1.0 - std::pow(1.0 - options_.admit, repeats);
      return static_cast<double>(draw >> 11) * 0x1p-53 < passed;
    }
    case Admission::count: break;
  }
  const Candidate* candidate = shard.candidate(key, hash);
  const uint64_t seen = (candidate == nullptr ? 0 : candidate->count) + uint64_t{repeats};
  return static_cast<double>(seen) >= options_.admit;
}

void Table::wait(Shard& shard, int64_t key, uint64_t hash, uint32_t repeats) {
  const uint32_t now = static_cast<uint32_t>(counters_.now);
  if (Candidate* candidate = shard.candidate(key, hash)) {
    candidate->count += repeats;
    candidate->time = now;
    candidate->changed |= Candidate::kDirty;
  } else {
    shard.add_candidate(key, hash, repeats, now, Candidate::kDirty);
  }
}

void Table::make(Shard& shard, Group& group, size_t u, uint64_t hash) {
  const int64_t key = group.keys[u];
  const uint32_t row = shard.insert(key, hash);
  float* values = shard.values(row);
  initializer_.fill(key, values, layout_.width);
  std::copy(first_slots_.begin(), first_slots_.end(), values + layout_.width);
  Meta& meta = shard.meta(row);
  meta.time = static_cast<uint32_t>(counters_.now);
  if (Candidate* candidate = shard.candidate(key, hash)) {
    meta.count = candidate->count;
    shard.drop_candidate(candidate);
  }
  group.rows[u] = row;
  group.values[u] = values;
}

template <typename Visit>
void Table::each_different(Visit visit) {
  for (size_t at = 0; at < used_groups_; ++at) {
    const Group& group = groups_[at];
    for (size_t u = 0; u < group.different; ++u) {
      const uint64_t hash = group.hashes[u];
      visit(shard_of(hash), group.keys[u], hash, group.rows[u], group.repeats[u]);
    }
  }
}

size_t Table::rows_unlocked() const {
  size_t rows = 0;
  for (const auto& shard : shards_) rows += shard->size();
  return rows;
}

void Table::make_room(const int64_t* keys, size_t n, bool all) {
  if (options_.max_rows == 0) return;
  const size_t most = options_.max_rows;
  for (;;) {
    const size_t rows = rows_unlocked();
    size_t missing = 0, staying = 0, coming = 0;
    each_different([&](Shard&, int64_t, uint64_t, uint32_t row, uint32_t) { ++(row == kNoRow ? missing : staying); });
    if (missing == 0 || rows + missing <= most) return;
    each_different([&](Shard& shard, int64_t key, uint64_t hash, uint32_t row, uint32_t repeats) {
      if (row == kNoRow && (all || admitted(shard, key, hash, repeats))) ++coming;
    });
    if (coming == 0 || rows + coming <= most) return;
    if (!options_.evict_at_limit) {
      throw Full("the table holds " + std::to_string(rows) + " rows and may hold " + std::to_string(most) + "; " +
                 std::to_string(coming) + " keys of this batch would be added");
    }
    // Only the first time round: later, what was staying can but be coming.
    if (staying + coming > most) {
      throw Full("a batch needs " + std::to_string(staying + coming) + " rows, more than the table may hold: " +
                 std::to_string(most));
    }
    // A tenth at a time, so that a table at its limit does not look for victims in every step. Keys of this very
    // batch may be among them: then more are coming.
    Eviction eviction;
    eviction.by_rows = true;
    eviction.max_rows = std::min(most - most / 10, most - coming);
    evict_unlocked(eviction);
    find(keys, n);
  }
}

void Table::apply(const int64_t* keys, size_t n, const float* gradients, uint32_t time, double rate,
                  NonFinite policy) {
  Turn turn(*this);
  const size_t width = layout_.width;
  const bool fresh = !carried(keys, n);
  if (fresh) find(keys, n);
  std::atomic<uint64_t> bad{0};
  each_group([&](Group& group) {
    // A gradient that comes alone is used where it lies; the others are added up.
    const float** summed = group.gradients.resize(group.different);
    size_t together = 0;
    for (size_t u = 0; u < group.different; ++u) together += group.repeats[u] > 1;
    float* sum = group.sums.resize(together * width);
    std::fill_n(sum, together * width, 0.0f);
    for (size_t u = 0; u < group.different; ++u) {
      summed[u] = sum;
      if (group.repeats[u] > 1) sum += width;
    }
    kernels_.sum(summed, gradients, group.positions, group.which.data(), group.repeats.data(), group.count, width);
    const size_t found = kernels_.drop_unusable(summed, group.different, width);
    if (found != 0) bad += found;
  });
  if (bad != 0 && policy == NonFinite::refuse) {
    throw BadGradient(std::to_string(bad.load()) + " rows have a gradient that is not finite, or too large to be squared");
  }
  if (fresh && options_.admission == Admission::always) {
    make_room(keys, n, true);
    each_group([&](Group& group) {
      for (size_t u = 0; u < group.different; ++u) {
        if (group.rows[u] == kNoRow) make(shard_of(group.hashes[u]), group, u, group.hashes[u]);
      }
    });
  }
  std::vector<double> parameters = options_.parameters;
  if (!std::isnan(rate)) parameters[0] = rate;
  // The clock of the table: rows of a late step are last seen now.
  counters_.now = std::max<uint64_t>(counters_.now, time);
  const uint32_t now = static_cast<uint32_t>(counters_.now);
  // Their lookup has marked the rows as changed, unless a snapshot was taken in between.
  const bool touched = !fresh && carried_tickets_ == tickets_;
  each_group([&](Group& group) {
    float** values = group.values.data();
    for (size_t u = 0; u < group.different; ++u) {
      if (group.rows[u] == kNoRow) continue;
      if (group.gradients[u] == nullptr) {
        values[u] = nullptr;
        continue;
      }
      Shard& shard = shard_of(group.hashes[u]);
      if (!touched) shard.touch(group.rows[u]);
      shard.meta(group.rows[u]).time = now;
    }
    optimizer_.update({group.different, values, group.gradients.data(), width, layout_.stride, parameters.data()});
  });
  // Values of rows left out are gone from the groups: another step on the same batch looks them up again.
  if (bad != 0) forget_batch();
  counters_.skipped_rows += bad;
  ++counters_.steps;
}

void Table::write(const int64_t* keys, size_t n, const float* rows, WriteOp op) {
  Turn turn(*this);
  find(keys, n);
  make_room(keys, n, true);
  const size_t width = layout_.width;
  each_group([&](Group& group) {
    for (size_t i = 0; i < group.count; ++i) {
      const size_t u = group.which[i];
      const uint64_t hash = group.hashes[u];
      Shard& shard = shard_of(hash);
      if (group.rows[u] == kNoRow) make(shard, group, u, hash);
      shard.touch(group.rows[u]);
      const float* from = rows + (group.positions == nullptr ? i : group.positions[i]) * width;
      float* to = group.values[u];
      for (size_t k = 0; k < width; ++k) {
        switch (op) {
          case WriteOp::assign: to[k] = from[k]; break;
          case WriteOp::add: to[k] += from[k]; break;
          case WriteOp::subtract: to[k] -= from[k]; break;
          case WriteOp::multiply: to[k] *= from[k]; break;
          case WriteOp::divide: to[k] /= from[k]; break;
          case WriteOp::minimum: to[k] = std::min(to[k], from[k]); break;
          case WriteOp::maximum: to[k] = std::max(to[k], from[k]); break;
        }
      }
    }
  });
}

void Table::clear() {
  Turn turn(*this);
  clear_unlocked();
}

void Table::clear_unlocked() {
  forget_batch();
  for (auto& shard : shards_) shard->clear();
  counters_ = {};
  ticket_ = 0;
  in_flight_ = false;
}

}  // namespace tfplus
