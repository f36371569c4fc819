// The Python face: arrays in, arrays out, no logic. The GIL is released while the core works.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>

#include "arrays.h"
#include "feature_hash.h"
#include "outputs.h"
#include "table.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace tfplus;

namespace {

void check_rows(const Keys& keys, const Matrix<float>& rows, size_t width) {
  if (rows.shape(0) != keys.shape(0) || rows.shape(1) != width) {
    throw nb::value_error(("rows must be [" + std::to_string(keys.shape(0)) + ", " + std::to_string(width) + "], not [" +
                           std::to_string(rows.shape(0)) + ", " + std::to_string(rows.shape(1)) + "]")
                              .c_str());
  }
}

/// One table, and the memory that its answers lie in.
struct NativeTable {
  explicit NativeTable(const TableOptions& options) : table(options), outputs(std::make_shared<Outputs>()) {}

  Table table;
  std::shared_ptr<Outputs> outputs;
};

nb::object lookup(NativeTable& self, const Keys& keys, bool train, bool first_values) {
  const size_t n = keys.shape(0), width = self.table.width();
  auto held = std::make_unique<Outputs::Held>(self.outputs, n * width * sizeof(float));
  float* out = static_cast<float*>(held->data());
  {
    nb::gil_scoped_release released;
    if (train) {
      self.table.lookup(keys.data(), n, out);
    } else {
      self.table.look(keys.data(), n, first_values ? Unseen::first_value : Unseen::zeros, out);
    }
  }
  return array(out, {n, width}, held.release());
}

void apply(NativeTable& self, const Keys& keys, const Matrix<float>& gradients, int64_t time, double rate,
           bool skip_non_finite) {
  check_rows(keys, gradients, self.table.width());
  nb::gil_scoped_release released;
  self.table.apply(keys.data(), keys.shape(0), gradients.data(), static_cast<uint32_t>(time), rate,
                   skip_non_finite ? NonFinite::skip : NonFinite::refuse);
}

template <void (Table::*Read)(const int64_t*, size_t, int64_t*)>
nb::object read(NativeTable& self, const Keys& keys) {
  std::vector<int64_t> out(keys.shape(0));
  {
    nb::gil_scoped_release released;
    (self.table.*Read)(keys.data(), out.size(), out.data());
  }
  return moved(std::move(out));
}

/// Rows taken apart as files hold them: weights [n, width], then the slots, [n, width] or [n, 1]. In memory of their
/// own, which goes back to the system with the arrays: checkpoint after checkpoint would leave holes in the heap.
class Columns {
 public:
  Columns(const Table& table, size_t most) : stride_(table.stride()), most_(most) {
    widths_.push_back(table.width());
    for (const SlotInfo& slot : table.optimizer().slots) widths_.push_back(slot.per_row ? 1 : table.width());
    for (size_t width : widths_) parts_.push_back(std::make_unique<Block>(most * width * sizeof(float)));
  }

  void add(const Part& part) {
    const size_t n = part.keys.size();
    if (n > most_ - rows_) throw std::length_error("more rows than there is room for");
    const float* from = part.values.data();
    for (size_t at = 0; at < parts_.size(); from += widths_[at++]) {
      const size_t width = widths_[at];
      float* to = static_cast<float*>(parts_[at]->data()) + rows_ * width;
      for (size_t i = 0; i < n; ++i) std::copy_n(from + i * stride_, width, to + i * width);
    }
    rows_ += n;
  }

  nb::list arrays() {
    nb::list arrays;
    for (size_t at = 0; at < parts_.size(); ++at) {
      Block* part = parts_[at].release();
      arrays.append(array(static_cast<float*>(part->data()), {rows_, widths_[at]}, part));
    }
    return arrays;
  }

