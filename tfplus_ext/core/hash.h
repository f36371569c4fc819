// How an int64 key is spread: over shards by its low bits, within a shard by its high ones.
#pragma once

#include <cstdint>

namespace tfplus {

/// The SplitMix64 finaliser: every bit of the result depends on every bit of `value`.
inline uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL;
  return value ^ (value >> 31);
}

/// Keys that differ by little, such as 1, 2, 3, are spread as evenly as random ones.
inline uint64_t hash_key(int64_t key) {
  uint64_t value = static_cast<uint64_t>(key) * 0x9E3779B97F4A7C15ULL;
  value = (value ^ (value >> 32)) * 0xD6E8FEB86659FD93ULL;
  return value ^ (value >> 32);
}

}  // namespace tfplus
