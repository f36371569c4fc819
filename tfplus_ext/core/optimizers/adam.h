#pragma once

namespace tfplus {
namespace TFPLUS_ISA {

/// Adam on the rows of a step only (the lazy form); t counts a row's own updates. Kingma and Ba, arXiv 1412.6980.
struct Adam {
  static std::string name() { return "adam"; }
  static std::vector<SlotInfo> slots() { return {{"first"}, {"second"}, {"steps", true}}; }
  static std::vector<ParameterInfo> parameters() {
    return {{"learning_rate", 0.001, 0.0, kLargest},
            {"beta1", 0.9, 0.0, 1.0},
            {"beta2", 0.999, 0.0, 1.0},
            {"epsilon", 1e-8, kSmallest, kLargest}};
  }

  double rate, beta1, beta2;
  float epsilon;
  explicit Adam(const double* p) : rate(p[0]), beta1(p[1]), beta2(p[2]), epsilon(static_cast<float>(p[3])) {}

  void update(float* __restrict w, float* __restrict slots, const float* __restrict g, size_t width) const {
    float* __restrict m = slots;
    float* __restrict v = slots + width;
    // It stops at 2^24, where both corrections have long been 1.
    const double t = slots[2 * width] += 1.0f;
    const float step = static_cast<float>(rate / (1.0 - std::pow(beta1, t)));
    const float correction = static_cast<float>(1.0 / (1.0 - std::pow(beta2, t)));
    const float one = static_cast<float>(1.0 - beta1), two = static_cast<float>(1.0 - beta2);
    for (size_t i = 0; i < width; ++i) {
      m[i] += one * (g[i] - m[i]);
      v[i] += two * (g[i] * g[i] - v[i]);
      w[i] -= step * m[i] / (std::sqrt(v[i] * correction) + epsilon);
    }
  }
};

}  // namespace TFPLUS_ISA
}  // namespace tfplus
