#include "initializer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "hash.h"

namespace tfplus {

namespace {

double normal(uint64_t number) {
  constexpr double turn = 6.283185307179586476925286766559;
  const double u = (static_cast<double>(number >> 32) + 0.5) * 0x1p-32;
  const double v = static_cast<double>(number & 0xFFFFFFFF) * 0x1p-32;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(turn * v);
}

double truncated(uint64_t number) {
  double found = normal(number);
  for (uint64_t attempt = 1; std::fabs(found) > 2.0; ++attempt) found = normal(mix(number + attempt));
  return found;
}

}  // namespace

const std::vector<std::string>& Initializer::names() {
  static const std::vector<std::string> all{"zeros", "constant", "uniform", "normal", "truncated_normal"};
  return all;
}

std::vector<ParameterInfo> Initializer::parameters(const std::string& name) {
  constexpr double most = std::numeric_limits<float>::max();
  if (name == "constant") return {{"value", 0.0, -most, most}};
  if (name == "uniform") return {{"low", -0.05, -most, most}, {"high", 0.05, -most, most}};
  if (name == "normal" || name == "truncated_normal") return {{"mean", 0.0, -most, most}, {"stddev", 0.01, 0.0, most}};
  return {};
}

Initializer::Initializer(const std::string& name, const std::vector<double>& parameters, uint64_t seed)
    : seed_(mix(seed)) {
  const auto found = std::find(names().begin(), names().end(), name);
  if (found == names().end()) throw std::invalid_argument("no initializer is called " + name);
  kind_ = static_cast<Kind>(found - names().begin());
  if (parameters.size() > 0) first_ = parameters[0];
  if (parameters.size() > 1) second_ = parameters[1];
}

void Initializer::fill(int64_t key, float* row, size_t width) const {
  if (kind_ == Kind::zeros || kind_ == Kind::constant) {
    std::fill_n(row, width, static_cast<float>(first_));
    return;
  }
  const uint64_t start = mix(static_cast<uint64_t>(key) + seed_);
  for (size_t column = 0; column < width; ++column) {
    const uint64_t number = mix(start + (column + 1) * 0x9E3779B97F4A7C15ULL);
    double value;
    if (kind_ == Kind::uniform) {
      value = first_ + (second_ - first_) * (static_cast<double>(number >> 11) * 0x1p-53);
    } else {
      value = first_ + second_ * (kind_ == Kind::normal ? normal(number) : truncated(number));
    }
    row[column] = static_cast<float>(value);
  }
}

}  // namespace tfplus
