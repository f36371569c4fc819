// Linear probing: what its two tables have in common.
#pragma once

#include <cstddef>

namespace tfplus {

/// Whether the entry at `at` may move into a gap before it: not where its home lies behind the gap.
inline bool fills(size_t gap, size_t home, size_t at) {
  return gap <= at ? home <= gap || at < home : home <= gap && at < home;
}

}  // namespace tfplus
