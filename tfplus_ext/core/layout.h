// How one row lies in memory, and how many rows a chunk holds.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tfplus {

/// What is known of a row beside its numbers. Times are seconds since 1970.
struct Meta {
  int64_t key;
  uint32_t count;
  uint32_t time;
};

struct Layout {
  size_t width;
  size_t stride;  // weights and slots, in floats
  uint32_t shift;  // a chunk has 2^shift rows

  Layout(size_t width, size_t stride) : width(width), stride(stride), shift(4) {
    constexpr size_t chunk_bytes = size_t{1} << 20;
    while (shift < 16 && (row_bytes() << (shift + 1)) <= chunk_bytes) ++shift;
  }

  size_t row_bytes() const { return stride * sizeof(float) + sizeof(Meta); }
  uint32_t chunk_rows() const { return uint32_t{1} << shift; }
  size_t chunk_bytes() const { return row_bytes() << shift; }
};

}  // namespace tfplus
