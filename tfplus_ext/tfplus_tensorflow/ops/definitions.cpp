// The ops: inputs, outputs, and the shapes that are checked while a graph is built.
#include <string>
#include <vector>

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeAndType;
using tensorflow::shape_inference::ShapeHandle;

absl::Status handle_shape(InferenceContext* c) {
  int64_t width;
  TF_RETURN_IF_ERROR(c->GetAttr("width", &width));
  c->set_output(0, c->Scalar());
  const ShapeHandle rows = c->Matrix(InferenceContext::kUnknownDim, width);
  c->set_output_handle_shapes_and_types(0, {ShapeAndType(rows, tensorflow::DT_FLOAT)});
  return absl::OkStatus();
}

/// The width of the table that is the first input; unknown where its handle comes from elsewhere.
DimensionHandle width_of(InferenceContext* c) {
  const std::vector<ShapeAndType>* known = c->input_handle_shapes_and_types(0);
  if (known == nullptr || known->size() != 1 || c->Rank((*known)[0].shape) != 2) return c->UnknownDim();
  return c->Dim((*known)[0].shape, 1);
}

absl::Status check_table(InferenceContext* c) {
  ShapeHandle handle;
  return c->WithRank(c->input(0), 0, &handle);
}

/// Keys of any shape → one row each.
absl::Status gather_shape(InferenceContext* c) {
  TF_RETURN_IF_ERROR(check_table(c));
  ShapeHandle out;
  TF_RETURN_IF_ERROR(c->Concatenate(c->input(1), c->Vector(width_of(c)), &out));
  c->set_output(0, out);
  return absl::OkStatus();
}

/// Keys of any shape → one number each.
absl::Status each_shape(InferenceContext* c) {
  TF_RETURN_IF_ERROR(check_table(c));
  c->set_output(0, c->input(1));
  return absl::OkStatus();
}

absl::Status slots_shape(InferenceContext* c) {
  TF_RETURN_IF_ERROR(check_table(c));
  ShapeHandle out;
  TF_RETURN_IF_ERROR(c->Concatenate(c->input(1), c->Vector(c->UnknownDim()), &out));
  c->set_output(0, out);
  return absl::OkStatus();
}

/// keys [n] and rows [n, width].
absl::Status check_rows(InferenceContext* c) {
  TF_RETURN_IF_ERROR(check_table(c));
  ShapeHandle keys, rows, merged;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &keys));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 2, &rows));
  return c->Merge(rows, c->Matrix(c->Dim(keys, 0), width_of(c)), &merged);
}

absl::Status check_scalars(InferenceContext* c, int from, int to) {
  for (int input = from; input < to; ++input) {
    ShapeHandle scalar;
    TF_RETURN_IF_ERROR(c->WithRank(c->input(input), 0, &scalar));
  }
  return absl::OkStatus();
}

absl::Status apply_shape(InferenceContext* c) {
  TF_RETURN_IF_ERROR(check_rows(c));
  TF_RETURN_IF_ERROR(check_scalars(c, 3, 4));
  ShapeHandle rate;
  return c->WithRank(c->input(4), 1, &rate);
}

absl::Status delete_shape(InferenceContext* c) {
  c->set_output(0, c->Scalar());
  return check_table(c);
}

absl::Status evict_shape(InferenceContext* c) {
  c->set_output(0, c->Scalar());
  return check_scalars(c, 0, 5);
}

absl::Status scalar_shape(InferenceContext* c) {
  c->set_output(0, c->Scalar());
  return check_table(c);
}

absl::Status vector_shape(InferenceContext* c) {
  c->set_output(0, c->UnknownShapeOfRank(1));
  return check_table(c);
}

constexpr int kCounters = 5;

absl::Status counters_shape(InferenceContext* c) {
  c->set_output(0, c->Vector(kCounters));
  return check_table(c);
}