 private:
  size_t stride_, most_, rows_ = 0;
  std::vector<size_t> widths_;
  std::vector<std::unique_ptr<Block>> parts_;
};

template <typename T>
void append(std::vector<T>& to, std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
  from.clear();
}

nb::object take(NativeTable& self, uint64_t ticket, size_t rows) {
  // Training waits for one piece at most, a fraction of a millisecond: small enough to stay in the cache, and taken
  // apart, into memory never touched before, when training goes on again.
  const size_t most = std::max<size_t>(64, (size_t{1} << 19) / (self.table.stride() * sizeof(float)));
  Part piece, whole;
  Columns columns(self.table, rows + 64);  // `take` gives about as many as are asked for
  {
    nb::gil_scoped_release released;
    while (whole.keys.size() < rows && self.table.take(ticket, piece, std::min(most, rows - whole.keys.size()))) {
      columns.add(piece);
      append(whole.keys, piece.keys);
      append(whole.counts, piece.counts);
      append(whole.times, piece.times);
      piece.values.clear();
    }
  }
  if (whole.keys.empty()) return nb::none();
  nb::list arrays = columns.arrays();
  return nb::make_tuple(moved(std::move(whole.keys)), moved(std::move(whole.counts)), moved(std::move(whole.times)),
                        arrays);
}

nb::dict counters_of(const Counters& counters) {
  nb::dict found;
  found["lookups"] = counters.lookups;
  found["steps"] = counters.steps;
  found["evicted"] = counters.evicted;
  found["now"] = counters.now;
  found["skipped_rows"] = counters.skipped_rows;
  return found;
}

nb::object freeze(NativeTable& self, bool full) {
  Table::Frozen frozen;
  {
    nb::gil_scoped_release released;
    frozen = self.table.freeze(full);
  }
  return nb::make_tuple(frozen.ticket, frozen.rows, counters_of(frozen.counters), moved(std::move(frozen.deleted)),
                        nb::make_tuple(moved(std::move(frozen.candidates.keys)),
                                       moved(std::move(frozen.candidates.counts)),
                                       moved(std::move(frozen.candidates.times))));
}

template <typename T>
std::vector<T> copied(const Vector<T>& values) {
  return std::vector<T>(values.data(), values.data() + values.shape(0));
}

void load(NativeTable& self, const Keys& keys, const Vector<uint32_t>& counts, const Vector<uint32_t>& times,
          const std::vector<Matrix<float>>& arrays) {
  const size_t n = keys.shape(0), stride = self.table.stride();
  Part part{copied<int64_t>(keys), copied<uint32_t>(counts), copied<uint32_t>(times), {}};
  size_t columns = 0;
  for (const auto& each : arrays) {
    if (each.shape(0) != n) throw nb::value_error("the arrays have different lengths");
    columns += each.shape(1);
  }
  if (columns != stride || counts.shape(0) != n || times.shape(0) != n) throw nb::value_error("the arrays do not fit the table");
  nb::gil_scoped_release released;
  part.values.resize(n * stride);
  size_t at = 0;
  for (const auto& each : arrays) {
    const size_t width = each.shape(1);
    for (size_t i = 0; i < n; ++i) std::copy_n(each.data() + i * width, width, part.values.data() + i * stride + at);
    at += width;
  }
  self.table.load(part);
}

nb::object hash_bytes(const Vector<uint8_t>& data, const Vector<int64_t>& offsets, const Vector<uint64_t>& seeds,
                      size_t longest) {
  if (offsets.shape(0) == 0) throw nb::value_error("offsets must have at least one element");
  const size_t n = offsets.shape(0) - 1;
  if (seeds.shape(0) != 1 && seeds.shape(0) != n) throw nb::value_error("seeds must have one element, or one for each value");
  const int64_t* at = offsets.data();
  for (size_t i = 0; i < n; ++i) {
    if (at[i] < 0 || at[i + 1] < at[i] || static_cast<size_t>(at[i + 1]) > data.shape(0)) {
      throw nb::value_error("offsets must rise, within the data");
    }
  }
  std::vector<int64_t> ids(n), too_long;
  {
    nb::gil_scoped_release released;
    for (size_t i = 0; i < n; ++i) {
      const size_t length = static_cast<size_t>(at[i + 1] - at[i]);
      if (length > longest) {
        too_long.push_back(static_cast<int64_t>(i));
      } else {
        ids[i] = static_cast<int64_t>(murmur(data.data() + at[i], length, seeds.data()[seeds.shape(0) == 1 ? 0 : i]));
      }
    }
  }
  return nb::make_tuple(moved(std::move(ids)), moved(std::move(too_long)));
}

nb::list parameters_of(const std::vector<ParameterInfo>& parameters) {
  nb::list found;
  for (const ParameterInfo& each : parameters) found.append(nb::make_tuple(each.name, each.standard, each.low, each.high));
  return found;
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "The native core of penrose-tfplus. Use the classes of penrose_tfplus.";
  nb::exception<Full>(m, "TableFull", PyExc_RuntimeError);
  nb::exception<BadGradient>(m, "BadGradient", PyExc_ValueError);
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::bad_alloc&) {
      PyErr_SetString(PyExc_MemoryError, "there is no memory left for the table");
    }
  });

  m.def("instruction_set", &instruction_set);
  m.def("optimizers", [] {
    nb::list all;
    for (const OptimizerInfo& info : kernels().optimizers) {
      nb::list slots;
      for (const SlotInfo& slot : info.slots) slots.append(nb::make_tuple(slot.name, slot.per_row));
      all.append(nb::make_tuple(info.name, slots, parameters_of(info.parameters)));
    }
    return all;
  });
  m.def("initializers", [] {
    nb::list all;
    for (const std::string& name : Initializer::names()) {
      all.append(nb::make_tuple(name, parameters_of(Initializer::parameters(name))));
    }
    return all;
  });
  m.def("hash_bytes", &hash_bytes, "data"_a.noconvert(), "offsets"_a.noconvert(), "seeds"_a.noconvert(), "longest"_a);

  nb::class_<NativeTable>(m, "Table")
      .def(
          "__init__",
          [](NativeTable* self, size_t width, const std::string& optimizer, const std::vector<double>& parameters,
             const std::string& initializer, const std::vector<double>& initial, uint64_t seed,
             const std::string& admission, double admit, size_t max_rows, bool evict_at_limit, size_t shards,
             size_t threads) {
            TableOptions options;
            options.width = width;
            options.optimizer = optimizer;
            options.parameters = parameters;
            options.initializer = initializer;
            options.initial = initial;
            options.seed = seed;
            options.admission = admission == "count"         ? Admission::count
                                : admission == "probability" ? Admission::probability
                                                             : Admission::always;
            options.admit = admit;
            options.max_rows = max_rows;
            options.evict_at_limit = evict_at_limit;
            options.shards = shards;
            options.threads = threads;
            new (self) NativeTable(options);
          },
          "width"_a, "optimizer"_a, "parameters"_a, "initializer"_a, "initial"_a, "seed"_a, "admission"_a, "admit"_a,
          "max_rows"_a, "evict_at_limit"_a, "shards"_a, "threads"_a)
      .def("lookup", &lookup, "keys"_a.noconvert(), "train"_a, "first_values"_a)
      .def("apply", &apply, "keys"_a.noconvert(), "gradients"_a.noconvert(), "time"_a, "rate"_a, "skip_non_finite"_a)
      .def(
          "write",
          [](NativeTable& self, const Keys& keys, const Matrix<float>& rows, int op) {
            check_rows(keys, rows, self.table.width());
            nb::gil_scoped_release released;
            self.table.write(keys.data(), keys.shape(0), rows.data(), static_cast<WriteOp>(op));
          },
          "keys"_a.noconvert(), "rows"_a.noconvert(), "op"_a)
      .def("counts", &read<&Table::counts>, "keys"_a.noconvert())
      .def("times", &read<&Table::times>, "keys"_a.noconvert())
      .def(
          "contains",
          [](NativeTable& self, const Keys& keys) {
            const size_t n = keys.shape(0);
            auto held = std::make_unique<Owned<bool>>(n);
            bool* out = held->data.get();
            {
              nb::gil_scoped_release released;
              self.table.contains(keys.data(), n, out);
            }
            return array(out, {n}, held.release());
          },
          "keys"_a.noconvert())
      .def(
          "slots",
          [](NativeTable& self, const Keys& keys) {
            const size_t n = keys.shape(0), width = self.table.stride() - self.table.width();
            auto held = std::make_unique<Owned<float>>(n * width);
            float* out = held->data.get();
            {
              nb::gil_scoped_release released;
              self.table.slots(keys.data(), n, out);
            }
            return array(out, {n, width}, held.release());
          },
          "keys"_a.noconvert())
      .def(
          "erase",
          [](NativeTable& self, const Keys& keys) {
            nb::gil_scoped_release released;
            return self.table.erase(keys.data(), keys.shape(0));
          },
          "keys"_a.noconvert())
      .def(
          "evict",
          [](NativeTable& self, int64_t before, int64_t min_count, double min_norm, int64_t max_rows) {
            Eviction eviction;
            eviction.by_time = before >= 0;
            eviction.before = static_cast<uint32_t>(std::max<int64_t>(before, 0));
            eviction.by_count = min_count >= 0;
            eviction.min_count = static_cast<uint32_t>(std::max<int64_t>(min_count, 0));
            eviction.by_norm = min_norm >= 0;
            eviction.min_norm = min_norm;
            eviction.by_rows = max_rows >= 0;
            eviction.max_rows = static_cast<size_t>(std::max<int64_t>(max_rows, 0));
            nb::gil_scoped_release released;
            return self.table.evict(eviction);
          },
          "before"_a, "min_count"_a, "min_norm"_a, "max_rows"_a)
      .def("clear", [](NativeTable& self) { self.table.clear(); }, nb::call_guard<nb::gil_scoped_release>())
      .def("size", [](NativeTable& self) { return self.table.size(); }, nb::call_guard<nb::gil_scoped_release>())
      .def("candidates", [](NativeTable& self) { return self.table.candidates(); },
           nb::call_guard<nb::gil_scoped_release>())
      .def("bytes", [](NativeTable& self) { return self.table.bytes() + self.outputs->bytes(); },
           nb::call_guard<nb::gil_scoped_release>())
      .def("keys",
           [](NativeTable& self) {
             std::vector<int64_t> keys;
             {
               nb::gil_scoped_release released;
               keys = self.table.keys();
             }
             return moved(std::move(keys));
           })
      .def("counters", [](NativeTable& self) { return counters_of(self.table.counters()); })
      .def("set_counters",
           [](NativeTable& self, uint64_t lookups, uint64_t steps, uint64_t evicted, uint64_t now,
              uint64_t skipped_rows) { self.table.set_counters({lookups, steps, evicted, now, skipped_rows}); },
           "lookups"_a, "steps"_a, "evicted"_a, "now"_a, "skipped_rows"_a)
      .def("changes",
           [](NativeTable& self) {
             const Table::Changes changes = self.table.changes();
             return nb::make_tuple(changes.rows, changes.deleted, changes.known);
           })
      .def("freeze", &freeze, "full"_a)
      .def("take", &take, "ticket"_a, "rows"_a)
      .def("committed", [](NativeTable& self) { self.table.committed(); }, nb::call_guard<nb::gil_scoped_release>())
      .def("aborted", [](NativeTable& self) { self.table.aborted(); }, nb::call_guard<nb::gil_scoped_release>())
      .def("load", &load, "keys"_a.noconvert(), "counts"_a.noconvert(), "times"_a.noconvert(), "arrays"_a.noconvert())
      .def(
          "load_candidates",
          [](NativeTable& self, const Keys& keys, const Vector<uint32_t>& counts, const Vector<uint32_t>& times) {
            if (counts.shape(0) != keys.shape(0) || times.shape(0) != keys.shape(0)) {
              throw nb::value_error("the arrays have different lengths");
            }
            const Candidates candidates{copied<int64_t>(keys), copied<uint32_t>(counts), copied<uint32_t>(times)};
            nb::gil_scoped_release released;
            self.table.load(candidates);
          },
          "keys"_a.noconvert(), "counts"_a.noconvert(), "times"_a.noconvert())
      .def("mark_clean", [](NativeTable& self) { self.table.mark_clean(); });
}
