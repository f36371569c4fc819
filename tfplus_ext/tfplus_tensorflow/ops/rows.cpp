// Kernels that read, write and train rows.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "resource.h"

namespace tfplus {

namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

/// Rows from here on lie in memory that is used again: fresh pages cost more than the lookup.
constexpr size_t kReusedFrom = size_t{1} << 20;

/// Memory on loan from the table, as TensorFlow holds it.
class LentBuffer : public tensorflow::TensorBuffer {
 public:
  LentBuffer(std::unique_ptr<Outputs::Held> held, size_t bytes)
      : TensorBuffer(held->data()), held_(std::move(held)), bytes_(bytes) {}

  size_t size() const override { return bytes_; }
  TensorBuffer* root_buffer() override { return this; }
  void FillAllocationDescription(tensorflow::AllocationDescription* description) const override {
    description->set_requested_bytes(static_cast<int64_t>(bytes_));
    description->set_allocator_name("tfplus");
  }

 private:
  std::unique_ptr<Outputs::Held> held_;
  size_t bytes_;
};

absl::Status allocate_rows(OpKernelContext* context, TableResource& resource, const TensorShape& shape, float** data) {
  const size_t bytes = static_cast<size_t>(shape.num_elements()) * sizeof(float);
  if (bytes < kReusedFrom) {
    Tensor* out = nullptr;
    TF_RETURN_IF_ERROR(context->allocate_output(0, shape, &out));
    *data = out->flat<float>().data();
    return absl::OkStatus();
  }
  tensorflow::core::RefCountPtr<tensorflow::TensorBuffer> buffer(
      new LentBuffer(std::make_unique<Outputs::Held>(resource.outputs, bytes), bytes));
  *data = buffer->base<float>();
  context->set_output(0, Tensor(tensorflow::DT_FLOAT, shape, std::move(buffer)));
  return absl::OkStatus();
}

/// An error where a key has no row.
absl::Status check_known(Table& table, const Keys& keys) {
  const std::unique_ptr<bool[]> found(new bool[keys.size()]);
  table.contains(keys.data(), keys.size(), found.get());
  const auto unknown = std::count(found.get(), found.get() + keys.size(), false);
  if (unknown == 0) return absl::OkStatus();
  const auto first = std::find(found.get(), found.get() + keys.size(), false) - found.get();
  return absl::NotFoundError(
      absl::StrCat(unknown, " of ", keys.size(), " keys have no row; the first of them is ", keys.data()[first]));
}

class GatherOp : public TableKernel {
 public:
  explicit GatherOp(OpKernelConstruction* context) : TableKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("mode", &mode_));
  }

 protected:
  absl::Status work(OpKernelContext* context, TableResource& resource) override {
    TensorShape shape = context->input(1).shape();
    TF_RETURN_IF_ERROR(shape.AddDimWithStatus(static_cast<int64_t>(resource.table.width())));
    const Keys keys(context->input(1));
    if (mode_ == "error") TF_RETURN_IF_ERROR(check_known(resource.table, keys));
    float* out = nullptr;
    TF_RETURN_IF_ERROR(allocate_rows(context, resource, shape, &out));
    if (mode_ == "train") {
      resource.table.lookup(keys.data(), keys.size(), out);
    } else {
      resource.table.look(keys.data(), keys.size(), mode_ == "first" ? Unseen::first_value : Unseen::zeros, out);
    }
    return absl::OkStatus();
  }

 private:
  std::string mode_;
};

absl::Status check_rows(const Tensor& keys, const Tensor& rows, size_t width, const char* what) {
  if (keys.dims() != 1) {
    return absl::InvalidArgumentError(absl::StrCat("keys must be [n], not ", keys.shape().DebugString()));
  }
  if (rows.dims() != 2 || rows.dim_size(0) != keys.dim_size(0) || rows.dim_size(1) != static_cast<int64_t>(width)) {
    return absl::InvalidArgumentError(absl::StrCat(what, " must be [", keys.dim_size(0), ", ", width, "], not ",
                                                   rows.shape().DebugString()));
  }
  return absl::OkStatus();
}

class WriteRowsOp : public TableKernel {
 public:
  explicit WriteRowsOp(OpKernelConstruction* context) : TableKernel(context) {
    static const std::map<std::string, WriteOp> ops = {
        {"assign", WriteOp::assign},     {"add", WriteOp::add},         {"subtract", WriteOp::subtract},
        {"multiply", WriteOp::multiply}, {"divide", WriteOp::divide},   {"minimum", WriteOp::minimum},
        {"maximum", WriteOp::maximum}};
    std::string name;
    OP_REQUIRES_OK(context, context->GetAttr("op", &name));
    op_ = ops.at(name);
  }

 protected:
  absl::Status work(OpKernelContext* context, TableResource& resource) override {
    TF_RETURN_IF_ERROR(check_rows(context->input(1), context->input(2), resource.table.width(), "rows"));
    const Keys keys(context->input(1));
    resource.table.write(keys.data(), keys.size(), context->input(2).flat<float>().data(), op_);
    return absl::OkStatus();
  }

 private:
  WriteOp op_;
};

class ApplyOp : public TableKernel {
 public:
  explicit ApplyOp(OpKernelConstruction* context) : TableKernel(context) {
    bool skip;
    OP_REQUIRES_OK(context, context->GetAttr("skip_non_finite", &skip));
    policy_ = skip ? NonFinite::skip : NonFinite::refuse;
  }

 protected:
  absl::Status work(OpKernelContext* context, TableResource& resource) override {
    TF_RETURN_IF_ERROR(check_rows(context->input(1), context->input(2), resource.table.width(), "gradients"));
    const Tensor &time = context->input(3), &rates = context->input(4);
    if (time.NumElements() != 1) return absl::InvalidArgumentError("time must be one number");
    if (rates.NumElements() > 1) return absl::InvalidArgumentError("learning_rate must be one number, or none");
    double rate = std::numeric_limits<double>::quiet_NaN();
    if (rates.NumElements() == 1) {
      rate = rates.flat<double>()(0);
      const ParameterInfo& known = resource.table.optimizer().parameters[0];
      if (!(known.low <= rate && rate < known.high)) {
        return absl::InvalidArgumentError(absl::StrCat(known.name, " must be a number from ", known.low, " below ",
                                                       known.high, ", not ", rate));
      }
    }
    const Keys keys(context->input(1));
    resource.table.apply(keys.data(), keys.size(), context->input(2).flat<float>().data(),
                         seconds(time.flat<int64_t>()(0)), rate, policy_);
    return absl::OkStatus();
  }

 private:
  NonFinite policy_;
};

REGISTER_KERNEL_BUILDER(Name("TfplusGather").Device(tensorflow::DEVICE_CPU), GatherOp);
REGISTER_KERNEL_BUILDER(Name("TfplusWrite").Device(tensorflow::DEVICE_CPU), WriteRowsOp);
REGISTER_KERNEL_BUILDER(Name("TfplusApply").Device(tensorflow::DEVICE_CPU), ApplyOp);

}  // namespace

}  // namespace tfplus