absl::Status export_shape(InferenceContext* c) {
  TF_RETURN_IF_ERROR(check_table(c));
  std::vector<int64_t> widths;
  TF_RETURN_IF_ERROR(c->GetAttr("widths", &widths));
  int output = 0;
  const DimensionHandle rows = c->UnknownDim(), candidates = c->UnknownDim();
  for (int i = 0; i < 3; ++i) c->set_output(output++, c->Vector(rows));
  for (const int64_t width : widths) c->set_output(output++, c->Matrix(rows, c->MakeDim(width)));
  c->set_output(output++, c->UnknownShapeOfRank(1));
  for (int i = 0; i < 3; ++i) c->set_output(output++, c->Vector(candidates));
  c->set_output(output++, c->Vector(kCounters));
  return absl::OkStatus();
}

/// The same in the same order, as inputs behind the table.
absl::Status import_shape(InferenceContext* c) {
  TF_RETURN_IF_ERROR(check_table(c));
  std::vector<int64_t> widths;
  TF_RETURN_IF_ERROR(c->GetAttr("widths", &widths));
  int input = 1;
  ShapeHandle merged, rows = c->UnknownShapeOfRank(1), candidates = c->UnknownShapeOfRank(1);
  for (int i = 0; i < 3; ++i) TF_RETURN_IF_ERROR(c->Merge(c->input(input++), rows, &rows));
  for (const int64_t width : widths) {
    TF_RETURN_IF_ERROR(c->Merge(c->input(input++), c->Matrix(c->Dim(rows, 0), c->MakeDim(width)), &merged));
  }
  TF_RETURN_IF_ERROR(c->WithRank(c->input(input++), 1, &merged));
  for (int i = 0; i < 3; ++i) TF_RETURN_IF_ERROR(c->Merge(c->input(input++), candidates, &candidates));
  TF_RETURN_IF_ERROR(c->Merge(c->input(input++), c->Vector(kCounters), &merged));
  return c->WithRank(c->input(input), 0, &merged);
}

}  // namespace

// Numbers that are not whole are written out: an attribute of type float has half their digits.
REGISTER_OP("TfplusTable")
    .Attr("container: string = ''")
    .Attr("shared_name: string = ''")
    .Attr("width: int >= 1")
    .Attr("optimizer: string")
    .Attr("parameters: list(string)")
    .Attr("initializer: string")
    .Attr("initial: list(string)")
    .Attr("seed: int")
    .Attr("admission: {'always', 'count', 'probability'}")
    .Attr("admit: string")
    .Attr("max_rows: int >= 0")
    .Attr("evict_at_limit: bool")
    .Attr("shards: int >= 1")
    .Attr("threads: int >= 1")
    .Output("table: resource")
    .SetIsStateful()
    .SetShapeFn(handle_shape)
    .Doc("A table by its name, made where there is none; without a name a new one, that lives as long as its handle.");

REGISTER_OP("TfplusGather")
    .Input("table: resource")
    .Input("keys: Tkeys")
    .Attr("Tkeys: {int32, int64}")
    .Attr("mode: {'zeros', 'first', 'error', 'train'}")
    .Output("rows: float")
    .SetIsStateful()
    .SetShapeFn(gather_shape)
    .Doc("Rows of the keys. Keys without a row read zeros, or their first value, or are an error, or for training become rows.");

REGISTER_OP("TfplusWrite")
    .Input("table: resource")
    .Input("keys: Tkeys")
    .Input("rows: float")
    .Attr("Tkeys: {int32, int64}")
    .Attr("op: {'assign', 'add', 'subtract', 'multiply', 'divide', 'minimum', 'maximum'}")
    .SetIsStateful()
    .SetShapeFn(check_rows)
    .Doc("Rows set, or changed by others, one after the other.");

REGISTER_OP("TfplusApply")
    .Input("table: resource")
    .Input("keys: Tkeys")
    .Input("gradients: float")
    .Input("time: int64")
    .Input("learning_rate: double")
    .Attr("Tkeys: {int32, int64}")
    .Attr("skip_non_finite: bool")
    .SetIsStateful()
    .SetShapeFn(apply_shape)
    .Doc("One step of the table's optimizer. The learning rate is a vector of one number, or empty: the table's.");

