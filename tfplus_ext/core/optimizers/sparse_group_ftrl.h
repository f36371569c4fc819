#pragma once

namespace tfplus {
namespace TFPLUS_ISA {

/// FTRL under a sparse group lasso. Yue et al., arXiv 2107.14432. `steps` tells a row's first update from the others.
/// Weights are z times the rate: another rate for a step scales all that the row has learnt.
struct SparseGroupFtrl {
  static std::string name() { return "sparse_group_ftrl"; }
  static std::vector<SlotInfo> slots() {
    return {{"accumulator", false, "initial_accumulator"}, {"linear"}, {"steps", true}};
  }
  static std::vector<ParameterInfo> parameters() {
    return {{"learning_rate", 0.1, kSmallest, kLargest},
            {"lr_power", -0.5, -1.0, 0.0},
            {"l1", 0.0, 0.0, kLargest},
            {"l2", 0.0, 0.0, kLargest},
            {"l21", 0.0, 0.0, kLargest},
            {"initial_accumulator", 0.0, 0.0, kLargest},
            {"epsilon", 1e-10, kSmallest, kLargest}};
  }

  float rate, power, l1, l2, l21, epsilon;
  explicit SparseGroupFtrl(const double* p)
      : rate(static_cast<float>(p[0])),
        power(static_cast<float>(-p[1])),
        l1(static_cast<float>(p[2])),
        l2(static_cast<float>(p[3])),
        l21(static_cast<float>(p[4])),
        epsilon(static_cast<float>(p[6])) {}

  float raised(float number) const { return power == 0.5f ? std::sqrt(number) : std::pow(number, power); }

  void update(float* __restrict w, float* __restrict slots, const float* __restrict g, size_t width) const {
    float* __restrict a = slots;
    float* __restrict z = slots + width;
    const bool first = (slots[2 * width] += 1.0f) == 1.0f;
    for (size_t i = 0; i < width; ++i) {
      const float next = a[i] + g[i] * g[i];
      // The scale that `w` is divided by below, so that a row without penalties keeps its weights exactly.
      const float curvature = first ? raised(next) + epsilon : raised(next) - raised(a[i]);
      z[i] += g[i] - curvature / rate * w[i];
      a[i] = next;
    }
    const float ridge = 2.0f * l2;
    group_lasso(w, z, width, l1, l21, [&](size_t i) { return (raised(a[i]) + epsilon) / rate + ridge; });
  }
};

}  // namespace TFPLUS_ISA
}  // namespace tfplus
