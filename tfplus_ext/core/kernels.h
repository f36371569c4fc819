// The loops over whole rows. They are compiled once for each instruction set, and chosen when the process starts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tfplus {

/// State beside each row: one number a weight, or one a row. `initial` names the parameter that it starts at, if any.
struct SlotInfo {
  std::string name;
  bool per_row = false;
  std::string initial = {};
};

/// A parameter with its default and the values it may take: at least `low`, below `high`.
struct ParameterInfo {
  std::string name;
  double standard;
  double low;
  double high;
};

/// The different rows of one step. Slots follow the weights, in the order of the optimizer's description.
struct UpdateBatch {
  size_t count;
  float* const* rows;             // a null pointer: not a row, or one to leave alone
  const float* const* gradients;  // summed, `width` numbers each
  size_t width;
  size_t stride;
  const double* parameters;
};

using Update = void (*)(const UpdateBatch& batch);

struct OptimizerInfo {
  std::string name;
  std::vector<SlotInfo> slots;
  std::vector<ParameterInfo> parameters;
  Update update;
};

/// What is compiled for one instruction set. Pointers only: code of the standard library that were compiled along
/// with it would be shared with all, and fail on processors that lack the instructions.
struct Loops {
  /// out[positions[i]] = *rows[which[i]], zeros where that is null. `positions` may be null: 0, 1, 2, …
  void (*gather)(float* out, const uint32_t* positions, const uint32_t* which, const float* const* rows, size_t count,
                 size_t width);
  /// Gradients of each row, added up in the order of the batch, into `summed[u]`, which the caller has filled with
  /// zeros; where a row comes once, `summed[u]` becomes the place where its gradient lies.
  void (*sum)(const float** summed, const float* gradients, const uint32_t* positions, const uint32_t* which,
              const uint32_t* repeats, size_t count, size_t width);
  /// Replaces pointers to rows in which a number is not finite, or too large to be squared, by null. Returns how many.
  size_t (*drop_unusable)(const float** rows, size_t count, size_t width);
  const Update* updates;  // in the order of the optimizers' list
};

struct Kernels : Loops {
  std::vector<OptimizerInfo> optimizers;
};

/// Gradients at and beyond this would leave float32 when they are squared.
constexpr float kTooLarge = 1e18f;

/// The fastest that this processor can run.
const Kernels& kernels();
/// The instruction set of `kernels()`: "avx512", "avx2" or "generic".
const char* instruction_set();

/// The optimizer of that name; null where there is none.
const OptimizerInfo* find_optimizer(const std::string& name);

}  // namespace tfplus
