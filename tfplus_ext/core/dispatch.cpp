#include "kernels.h"

// The optimizers once more, to describe them: their loops are those of the instruction sets.
#define TFPLUS_ISA described
#include "optimizers/all.h"

namespace tfplus {

namespace generic {
Loops loops();
}
#ifdef TFPLUS_X86
namespace avx2 {
Loops loops();
}
namespace avx512 {
Loops loops();
}
#endif

namespace {

struct Chosen {
  Kernels kernels;
  const char* name;
};

template <typename... Optimizers>
std::vector<OptimizerInfo> descriptions(described::List<Optimizers...>, const Update* update) {
  return {OptimizerInfo{Optimizers::name(), Optimizers::slots(), Optimizers::parameters(), *update++}...};
}

Chosen made(const Loops& loops, const char* name) {
  return {{loops, descriptions(described::Every(), loops.updates)}, name};
}

Chosen choose() {
#ifdef TFPLUS_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    return made(avx512::loops(), "avx512");
  }
  if (__builtin_cpu_supports("avx2")) return made(avx2::loops(), "avx2");
#endif
  return made(generic::loops(), "generic");
}

const Chosen& chosen() {
  static const Chosen once = choose();
  return once;
}

}  // namespace

const Kernels& kernels() { return chosen().kernels; }
const char* instruction_set() { return chosen().name; }

const OptimizerInfo* find_optimizer(const std::string& name) {
  for (const OptimizerInfo& info : kernels().optimizers) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

}  // namespace tfplus
