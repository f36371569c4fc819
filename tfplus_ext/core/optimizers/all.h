// Every optimizer. A new one is a file like its neighbours, a line here, and its name in the list below.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "../kernels.h"

namespace tfplus {
namespace TFPLUS_ISA {

constexpr double kSmallest = std::numeric_limits<float>::min();
constexpr double kLargest = std::numeric_limits<float>::max();

}  // namespace TFPLUS_ISA
}  // namespace tfplus

#include "adagrad.h"
#include "adam.h"
#include "ftrl.h"
#include "group_adam.h"
#include "rectified_adam.h"
#include "rowwise_adagrad.h"
#include "sgd.h"
#include "sparse_group_ftrl.h"

namespace tfplus {
namespace TFPLUS_ISA {

template <typename... Optimizers>
struct List {};

using Every = List<Sgd, Adagrad, RowwiseAdagrad, Adam, RectifiedAdam, Ftrl, GroupAdam, SparseGroupFtrl>;

}  // namespace TFPLUS_ISA
}  // namespace tfplus
