#include "kernels.h"

namespace tfplus {

namespace generic {
const Kernels& table();
}
#ifdef TFPLUS_X86
namespace avx2 {
const Kernels& table();
}
namespace avx512 {
const Kernels& table();
}
#endif

namespace {

struct Chosen {
  const Kernels* kernels;
  const char* name;
};

Chosen choose() {
#ifdef TFPLUS_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    return {&avx512::table(), "avx512"};
  }
  if (__builtin_cpu_supports("avx2")) return {&avx2::table(), "avx2"};
#endif
  return {&generic::table(), "generic"};
}

const Chosen& chosen() {
  static const Chosen once = choose();
  return once;
}

}  // namespace

const Kernels& kernels() { return *chosen().kernels; }
const char* instruction_set() { return chosen().name; }

const OptimizerInfo* find_optimizer(const std::string& name) {
  for (const OptimizerInfo& info : kernels().optimizers) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

}  // namespace tfplus
