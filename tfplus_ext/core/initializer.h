// First values of rows: a function of (seed, key, column) only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels.h"

namespace tfplus {

/// With arithmetic modulo 2^64: row = mix(key + mix(seed)); number = mix(row + (column + 1) * 0x9E3779B97F4A7C15).
/// zeros; constant: `value`; uniform: `low` + (`high` - `low`) * (number >> 11) / 2^53; normal: Box and Muller from
/// the two halves of the number; truncated_normal: the first normal within two deviations, from the numbers
/// mix(number + attempt). Worked out in double precision.
class Initializer {
 public:
  /// Parameters in the order of `parameters(name)`. Throws std::invalid_argument for an unknown name.
  Initializer(const std::string& name, const std::vector<double>& parameters, uint64_t seed);

  void fill(int64_t key, float* row, size_t width) const;

  static const std::vector<std::string>& names();
  static std::vector<ParameterInfo> parameters(const std::string& name);

 private:
  enum class Kind { zeros, constant, uniform, normal, truncated_normal };
  Kind kind_;
  double first_ = 0, second_ = 0;
  uint64_t seed_;
};

}  // namespace tfplus
