#pragma once

namespace tfplus {
namespace TFPLUS_ISA {

/// w = u * (1 - l21 √d / ‖u‖) / scale with u = clip(z, -l1, l1) - z; the whole row 0 where ‖u‖ ≤ l21 √d.
/// The proximal step that both sparse group optimizers share.
template <typename Scale>
inline void group_lasso(float* __restrict w, const float* __restrict z, size_t width, float l1, float l21,
                        Scale scale) {
  float squares = 0;
  for (size_t i = 0; i < width; ++i) {
    const float u = std::fmin(std::fmax(z[i], -l1), l1) - z[i];
    squares += u * u;
  }
  const float norm = std::sqrt(squares);
  const float threshold = l21 * std::sqrt(static_cast<float>(width));
  if (norm <= threshold) {
    for (size_t i = 0; i < width; ++i) w[i] = 0.0f;
    return;
  }
  const float kept = 1.0f - threshold / norm;
  for (size_t i = 0; i < width; ++i) {
    const float u = std::fmin(std::fmax(z[i], -l1), l1) - z[i];
    w[i] = u * kept / scale(i);
  }
}

/// Adam under a sparse group lasso: rows that do not earn their place become 0. Yue et al., arXiv 2107.14432.
/// t counts a row's own updates.
struct GroupAdam {
  static std::string name() { return "group_adam"; }
  static std::vector<SlotInfo> slots() { return {{"first"}, {"second"}, {"linear"}, {"steps", true}}; }
  static std::vector<ParameterInfo> parameters() {
    std::vector<ParameterInfo> all = Adam::parameters();
    for (const char* name : {"l1", "l2", "l21"}) all.push_back({name, 0.0, 0.0, kLargest});
    return all;
  }

  double rate, beta1, beta2;
  float epsilon, l1, l2, l21;
  explicit GroupAdam(const double* p)
      : rate(p[0]),
        beta1(p[1]),
        beta2(p[2]),
        epsilon(static_cast<float>(p[3])),
        l1(static_cast<float>(p[0] * p[4])),
        l2(static_cast<float>(p[0] * p[5])),
        l21(static_cast<float>(p[0] * p[6])) {}

  void update(float* __restrict w, float* __restrict slots, const float* __restrict g, size_t width) const {
    float* __restrict m = slots;
    float* __restrict v = slots + width;
    float* __restrict z = slots + 2 * width;
    const double t = slots[3 * width] += 1.0f;
    const bool first = t == 1.0;
    const float a = static_cast<float>(rate * std::sqrt(1.0 - std::pow(beta2, t)) / (1.0 - std::pow(beta1, t)));
    const float one = static_cast<float>(1.0 - beta1), two = static_cast<float>(1.0 - beta2);
    for (size_t i = 0; i < width; ++i) {
      m[i] += one * (g[i] - m[i]);
      const float next = v[i] + two * (g[i] * g[i] - v[i]);
      const float curvature = first ? std::sqrt(next) + epsilon : std::sqrt(next) - std::sqrt(v[i]);
      z[i] += a * m[i] - curvature * w[i];
      v[i] = next;
    }
    const float ridge = epsilon + 2.0f * l2;
    group_lasso(w, z, width, l1, l21, [&](size_t i) { return std::sqrt(v[i]) + ridge; });
  }
};

}  // namespace TFPLUS_ISA
}  // namespace tfplus
