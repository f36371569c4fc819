#pragma once

namespace tfplus {
namespace TFPLUS_ISA {

/// FTRL-Proximal with a learning rate for each weight. McMahan et al., KDD 2013, Algorithm 1.
/// Weights are z times the rate: another rate for a step scales all that the row has learnt.
struct Ftrl {
  static std::string name() { return "ftrl"; }
  static std::vector<SlotInfo> slots() { return {{"accumulator", false, "initial_accumulator"}, {"linear"}}; }
  static std::vector<ParameterInfo> parameters() {
    return {{"learning_rate", 0.1, kSmallest, kLargest},
            {"beta", 1.0, kSmallest, kLargest},
            {"l1", 0.0, 0.0, kLargest},
            {"l2", 0.0, 0.0, kLargest},
            {"initial_accumulator", 0.0, 0.0, kLargest}};
  }

  float rate, beta, l1, l2;
  explicit Ftrl(const double* p)
      : rate(static_cast<float>(p[0])),
        beta(static_cast<float>(p[1])),
        l1(static_cast<float>(p[2])),
        l2(static_cast<float>(p[3])) {}

  void update(float* __restrict w, float* __restrict slots, const float* __restrict g, size_t width) const {
    float* __restrict a = slots;
    float* __restrict z = slots + width;
    for (size_t i = 0; i < width; ++i) {
      const float before = std::sqrt(a[i]);
      a[i] += g[i] * g[i];
      const float after = std::sqrt(a[i]);
      z[i] += g[i] - (after - before) / rate * w[i];
      const float shrunk = (std::copysign(l1, z[i]) - z[i]) / ((beta + after) / rate + l2);
      w[i] = std::fabs(z[i]) <= l1 ? 0.0f : shrunk;
    }
  }
};

}  // namespace TFPLUS_ISA
}  // namespace tfplus
