"""What a table holds, as tensors by name: how it is taken out, checked and put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from penrose_tfplus_tensorflow._library import ops
from penrose_tfplus_tensorflow.op_results import graph_operation, op_message
from penrose_tfplus_tensorflow.table_resource import TableResource

__all__ = ["Content", "checked_content", "export_content", "import_content"]

Content = dict[str, tf.Tensor]
_COUNTERS = 5


def _specs(table: TableResource) -> dict[str, tf.TensorSpec]:
    """Name → what it must be, in the order of the ops."""
    numbers = tf.TensorSpec([None], tf.int64)
    columns = {f"slot_{slot}": tf.TensorSpec([None, width], tf.float32) for slot, width in table.slot_widths.items()}
    return {
        "keys": numbers,
        "counts": numbers,
        "times": numbers,
        "rows": tf.TensorSpec([None, table.width], tf.float32),
        **columns,
        "deleted": numbers,
        "candidate_keys": numbers,
        "candidate_counts": numbers,
        "candidate_times": numbers,
        "counters": tf.TensorSpec([_COUNTERS], tf.int64),
        "full": tf.TensorSpec([], tf.bool),
    }


def _widths(table: TableResource) -> list[int]:
    return [table.width, *table.slot_widths.values()]


def export_content(table: TableResource, what: str) -> Content:
    """All, changes, or a copy that leaves no trace: without `deleted` and `full`."""
    widths = _widths(table)
    try:
        keys, counts, times, columns, *others = ops.tfplus_export(table.handle, what=what, widths=widths, N=len(widths))
    except tf.errors.FailedPreconditionError as error:
        hint = "call commit_export or abort_export first" if "neither" in error.message else "export(full=True)"
        raise tf.errors.FailedPreconditionError(
            error.node_def, error.op, f"table {table.name!r}: {op_message(error)}: {hint}"
        ) from error
    flat = [keys, counts, times, *columns, *others, tf.constant(what != "changes")]
    content = dict(zip(_specs(table), flat, strict=True))
    if what == "copy":
        del content["deleted"], content["full"]
    return content


def checked_content(table: TableResource, content: Mapping[str, Any]) -> Content:
    """The tensors that an import takes. Raises ValueError where one is missing, too many, or of another kind."""
    specs = _specs(table)
    missing, unknown = specs.keys() - content.keys(), content.keys() - specs.keys()
    if missing:
        raise ValueError(f"table {table.name!r} cannot take this over: it has no {', '.join(sorted(missing))}")
    if unknown:
        raise ValueError(
            f"table {table.name!r} has no {', '.join(sorted(unknown))}: it is trained by another optimizer"
        )
    found = {name: tf.convert_to_tensor(content[name]) for name in specs}
    for name, spec in specs.items():
        shape = spec.shape
        if name in ("counts", "times", "rows") or name.startswith("slot_"):
            shape = found["keys"].shape[:1].concatenate(shape[1:])
        elif name in ("candidate_counts", "candidate_times"):
            shape = found["candidate_keys"].shape[:1]
        if found[name].dtype != spec.dtype or not found[name].shape.is_compatible_with(shape):
            raise ValueError(
                f"table {table.name!r}: {name} must be {spec.dtype.name} {shape}, "
                f"not {found[name].dtype.name} {found[name].shape}"
            )
    return found


def import_content(table: TableResource, content: Content, *, check_only: bool = False) -> Any:
    """Put checked content into the table, or only find out whether that can be.

    Eagerly raises ValueError, the table unchanged, for what cannot be.
    """
    *flat, full = (content[name] for name in _specs(table))
    widths = _widths(table)
    end = 3 + len(widths)
    try:
        return graph_operation(
            ops.tfplus_import(
                table.handle,
                *flat[:3],
                flat[3:end],
                *flat[end:],
                full,
                widths=widths,
                int32_keys=table.key_dtype == tf.int32,
                check_only=check_only,
            )
        )
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"table {table.name!r}: {op_message(error)}") from error
