// Compiled several times: TFPLUS_ISA is the namespace, and the instruction set that the compiler may use.
#include "kernels.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "optimizers/all.h"

namespace tfplus {
namespace TFPLUS_ISA {

namespace {

constexpr size_t kAhead = 12;  // rows between asking for memory and using it

/// A width that the compiler knows, or 0 for any other.
template <size_t Width>
struct Fixed {
  static constexpr size_t width = Width;
};

/// Calls `work` with the width fixed, where it is one of the usual ones.
template <typename Work>
auto by_width(size_t width, Work work) {
  switch (width) {
    case 1: return work(Fixed<1>());
    case 8: return work(Fixed<8>());
    case 16: return work(Fixed<16>());
    case 32: return work(Fixed<32>());
    case 64: return work(Fixed<64>());
    default: return work(Fixed<0>());
  }
}

template <size_t Width>
void gather_rows(float* __restrict out, const uint32_t* positions, const uint32_t* which, const float* const* rows,
                 size_t count, size_t width) {
  const size_t n = Width == 0 ? width : Width;
  for (size_t i = 0; i < count; ++i) {
    if (i + kAhead < count) {
      const float* soon = rows[which[i + kAhead]];
      if (soon != nullptr) __builtin_prefetch(soon);
    }
    const float* row = rows[which[i]];
    float* to = out + (positions == nullptr ? i : positions[i]) * n;
    if (row == nullptr) {
      std::memset(to, 0, n * sizeof(float));
    } else {
      std::memcpy(to, row, n * sizeof(float));
    }
  }
}

void gather(float* out, const uint32_t* positions, const uint32_t* which, const float* const* rows, size_t count,
            size_t width) {
  by_width(width, [&](auto fixed) { gather_rows<fixed.width>(out, positions, which, rows, count, width); });
}

template <size_t Width>
void sum_rows(const float** summed, const float* __restrict gradients, const uint32_t* positions,
              const uint32_t* which, const uint32_t* repeats, size_t count, size_t width) {
  const size_t n = Width == 0 ? width : Width;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t u = which[i];
    const float* from = gradients + (positions == nullptr ? i : positions[i]) * n;
    if (repeats[u] == 1) {
      summed[u] = from;
      continue;
    }
    float* __restrict to = const_cast<float*>(summed[u]);
    for (size_t k = 0; k < n; ++k) to[k] += from[k];
  }
}

void sum(const float** summed, const float* gradients, const uint32_t* positions, const uint32_t* which,
         const uint32_t* repeats, size_t count, size_t width) {
  by_width(width, [&](auto fixed) {
    sum_rows<fixed.width>(summed, gradients, positions, which, repeats, count, width);
  });
}

template <size_t Width>
size_t drop_rows(const float** rows, size_t count, size_t width) {
  const size_t n = Width == 0 ? width : Width;
  size_t dropped = 0;
  for (size_t i = 0; i < count; ++i) {
    if (i + kAhead < count) __builtin_prefetch(rows[i + kAhead]);
    const float* row = rows[i];
    int bad = 0;
    for (size_t k = 0; k < n; ++k) bad |= std::fabs(row[k]) < kTooLarge ? 0 : 1;  // NaN too
    if (bad == 0) continue;
    rows[i] = nullptr;
    ++dropped;
  }
  return dropped;
}

size_t drop_unusable(const float** rows, size_t count, size_t width) {
  return by_width(width, [&](auto fixed) { return drop_rows<fixed.width>(rows, count, width); });
}

/// One optimizer over all rows of a step. A row's memory is asked for some rows ahead.
template <typename Optimizer, size_t Width>
void update_rows(const UpdateBatch& batch) {
  const Optimizer optimizer(batch.parameters);
  const size_t width = Width == 0 ? batch.width : Width;
  for (size_t i = 0; i < batch.count; ++i) {
    if (i + kAhead < batch.count && batch.rows[i + kAhead] != nullptr) {
      const float* soon = batch.rows[i + kAhead];
      for (size_t at = 0; at < batch.stride; at += 16) __builtin_prefetch(soon + at, 1);
      __builtin_prefetch(batch.gradients[i + kAhead]);
    }
    float* row = batch.rows[i];
    if (row != nullptr) optimizer.update(row, row + width, batch.gradients[i], width);
  }
}

template <typename Optimizer>
void update(const UpdateBatch& batch) {
  by_width(batch.width, [&](auto fixed) { update_rows<Optimizer, fixed.width>(batch); });
}

template <typename... Optimizers>
const Update* updates(List<Optimizers...>) {
  static constexpr Update all[] = {&update<Optimizers>...};
  return all;
}

}  // namespace

Loops loops() { return {&gather, &sum, &drop_unusable, updates(Every())}; }

}  // namespace TFPLUS_ISA
}  // namespace tfplus
