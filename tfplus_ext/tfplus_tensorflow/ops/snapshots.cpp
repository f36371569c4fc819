// Kernels that take a table's content out, all or what changed, and put it back.
#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "resource.h"

namespace tfplus {

namespace {

using tensorflow::OpInputList;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::OpOutputList;
using tensorflow::Tensor;

/// Positions by ascending key: equal content gives equal bytes.
std::vector<size_t> by_key(const std::vector<int64_t>& keys) {
  std::vector<size_t> order(keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return keys[a] < keys[b]; });
  return order;
}

/// Numbers in that order; times are multiplied into microseconds.
template <typename T>
absl::Status give_ordered(OpKernelContext* context, const char* name, const std::vector<T>& values,
                          const std::vector<size_t>& order, int64_t factor = 1) {
  Tensor* tensor = nullptr;
  TF_RETURN_IF_ERROR(context->allocate_output(name, {static_cast<int64_t>(order.size())}, &tensor));
  int64_t* out = tensor->flat<int64_t>().data();
  for (size_t i = 0; i < order.size(); ++i) out[i] = static_cast<int64_t>(values[order[i]]) * factor;
  return absl::OkStatus();
}

/// The numbers of one row, as the columns of an export have them: the weights, then the slots.
absl::Status check_widths(OpKernelConstruction* context, std::vector<int64_t>* widths) {
  int columns;
  TF_RETURN_IF_ERROR(context->GetAttr("widths", widths));
  TF_RETURN_IF_ERROR(context->GetAttr("N", &columns));
  if (widths->size() != static_cast<size_t>(columns)) return absl::InvalidArgumentError("each column needs a width");
  return absl::OkStatus();
}

absl::Status check_stride(const Table& table, const std::vector<int64_t>& widths) {
  const int64_t all = std::accumulate(widths.begin(), widths.end(), int64_t{0});
  if (all == static_cast<int64_t>(table.stride()) && widths[0] == static_cast<int64_t>(table.width())) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the columns have ", all, " numbers a row, and the table has ", table.stride()));
}

class ExportOp : public TableKernel {
 public:
  explicit ExportOp(OpKernelConstruction* context) : TableKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("what", &what_));
    OP_REQUIRES_OK(context, check_widths(context, &widths_));
  }

 protected:
  absl::Status work(OpKernelContext* context, TableResource& resource) override {
    Table& table = resource.table;
    TF_RETURN_IF_ERROR(check_stride(table, widths_));
    std::lock_guard<std::mutex> lock(resource.reading);
    if (what_ == "changes" && !table.changes().known) {
      return absl::FailedPreconditionError("so much was deleted that only a full export will do");
    }
    const Table::Frozen frozen = table.freeze(what_ != "changes");
    Part rows;
    absl::Status status;
    try {
      take(table, frozen, rows);
      status = write(context, frozen, rows);
    } catch (...) {
      table.aborted();
      throw;
    }
    if (what_ == "copy" || !status.ok()) table.aborted();
    return status;
  }

 private:
  static void take(Table& table, const Table::Frozen& frozen, Part& rows) {
    rows.keys.reserve(frozen.rows);
    rows.counts.reserve(frozen.rows);
    rows.times.reserve(frozen.rows);
    rows.values.reserve(frozen.rows * table.stride());
    // Training waits for one piece at most: a fraction of a millisecond.
    const size_t piece = std::max<size_t>(64, (size_t{1} << 19) / (table.stride() * sizeof(float)));
    while (table.take(frozen.ticket, rows, piece)) {
    }
  }

  absl::Status write(OpKernelContext* context, const Table::Frozen& frozen, const Part& rows) const {
    const std::vector<size_t> order = by_key(rows.keys);
    TF_RETURN_IF_ERROR(give_ordered(context, "keys", rows.keys, order));
    TF_RETURN_IF_ERROR(give_ordered(context, "counts", rows.counts, order));
    TF_RETURN_IF_ERROR(give_ordered(context, "times", rows.times, order, kMicros));
    OpOutputList columns;
    TF_RETURN_IF_ERROR(context->output_list("columns", &columns));
    const size_t stride = order.empty() ? 0 : rows.values.size() / order.size();
    size_t from = 0;
    for (size_t at = 0; at < widths_.size(); ++at) {
      const size_t width = static_cast<size_t>(widths_[at]);
      Tensor* column = nullptr;
      TF_RETURN_IF_ERROR(columns.allocate(static_cast<int>(at), {static_cast<int64_t>(order.size()), widths_[at]}, &column));
      float* out = column->flat<float>().data();
      for (const size_t row : order) out = std::copy_n(rows.values.data() + row * stride + from, width, out);
      from += width;
    }
    std::vector<int64_t> deleted = frozen.deleted;
    std::sort(deleted.begin(), deleted.end());
    deleted.erase(std::unique(deleted.begin(), deleted.end()), deleted.end());
    std::vector<size_t> plain(deleted.size());
    std::iota(plain.begin(), plain.end(), size_t{0});
    TF_RETURN_IF_ERROR(give_ordered(context, "deleted", deleted, plain));
    const Candidates& candidates = frozen.candidates;
    const std::vector<size_t> waiting = by_key(candidates.keys);
    TF_RETURN_IF_ERROR(give_ordered(context, "candidate_keys", candidates.keys, waiting));
    TF_RETURN_IF_ERROR(give_ordered(context, "candidate_counts", candidates.counts, waiting));
    TF_RETURN_IF_ERROR(give_ordered(context, "candidate_times", candidates.times, waiting, kMicros));
    Tensor* counters = nullptr;
    const std::vector<int64_t> counted = numbers(frozen.counters);
    TF_RETURN_IF_ERROR(context->allocate_output("counters", {static_cast<int64_t>(counted.size())}, &counters));
    std::copy(counted.begin(), counted.end(), counters->flat<int64_t>().data());
    return absl::OkStatus();
  }

  std::string what_;
  std::vector<int64_t> widths_;
};