REGISTER_OP("TfplusCounts")
    .Input("table: resource")
    .Input("keys: Tkeys")
    .Attr("Tkeys: {int32, int64}")
    .Output("counts: int64")
    .SetIsStateful()
    .SetShapeFn(each_shape);

REGISTER_OP("TfplusTimes")
    .Input("table: resource")
    .Input("keys: Tkeys")
    .Attr("Tkeys: {int32, int64}")
    .Output("times: int64")
    .SetIsStateful()
    .SetShapeFn(each_shape);

REGISTER_OP("TfplusContains")
    .Input("table: resource")
    .Input("keys: Tkeys")
    .Attr("Tkeys: {int32, int64}")
    .Output("found: bool")
    .SetIsStateful()
    .SetShapeFn(each_shape);

REGISTER_OP("TfplusSlots")
    .Input("table: resource")
    .Input("keys: Tkeys")
    .Attr("Tkeys: {int32, int64}")
    .Output("slots: float")
    .SetIsStateful()
    .SetShapeFn(slots_shape);

REGISTER_OP("TfplusDelete")
    .Input("table: resource")
    .Input("keys: Tkeys")
    .Attr("Tkeys: {int32, int64}")
    .Output("deleted: int64")
    .SetIsStateful()
    .SetShapeFn(delete_shape);

REGISTER_OP("TfplusEvict")
    .Input("table: resource")
    .Input("before: int64")
    .Input("min_count: int64")
    .Input("min_norm: double")
    .Input("max_rows: int64")
    .Output("evicted: int64")
    .SetIsStateful()
    .SetShapeFn(evict_shape)
    .Doc("Rows that fall under any bound are given up. A bound below zero is none.");

REGISTER_OP("TfplusClear").Input("table: resource").SetIsStateful().SetShapeFn(check_table);

REGISTER_OP("TfplusSize")
    .Input("table: resource")
    .Attr("what: {'rows', 'candidates', 'bytes'}")
    .Output("size: int64")
    .SetIsStateful()
    .SetShapeFn(scalar_shape);

REGISTER_OP("TfplusKeys").Input("table: resource").Output("keys: int64").SetIsStateful().SetShapeFn(vector_shape);

REGISTER_OP("TfplusCounters")
    .Input("table: resource")
    .Output("counters: int64")
    .SetIsStateful()
    .SetShapeFn(counters_shape)
    .Doc("lookups, steps, evicted, now, skipped_rows.");

REGISTER_OP("TfplusExport")
    .Input("table: resource")
    .Attr("what: {'all', 'changes', 'copy'}")
    .Attr("widths: list(int) >= 1")
    .Attr("N: int >= 1")
    .Output("keys: int64")
    .Output("counts: int64")
    .Output("times: int64")
    .Output("columns: N * float")
    .Output("deleted: int64")
    .Output("candidate_keys: int64")
    .Output("candidate_counts: int64")
    .Output("candidate_times: int64")
    .Output("counters: int64")
    .SetIsStateful()
    .SetShapeFn(export_shape)
    .Doc("Everything, or what changed since the last export that was committed; a copy leaves those marks alone.");

REGISTER_OP("TfplusEndExport")
    .Input("table: resource")
    .Attr("committed: bool")
    .SetIsStateful()
    .SetShapeFn(check_table);

REGISTER_OP("TfplusImport")
    .Input("table: resource")
    .Input("keys: int64")
    .Input("counts: int64")
    .Input("times: int64")
    .Input("columns: N * float")
    .Input("deleted: int64")
    .Input("candidate_keys: int64")
    .Input("candidate_counts: int64")
    .Input("candidate_times: int64")
    .Input("counters: int64")
    .Input("replace: bool")
    .Attr("widths: list(int) >= 1")
    .Attr("N: int >= 1")
    .Attr("int32_keys: bool = false")
    .Attr("check_only: bool = false")
    .SetIsStateful()
    .SetShapeFn(import_shape)
    .Doc("What was exported, instead of what the table holds or on top of it. With check_only it fails as it would, "
         "and does nothing otherwise.");
