// The handle of a table: makes it, finds it by its name.
#include <charconv>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "resource.h"

namespace tfplus {

namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;

double number(const std::string& text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec != std::errc() || parsed.ptr != end) throw std::invalid_argument("this is no number: " + text);
  return value;
}

std::vector<double> numbers(const std::vector<std::string>& texts) {
  std::vector<double> values;
  for (const std::string& text : texts) values.push_back(number(text));
  return values;
}

class TableOp : public tensorflow::OpKernel {
 public:
  explicit TableOp(OpKernelConstruction* context) : OpKernel(context) {
    std::vector<std::string> parameters, initial;
    std::string admission, admit;
    int64_t width, seed, max_rows, shards, threads;
    OP_REQUIRES_OK(context, context->GetAttr("container", &container_));
    OP_REQUIRES_OK(context, context->GetAttr("shared_name", &name_));
    OP_REQUIRES_OK(context, context->GetAttr("width", &width));
    OP_REQUIRES_OK(context, context->GetAttr("optimizer", &options_.optimizer));
    OP_REQUIRES_OK(context, context->GetAttr("parameters", &parameters));
    OP_REQUIRES_OK(context, context->GetAttr("initializer", &options_.initializer));
    OP_REQUIRES_OK(context, context->GetAttr("initial", &initial));
    OP_REQUIRES_OK(context, context->GetAttr("seed", &seed));
    OP_REQUIRES_OK(context, context->GetAttr("admission", &admission));
    OP_REQUIRES_OK(context, context->GetAttr("admit", &admit));
    OP_REQUIRES_OK(context, context->GetAttr("max_rows", &max_rows));
    OP_REQUIRES_OK(context, context->GetAttr("evict_at_limit", &options_.evict_at_limit));
    OP_REQUIRES_OK(context, context->GetAttr("shards", &shards));
    OP_REQUIRES_OK(context, context->GetAttr("threads", &threads));
    options_.width = static_cast<size_t>(width);
    options_.seed = static_cast<uint64_t>(seed);
    options_.admission = admission == "count"         ? Admission::count
                         : admission == "probability" ? Admission::probability
                                                      : Admission::always;
    options_.max_rows = static_cast<size_t>(max_rows);
    options_.shards = static_cast<size_t>(shards);
    options_.threads = static_cast<size_t>(threads);
    OP_REQUIRES_OK(context, guarded([&] {
                     options_.parameters = numbers(parameters);
                     options_.initial = numbers(initial);
                     options_.admit = number(admit);
                   }));
    description_ = absl::StrCat("width ", width, ", optimizer ", options_.optimizer, " (",
                                absl::StrJoin(parameters, ", "), "), initializer ", options_.initializer, " (",
                                absl::StrJoin(initial, ", "), "), seed ", options_.seed, ", admission ", admission, " ",
                                admit, ", at most ", max_rows, " rows, evict ", options_.evict_at_limit);
  }

  void Compute(OpKernelContext* context) override {
    tensorflow::Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {}, &out));
    auto& handle = out->scalar<tensorflow::ResourceHandle>()();
    if (name_.empty()) {
      TableResource* made = nullptr;
      OP_REQUIRES_OK(context, make(&made));
      handle = tensorflow::ResourceHandle::MakeRefCountingHandle(made, context->device()->name());
      return;
    }
    tensorflow::core::RefCountPtr<TableResource> found;
    TableResource* raw = nullptr;
    OP_REQUIRES_OK(context, context->resource_manager()->LookupOrCreate<TableResource>(
                                container_of(context), name_, &raw, [this](TableResource** made) { return make(made); }));
    found.reset(raw);
    OP_REQUIRES(context, found->DebugString() == description_,
                absl::InvalidArgumentError(absl::StrCat("the table ", name_, " is there already, with ",
                                                        found->DebugString(), "; this one would have ", description_)));
    handle = tensorflow::MakeResourceHandle<TableResource>(context, container_of(context), name_);
  }

 private:
  std::string container_of(OpKernelContext* context) const {
    return container_.empty() ? context->resource_manager()->default_container() : container_;
  }

  absl::Status make(TableResource** made) const {
    return guarded([&] { *made = new TableResource(options_, description_); });
  }

  TableOptions options_;
  std::string container_, name_, description_;
};

REGISTER_KERNEL_BUILDER(Name("TfplusTable").Device(tensorflow::DEVICE_CPU), TableOp);

}  // namespace

}  // namespace tfplus