class EndExportOp : public TableKernel {
 public:
  explicit EndExportOp(OpKernelConstruction* context) : TableKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("committed", &committed_));
  }

 protected:
  absl::Status work(OpKernelContext*, TableResource& resource) override {
    std::lock_guard<std::mutex> lock(resource.reading);
    committed_ ? resource.table.committed() : resource.table.aborted();
    return absl::OkStatus();
  }

 private:
  bool committed_;
};

/// A vector of int64 numbers from `low` to `high`, each divided by `divisor`.
template <typename T>
absl::Status read(OpKernelContext* context, const char* name, int64_t count, int64_t low, int64_t high, int64_t divisor,
                  std::vector<T>* into) {
  const Tensor* tensor = nullptr;
  TF_RETURN_IF_ERROR(context->input(name, &tensor));
  if (tensor->dims() != 1 || (count >= 0 && tensor->dim_size(0) != count)) {
    return absl::InvalidArgumentError(absl::StrCat(name, " must be [", count < 0 ? "n" : absl::StrCat(count),
                                                   "], not ", tensor->shape().DebugString()));
  }
  const auto values = tensor->flat<int64_t>();
  into->reserve(static_cast<size_t>(values.size()));
  for (int64_t i = 0; i < values.size(); ++i) {
    if (values(i) < low || values(i) / divisor > high) {
      return absl::InvalidArgumentError(absl::StrCat(name, " has a number that cannot be: ", values(i)));
    }
    into->push_back(static_cast<T>(values(i) / divisor));
  }
  return absl::OkStatus();
}

class ImportOp : public TableKernel {
 public:
  explicit ImportOp(OpKernelConstruction* context) : TableKernel(context) {
    OP_REQUIRES_OK(context, check_widths(context, &widths_));
    OP_REQUIRES_OK(context, context->GetAttr("int32_keys", &int32_keys_));
    OP_REQUIRES_OK(context, context->GetAttr("check_only", &check_only_));
  }

