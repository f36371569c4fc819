#pragma once

namespace tfplus {
namespace TFPLUS_ISA {

/// a += g²; w -= rate * g / (√a + ε). Duchi, Hazan and Singer, JMLR 12 (2011).
struct Adagrad {
  static std::string name() { return "adagrad"; }
  static std::vector<SlotInfo> slots() { return {{"accumulator", false, "initial_accumulator"}}; }
  static std::vector<ParameterInfo> parameters() {
    return {{"learning_rate", 0.01, 0.0, kLargest},
            {"initial_accumulator", 0.0, 0.0, kLargest},
            {"epsilon", 1e-10, kSmallest, kLargest}};
  }

  float rate, epsilon;
  explicit Adagrad(const double* p) : rate(static_cast<float>(p[0])), epsilon(static_cast<float>(p[2])) {}

  void update(float* __restrict w, float* __restrict a, const float* __restrict g, size_t width) const {
    for (size_t i = 0; i < width; ++i) {
      a[i] += g[i] * g[i];
      w[i] -= rate * g[i] / (std::sqrt(a[i]) + epsilon);
    }
  }
};

}  // namespace TFPLUS_ISA
}  // namespace tfplus
