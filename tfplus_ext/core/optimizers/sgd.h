#pragma once

namespace tfplus {
namespace TFPLUS_ISA {

/// w -= rate * g.
struct Sgd {
  static std::string name() { return "sgd"; }
  static std::vector<SlotInfo> slots() { return {}; }
  static std::vector<ParameterInfo> parameters() { return {{"learning_rate", 0.01, 0.0, kLargest}}; }

  float rate;
  explicit Sgd(const double* p) : rate(static_cast<float>(p[0])) {}

  void update(float* __restrict w, float*, const float* __restrict g, size_t width) const {
    for (size_t i = 0; i < width; ++i) w[i] -= rate * g[i];
  }
};

}  // namespace TFPLUS_ISA
}  // namespace tfplus
