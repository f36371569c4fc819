// A table as a resource of TensorFlow, and what all kernels need: keys, statuses.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "outputs.h"
#include "table.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"

namespace tfplus {

class TableResource : public tensorflow::ResourceBase {
 public:
  /// `description`: everything that decides what the table holds. Throws what Table throws.
  TableResource(const TableOptions& options, std::string description)
      : table(options), max_rows(options.max_rows), outputs(std::make_shared<Outputs>()),
        description_(std::move(description)) {}

  std::string DebugString() const override { return description_; }
  int64_t MemoryUsed() const override { return static_cast<int64_t>(const_cast<Table&>(table).bytes()); }

  Table table;
  /// 0: no limit.
  const size_t max_rows;
  std::shared_ptr<Outputs> outputs;
  /// Held while the whole content is read: of two that want it, the second waits.
  std::mutex reading;

 private:
  const std::string description_;
};

/// What the core throws, as TensorFlow reports it.
template <typename Work>
absl::Status guarded(Work work) {
  try {
    work();
    return absl::OkStatus();
  } catch (const Full& error) {
    return absl::ResourceExhaustedError(error.what());
  } catch (const BadGradient& error) {
    return absl::InvalidArgumentError(error.what());
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("there is no memory left for the table");
  } catch (const std::logic_error& error) {
    return absl::InvalidArgumentError(error.what());
  } catch (const std::runtime_error& error) {
    return absl::FailedPreconditionError(error.what());
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

/// Keys of a tensor as the core takes them: int64 where they lie, int32 widened.
class Keys {
 public:
  explicit Keys(const tensorflow::Tensor& keys) : count_(static_cast<size_t>(keys.NumElements())) {
    if (keys.dtype() == tensorflow::DT_INT64) {
      data_ = keys.flat<int64_t>().data();
    } else {
      const int32_t* narrow = keys.flat<int32_t>().data();
      wide_.assign(narrow, narrow + count_);
      data_ = wide_.data();
    }
  }

  const int64_t* data() const { return data_; }
  size_t size() const { return count_; }

 private:
  size_t count_;
  const int64_t* data_;
  std::vector<int64_t> wide_;
};

/// A kernel whose first input is a table. `Work` is called as work(context, resource) and may throw what the core does.
class TableKernel : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(tensorflow::OpKernelContext* context) final {
    tensorflow::core::RefCountPtr<TableResource> resource;
    OP_REQUIRES_OK(context, tensorflow::LookupResource(context, tensorflow::HandleFromInput(context, 0), &resource));
    absl::Status status;
    const absl::Status thrown = guarded([&] { status = work(context, *resource); });
    OP_REQUIRES_OK(context, thrown);
    OP_REQUIRES_OK(context, status);
  }

 protected:
  virtual absl::Status work(tensorflow::OpKernelContext* context, TableResource& resource) = 0;
};

/// A new output with the numbers of a vector.
template <typename T>
absl::Status give(tensorflow::OpKernelContext* context, int output, const std::vector<T>& values) {
  tensorflow::Tensor* tensor = nullptr;
  TF_RETURN_IF_ERROR(context->allocate_output(output, {static_cast<int64_t>(values.size())}, &tensor));
  std::copy(values.begin(), values.end(), tensor->flat<int64_t>().data());
  return absl::OkStatus();
}

inline absl::Status give(tensorflow::OpKernelContext* context, int output, size_t value) {
  tensorflow::Tensor* tensor = nullptr;
  TF_RETURN_IF_ERROR(context->allocate_output(output, {}, &tensor));
  tensor->flat<int64_t>()(0) = static_cast<int64_t>(value);
  return absl::OkStatus();
}

/// In the order of the op `TfplusCounters`.
inline std::vector<int64_t> numbers(const Counters& counters) {
  const auto number = [](uint64_t value) { return static_cast<int64_t>(value); };
  return {number(counters.lookups), number(counters.steps), number(counters.evicted), number(counters.now),
          number(counters.skipped_rows)};
}

/// Times are microseconds outside, and whole seconds since 1970 inside.
constexpr int64_t kMicros = 1000000;

inline uint32_t seconds(int64_t micros) {
  const int64_t whole = micros / kMicros;
  return static_cast<uint32_t>(whole < 0 ? 0 : whole > int64_t{UINT32_MAX} ? int64_t{UINT32_MAX} : whole);
}

}  // namespace tfplus
