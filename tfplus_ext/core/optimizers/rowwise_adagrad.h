#pragma once

namespace tfplus {
namespace TFPLUS_ISA {

/// Adagrad with one accumulator a row: the mean of g² over the row.
struct RowwiseAdagrad {
  static std::string name() { return "rowwise_adagrad"; }
  static std::vector<SlotInfo> slots() { return {{"accumulator", true, "initial_accumulator"}}; }
  static std::vector<ParameterInfo> parameters() { return Adagrad::parameters(); }

  float rate, epsilon;
  explicit RowwiseAdagrad(const double* p) : rate(static_cast<float>(p[0])), epsilon(static_cast<float>(p[2])) {}

  void update(float* __restrict w, float* __restrict a, const float* __restrict g, size_t width) const {
    float squares = 0;
    for (size_t i = 0; i < width; ++i) squares += g[i] * g[i];
    *a += squares / static_cast<float>(width);
    const float step = rate / (std::sqrt(*a) + epsilon);
    for (size_t i = 0; i < width; ++i) w[i] -= step * g[i];
  }
};

}  // namespace TFPLUS_ISA
}  // namespace tfplus
