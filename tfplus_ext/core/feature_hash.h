// MurmurHash64A (Austin Appleby, public domain) of many values: the ids of features.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tfplus {

inline uint64_t murmur(const uint8_t* data, size_t length, uint64_t seed) {
  constexpr uint64_t m = 0xC6A4A7935BD1E995ULL;
  uint64_t value = seed ^ (length * m);
  const uint8_t* const end = data + length / 8 * 8;
  for (; data != end; data += 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);  // little endian, like every machine this is built for
    word *= m;
    word ^= word >> 47;
    word *= m;
    value = (value ^ word) * m;
  }
  if (length % 8 != 0) {
    uint64_t rest = 0;
    std::memcpy(&rest, data, length % 8);
    value = (value ^ rest) * m;
  }
  value = (value ^ (value >> 47)) * m;
  return value ^ (value >> 47);
}

}  // namespace tfplus
