"""What a table holds, as tensors by name: how it is taken out, checked and put back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from penrose_tfplus_tensorflow._library import ops

if TYPE_CHECKING:
    from penrose_tfplus_tensorflow.kv_variable import KvVariable

__all__ = ["Content", "checked_content", "done", "of_export", "said", "to_import"]

Content = dict[str, tf.Tensor]
_COUNTERS = 5


def _specs(kv: KvVariable) -> dict[str, tf.TensorSpec]:
    """Name → what it must be, in the order of the ops."""
    numbers = tf.TensorSpec([None], tf.int64)
    columns = {f"slot_{slot}": tf.TensorSpec([None, width], tf.float32) for slot, width in kv.slot_widths.items()}
    return {
        "keys": numbers,
        "counts": numbers,
        "times": numbers,
        "rows": tf.TensorSpec([None, kv.width], tf.float32),
        **columns,
        "deleted": numbers,
        "candidate_keys": numbers,
        "candidate_counts": numbers,
        "candidate_times": numbers,
        "counters": tf.TensorSpec([_COUNTERS], tf.int64),
        "full": tf.TensorSpec([], tf.bool),
    }


def _widths(kv: KvVariable) -> list[int]:
    return [kv.width, *kv.slot_widths.values()]


def of_export(kv: KvVariable, what: str) -> Content:
    """All, changes, or a copy that leaves no trace: without `deleted` and `full`."""
    widths = _widths(kv)
    try:
        keys, counts, times, columns, *others = ops.tfplus_export(kv.handle, what=what, widths=widths, N=len(widths))
    except tf.errors.FailedPreconditionError as error:
        hint = "call commit_export or abort_export first" if "neither" in error.message else "export(full=True)"
        raise tf.errors.FailedPreconditionError(
            error.node_def, error.op, f"table {kv.name!r}: {said(error)}: {hint}"
        ) from error
    flat = [keys, counts, times, *columns, *others, tf.constant(what != "changes")]
    content = dict(zip(_specs(kv), flat, strict=True))
    if what == "copy":
        del content["deleted"], content["full"]
    return content


def checked_content(kv: KvVariable, content: Mapping[str, Any]) -> Content:
    """The tensors that an import takes. Raises ValueError where one is missing, too many, or of another kind."""
    specs = _specs(kv)
    missing, unknown = specs.keys() - content.keys(), content.keys() - specs.keys()
    if missing:
        raise ValueError(f"table {kv.name!r} cannot take this over: it has no {', '.join(sorted(missing))}")
    if unknown:
        raise ValueError(f"table {kv.name!r} has no {', '.join(sorted(unknown))}: it is trained by another optimizer")
    found = {name: tf.convert_to_tensor(content[name]) for name in specs}
    for name, spec in specs.items():
        shape = spec.shape
        if name in ("counts", "times", "rows") or name.startswith("slot_"):
            shape = found["keys"].shape[:1].concatenate(shape[1:])
        elif name in ("candidate_counts", "candidate_times"):
            shape = found["candidate_keys"].shape[:1]
        if found[name].dtype != spec.dtype or not found[name].shape.is_compatible_with(shape):
            raise ValueError(
                f"table {kv.name!r}: {name} must be {spec.dtype.name} {shape}, "
                f"not {found[name].dtype.name} {found[name].shape}"
            )
    return found


def to_import(kv: KvVariable, content: Content, *, check_only: bool = False) -> Any:
    """Put checked content into the table, or only find out whether that can be.

    Eagerly raises ValueError, the table unchanged, for what cannot be.
    """
    *flat, full = (content[name] for name in _specs(kv))
    widths = _widths(kv)
    end = 3 + len(widths)
    try:
        return done(
            ops.tfplus_import(
                kv.handle,
                *flat[:3],
                flat[3:end],
                *flat[end:],
                full,
                widths=widths,
                int32_keys=kv.key_dtype == tf.int32,
                check_only=check_only,
            )
        )
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"table {kv.name!r}: {said(error)}") from error


def said(error: tf.errors.OpError) -> str:
    """What the op itself said, without where TensorFlow ran it."""
    return re.sub(r"^\{\{.*?\}\} | \[Op:.*$", "", error.message)


def done(operation: Any) -> Any:
    """The operation in a graph of TensorFlow 1, where someone has to run it; None elsewhere."""
    return None if tf.compat.v1.executing_eagerly_outside_functions() else operation
