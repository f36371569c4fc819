#include "batch.h"

#include <algorithm>

namespace tfplus {

void Group::resize_seen(size_t capacity) {
  capacity_ = 0;  // should there be no memory
  std::fill_n(seen_.resize(capacity), capacity, Seen{0, 0});
  capacity_ = capacity;
}

void Group::widen() {
  resize_seen(2 * capacity_);
  for (size_t u = 0; u < different; ++u) {
    size_t at = place_of(hashes[u]);
    while (seen_[at].which_plus_one != 0) at = (at + 1) & (capacity_ - 1);
    seen_[at] = {static_cast<uint32_t>(u + 1), tag_of(hashes[u])};
  }
}

void Split::prepare(size_t parts) {
  if (found_.size() < parts * parts) found_.resize(parts * parts);
  if (joined_.size() < parts) joined_.resize(parts);
  counts_.assign(parts * parts, 0);
}

void Split::scan(const int64_t* keys, size_t count, size_t part, size_t parts, uint32_t shard_mask) {
  const size_t from = count * part / parts, to = count * (part + 1) / parts;
  std::vector<uint32_t*> ends(parts);
  for (size_t group = 0; group < parts; ++group) ends[group] = found_[part * parts + group].resize(to - from);
  for (size_t i = from; i < to; ++i) *ends[group_of(hash_key(keys[i]), shard_mask, parts)]++ = static_cast<uint32_t>(i);
  for (size_t group = 0; group < parts; ++group) {
    counts_[part * parts + group] = static_cast<size_t>(ends[group] - found_[part * parts + group].data());
  }
}

void Split::collect(size_t group, size_t parts, Group& into) {
  size_t count = 0;
  for (size_t part = 0; part < parts; ++part) count += counts_[part * parts + group];
  uint32_t* at = joined_[group].resize(count);
  into.positions = at;
  into.count = count;
  for (size_t part = 0; part < parts; ++part) {
    const size_t found = counts_[part * parts + group];
    std::copy_n(found_[part * parts + group].data(), found, at);
    at += found;
  }
}

}  // namespace tfplus
