#pragma once

namespace tfplus {
namespace TFPLUS_ISA {

/// Adam whose step is rectified while the variance is known from few updates. Liu et al., arXiv 1908.03265.
struct RectifiedAdam {
  static std::string name() { return "rectified_adam"; }
  static std::vector<SlotInfo> slots() { return Adam::slots(); }
  static std::vector<ParameterInfo> parameters() { return Adam::parameters(); }

  double rate, beta1, beta2;
  float epsilon;
  explicit RectifiedAdam(const double* p) : rate(p[0]), beta1(p[1]), beta2(p[2]), epsilon(static_cast<float>(p[3])) {}

  void update(float* __restrict w, float* __restrict slots, const float* __restrict g, size_t width) const {
    float* __restrict m = slots;
    float* __restrict v = slots + width;
    const double t = slots[2 * width] += 1.0f;
    const double power = std::pow(beta2, t);
    const double longest = 2.0 / (1.0 - beta2) - 1.0;
    const double length = longest - 2.0 * t * power / (1.0 - power);
    const float one = static_cast<float>(1.0 - beta1), two = static_cast<float>(1.0 - beta2);
    double step = rate / (1.0 - std::pow(beta1, t));
    const bool rectified = length > 5.0;
    if (rectified) {
      step *= std::sqrt((length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length));
      step *= std::sqrt(1.0 - power);
    }
    const float size = static_cast<float>(step);
    for (size_t i = 0; i < width; ++i) {
      m[i] += one * (g[i] - m[i]);
      v[i] += two * (g[i] * g[i] - v[i]);
      w[i] -= rectified ? size * m[i] / (std::sqrt(v[i]) + epsilon) : size * m[i];
    }
  }
};

}  // namespace TFPLUS_ISA
}  // namespace tfplus
