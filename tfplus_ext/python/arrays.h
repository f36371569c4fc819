// Arrays between Python and the core, without copies.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

namespace tfplus {

namespace nb = nanobind;

template <typename T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Keys = Vector<int64_t>;

/// A NumPy array that owns what `holder` points to.
template <typename T, typename Holder>
nb::object array(T* data, std::initializer_list<size_t> shape, Holder* holder) {
  nb::capsule owner(holder, [](void* held) noexcept { delete static_cast<Holder*>(held); });
  return nb::cast(nb::ndarray<nb::numpy, T>(data, shape.size(), shape.begin(), owner));
}

template <typename T>
nb::object moved(std::vector<T>&& values) {
  auto* holder = new std::vector<T>(std::move(values));
  return array(holder->data(), {holder->size()}, holder);
}

template <typename T>
struct Owned {
  std::unique_ptr<T[]> data;
  explicit Owned(size_t count) : data(new T[count]) {}
};

}  // namespace tfplus
