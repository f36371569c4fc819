// Kernels that tell what is in a table, and give up rows of it.
#include <algorithm>
#include <string>
#include <vector>

#include "resource.h"

namespace tfplus {

namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

template <typename T, void (Table::*Read)(const int64_t*, size_t, T*)>
class EachOp : public TableKernel {
 public:
  using TableKernel::TableKernel;

 protected:
  absl::Status work(OpKernelContext* context, TableResource& resource) override {
    Tensor* out = nullptr;
    TF_RETURN_IF_ERROR(context->allocate_output(0, context->input(1).shape(), &out));
    const Keys keys(context->input(1));
    (resource.table.*Read)(keys.data(), keys.size(), out->flat<T>().data());
    return absl::OkStatus();
  }
};

/// In microseconds; -1 stays.
class TimesOp : public EachOp<int64_t, &Table::times> {
 public:
  using EachOp::EachOp;

 protected:
  absl::Status work(OpKernelContext* context, TableResource& resource) override {
    TF_RETURN_IF_ERROR(EachOp::work(context, resource));
    auto times = context->mutable_output(0)->flat<int64_t>();
    for (int64_t i = 0; i < times.size(); ++i) {
      if (times(i) >= 0) times(i) *= kMicros;
    }
    return absl::OkStatus();
  }
};

class SlotsOp : public TableKernel {
 public:
  using TableKernel::TableKernel;

 protected:
  absl::Status work(OpKernelContext* context, TableResource& resource) override {
    TensorShape shape = context->input(1).shape();
    TF_RETURN_IF_ERROR(shape.AddDimWithStatus(static_cast<int64_t>(resource.table.stride() - resource.table.width())));
    Tensor* out = nullptr;
    TF_RETURN_IF_ERROR(context->allocate_output(0, shape, &out));
    const Keys keys(context->input(1));
    resource.table.slots(keys.data(), keys.size(), out->flat<float>().data());
    return absl::OkStatus();
  }
};

class DeleteOp : public TableKernel {
 public:
  using TableKernel::TableKernel;

 protected:
  absl::Status work(OpKernelContext* context, TableResource& resource) override {
    const Keys keys(context->input(1));
    return give(context, 0, resource.table.erase(keys.data(), keys.size()));
  }
};

class EvictOp : public TableKernel {
 public:
  using TableKernel::TableKernel;

 protected:
  absl::Status work(OpKernelContext* context, TableResource& resource) override {
    for (int input = 1; input < 5; ++input) {
      if (context->input(input).NumElements() != 1) return absl::InvalidArgumentError("bounds must be single numbers");
    }
    const int64_t before = context->input(1).flat<int64_t>()(0), count = context->input(2).flat<int64_t>()(0);
    const double norm = context->input(3).flat<double>()(0);
    const int64_t rows = context->input(4).flat<int64_t>()(0);
    Eviction eviction;
    eviction.by_time = before >= 0;
    eviction.before = seconds(before);
    eviction.by_count = count >= 0;
    eviction.min_count = static_cast<uint32_t>(std::clamp<int64_t>(count, 0, UINT32_MAX));
    eviction.by_norm = norm >= 0;
    eviction.min_norm = norm;
    eviction.by_rows = rows >= 0;
    eviction.max_rows = static_cast<size_t>(std::max<int64_t>(rows, 0));
    return give(context, 0, resource.table.evict(eviction));
  }
};

class ClearOp : public TableKernel {
 public:
  using TableKernel::TableKernel;

 protected:
  absl::Status work(OpKernelContext*, TableResource& resource) override {
    resource.table.clear();
    return absl::OkStatus();
  }
};

class SizeOp : public TableKernel {
 public:
  explicit SizeOp(OpKernelConstruction* context) : TableKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("what", &what_));
  }

 protected:
  absl::Status work(OpKernelContext* context, TableResource& resource) override {
    Table& table = resource.table;
    return give(context, 0,
                what_ == "rows"         ? table.size()
                : what_ == "candidates" ? table.candidates()
                                        : table.bytes() + resource.outputs->bytes());
  }

 private:
  std::string what_;
};

class KeysOp : public TableKernel {
 public:
  using TableKernel::TableKernel;

 protected:
  absl::Status work(OpKernelContext* context, TableResource& resource) override {
    return give(context, 0, resource.table.keys());
  }
};

class CountersOp : public TableKernel {
 public:
  using TableKernel::TableKernel;

 protected:
  absl::Status work(OpKernelContext* context, TableResource& resource) override {
    return give(context, 0, numbers(resource.table.counters()));
  }
};

using CountsOp = EachOp<int64_t, &Table::counts>;
using ContainsOp = EachOp<bool, &Table::contains>;

REGISTER_KERNEL_BUILDER(Name("TfplusCounts").Device(tensorflow::DEVICE_CPU), CountsOp);
REGISTER_KERNEL_BUILDER(Name("TfplusTimes").Device(tensorflow::DEVICE_CPU), TimesOp);
REGISTER_KERNEL_BUILDER(Name("TfplusContains").Device(tensorflow::DEVICE_CPU), ContainsOp);
REGISTER_KERNEL_BUILDER(Name("TfplusSlots").Device(tensorflow::DEVICE_CPU), SlotsOp);
REGISTER_KERNEL_BUILDER(Name("TfplusDelete").Device(tensorflow::DEVICE_CPU), DeleteOp);
REGISTER_KERNEL_BUILDER(Name("TfplusEvict").Device(tensorflow::DEVICE_CPU), EvictOp);
REGISTER_KERNEL_BUILDER(Name("TfplusClear").Device(tensorflow::DEVICE_CPU), ClearOp);
REGISTER_KERNEL_BUILDER(Name("TfplusSize").Device(tensorflow::DEVICE_CPU), SizeOp);
REGISTER_KERNEL_BUILDER(Name("TfplusKeys").Device(tensorflow::DEVICE_CPU), KeysOp);
REGISTER_KERNEL_BUILDER(Name("TfplusCounters").Device(tensorflow::DEVICE_CPU), CountersOp);

}  // namespace

}  // namespace tfplus
