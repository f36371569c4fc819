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
  switch (width) {
    case 1: return gather_rows<1>(out, positions, which, rows, count, width);
    case 8: return gather_rows<8>(out, positions, which, rows, count, width);
    case 16: return gather_rows<16>(out, positions, which, rows, count, width);
    case 32: return gather_rows<32>(out, positions, which, rows, count, width);
    case 64: return gather_rows<64>(out, positions, which, rows, count, width);
    default: return gather_rows<0>(out, positions, which, rows, count, width);
  }
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
  switch (width) {
    case 1: return sum_rows<1>(summed, gradients, positions, which, repeats, count, width);
    case 8: return sum_rows<8>(summed, gradients, positions, which, repeats, count, width);
    case 16: return sum_rows<16>(summed, gradients, positions, which, repeats, count, width);
    case 32: return sum_rows<32>(summed, gradients, positions, which, repeats, count, width);
    case 64: return sum_rows<64>(summed, gradients, positions, which, repeats, count, width);
    default: return sum_rows<0>(summed, gradients, positions, which, repeats, count, width);
  }
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
  switch (width) {
    case 1: return drop_rows<1>(rows, count, width);
    case 8: return drop_rows<8>(rows, count, width);
    case 16: return drop_rows<16>(rows, count, width);
    case 32: return drop_rows<32>(rows, count, width);
    case 64: return drop_rows<64>(rows, count, width);
    default: return drop_rows<0>(rows, count, width);
  }
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
  switch (batch.width) {
    case 1: return update_rows<Optimizer, 1>(batch);
    case 8: return update_rows<Optimizer, 8>(batch);
    case 16: return update_rows<Optimizer, 16>(batch);
    case 32: return update_rows<Optimizer, 32>(batch);
    case 64: return update_rows<Optimizer, 64>(batch);
    default: return update_rows<Optimizer, 0>(batch);
  }
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