 protected:
  /// Everything is read and checked before the table changes.
  absl::Status work(OpKernelContext* context, TableResource& resource) override {
    constexpr int64_t most = UINT32_MAX, any = std::numeric_limits<int64_t>::max();
    constexpr size_t now = 3;
    const int64_t low = int32_keys_ ? INT32_MIN : std::numeric_limits<int64_t>::min();
    const int64_t high = int32_keys_ ? INT32_MAX : any;
    Table& table = resource.table;
    TF_RETURN_IF_ERROR(check_stride(table, widths_));
    Table::Content content;
    auto& [whole, deleted, candidates, rows, counters] = content;
    std::vector<uint64_t> counted;
    TF_RETURN_IF_ERROR(read(context, "keys", -1, low, high, 1, &rows.keys));
    const int64_t count = static_cast<int64_t>(rows.keys.size());
    TF_RETURN_IF_ERROR(read(context, "counts", count, 0, most, 1, &rows.counts));
    TF_RETURN_IF_ERROR(read(context, "times", count, 0, most, kMicros, &rows.times));
    TF_RETURN_IF_ERROR(read_columns(context, table.stride(), rows));
    TF_RETURN_IF_ERROR(read(context, "deleted", -1, low, high, 1, &deleted));
    TF_RETURN_IF_ERROR(read(context, "candidate_keys", -1, low, high, 1, &candidates.keys));
    const int64_t waiting = static_cast<int64_t>(candidates.keys.size());
    TF_RETURN_IF_ERROR(read(context, "candidate_counts", waiting, 1, most, 1, &candidates.counts));
    TF_RETURN_IF_ERROR(read(context, "candidate_times", waiting, 0, most, kMicros, &candidates.times));
    TF_RETURN_IF_ERROR(read(context, "counters", 5, 0, any, 1, &counted));
    if (counted[now] > most) {
      return absl::InvalidArgumentError(absl::StrCat("counters have a time that cannot be: ", counted[now]));
    }
    counters = {counted[0], counted[1], counted[2], counted[now], counted[4]};
    const Tensor* replace = nullptr;
    TF_RETURN_IF_ERROR(context->input("replace", &replace));
    if (replace->NumElements() != 1) return absl::InvalidArgumentError("replace must be true or false");
    whole = replace->flat<bool>()(0);
    std::lock_guard<std::mutex> lock(resource.reading);
    TF_RETURN_IF_ERROR(check_limit(resource, rows.keys, deleted, whole));
    if (!check_only_) table.take_over(content);
    return absl::OkStatus();
  }

 private:
  /// Whether the rows that there will be are as many as there may be.
  static absl::Status check_limit(TableResource& resource, const std::vector<int64_t>& keys,
                                  const std::vector<int64_t>& deleted, bool anew) {
    const size_t limit = resource.max_rows;
    if (limit == 0 || (anew && keys.size() <= limit)) return absl::OkStatus();
    std::vector<int64_t> kept, all;
    if (!anew) {
      const std::vector<int64_t> before = resource.table.keys(), gone = as_set(deleted);
      std::set_difference(before.begin(), before.end(), gone.begin(), gone.end(), std::back_inserter(kept));
    }
    const std::vector<int64_t> given = as_set(keys);
    std::set_union(kept.begin(), kept.end(), given.begin(), given.end(), std::back_inserter(all));
    if (all.size() <= limit) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("there would be ", all.size(), " rows, and max_rows is ", limit));
  }

  static std::vector<int64_t> as_set(std::vector<int64_t> keys) {
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    return keys;
  }

  absl::Status read_columns(OpKernelContext* context, size_t stride, Part& rows) const {
    OpInputList columns;
    TF_RETURN_IF_ERROR(context->input_list("columns", &columns));
    const size_t count = rows.keys.size();
    if (!check_only_) rows.values.resize(count * stride);
    float* to = rows.values.data();
    for (size_t at = 0; at < widths_.size(); ++at) {
      const Tensor& column = columns[static_cast<int>(at)];
      const size_t width = static_cast<size_t>(widths_[at]);
      if (column.dims() != 2 || column.dim_size(0) != static_cast<int64_t>(count) || column.dim_size(1) != widths_[at]) {
        return absl::InvalidArgumentError(absl::StrCat("column ", at, " must be [", count, ", ", width, "], not ",
                                                       column.shape().DebugString()));
      }
      if (check_only_) continue;
      const float* from = column.flat<float>().data();
      for (size_t i = 0; i < count; ++i) std::copy_n(from + i * width, width, to + i * stride);
      to += width;
    }
    return absl::OkStatus();
  }

  std::vector<int64_t> widths_;
  bool int32_keys_ = false, check_only_ = false;
};

REGISTER_KERNEL_BUILDER(Name("TfplusExport").Device(tensorflow::DEVICE_CPU), ExportOp);
REGISTER_KERNEL_BUILDER(Name("TfplusEndExport").Device(tensorflow::DEVICE_CPU), EndExportOp);
REGISTER_KERNEL_BUILDER(Name("TfplusImport").Device(tensorflow::DEVICE_CPU), ImportOp);

}  // namespace

}  // namespace tfplus
