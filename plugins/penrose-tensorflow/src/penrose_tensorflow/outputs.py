"""What a model of the user's gives for each label: found, checked, and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from penrose_host import TrainingError
from penrose_tensorflow.random_operations import kinds

if TYPE_CHECKING:
    from penrose_host import Float32

__all__ = ["by_head", "described", "finite", "log_losses", "stacked", "unknown_variables"]

_FILLS_TABLES = {"LookupTableInsertV2", "LookupTableRemoveV2", "LookupTableImportV2"}


def stacked(found: Any, heads: Sequence[str]) -> tf.Tensor | None:
    """One column for each label, float32 [rows, heads]; None where that cannot be made of what was `found`.

    Each label's may be [rows] or [rows, 1], in a dict by label; or all of them [rows, heads], for one label [rows] too.
    """
    if isinstance(found, Mapping):
        if not all(head in found and _is_column(found[head]) for head in heads):
            return None
        return tf.concat([_floats(tf.reshape(found[head], [-1, 1])) for head in heads], 1)
    if len(heads) == 1 and _is_column(found):
        return _floats(tf.reshape(found, [-1, 1]))
    return _floats(found) if _is_float(found) and found.shape[1:] == [len(heads)] else None


def _floats(found: tf.Tensor) -> tf.Tensor:
    return tf.cast(found, tf.float32)


def _is_float(found: Any) -> bool:
    return tf.is_tensor(found) and isinstance(found, tf.Tensor) and found.dtype.is_floating


def _is_column(found: Any) -> bool:
    return _is_float(found) and (found.shape.rank == 1 or (found.shape.rank == 2 and found.shape[1] == 1))


def described(found: Any) -> str:
    """The same in words, for errors."""
    if isinstance(found, Mapping):
        return "{" + ", ".join(f"{name}: {described(value)}" for name, value in found.items()) + "}"
    if isinstance(found, tf.Tensor):
        shape = "[?]" if found.shape.rank is None else str(["rows" if n is None else n for n in found.shape])
        return f"{found.dtype.name} {shape}".replace("'", "")
    return f"a {type(found).__name__}"


def by_head(
    columns: Float32, heads: Sequence[str], rows: int, wrong: Callable[[str], TrainingError]
) -> dict[str, Float32]:
    """Probabilities [rows, heads] as the host takes them. NaN passes; other numbers are `wrong`, and raised."""
    if len(columns) != rows:
        raise wrong(f"{len(columns)} probabilities for {rows} rows")
    for place, head in enumerate(heads):
        outside = (columns[:, place] < 0) | (columns[:, place] > 1)
        if outside.any():
            raise wrong(f"{columns[outside, place][0]} as the probability of {head!r}")
    return dict(zip(heads, np.ascontiguousarray(columns.T), strict=True))


def finite(variables: Iterable[tf.Variable]) -> Callable[[], tf.Tensor]:
    """A function that looks whether all numbers of these variables are finite now: bool []."""
    floats = [variable for variable in variables if variable.dtype.is_floating]

    def all_finite() -> tf.Tensor:
        return tf.reduce_all([tf.reduce_all(tf.math.is_finite(variable)) for variable in floats])

    traced: Callable[[], tf.Tensor] = tf.function(all_finite, autograph=False).get_concrete_function()
    return traced


def unknown_variables(graph: Any, known: Iterable[Any]) -> str:
    """What a graph uses that no checkpoint holds: variables beside those that are `known`, lookup tables it fills."""
    handles = {id(variable.handle) for variable in known}
    # Under construction it has them in the second place only; there is no public one.
    read = [*graph.variables, *getattr(graph, "_watched_variables", ())]
    names = {id(variable.handle): variable.name for variable in read}
    found: dict[str, None] = {}
    for outer, _ in graph.captures:
        # Of all resources only variables say what they hold; a generator's is captured without its variable.
        data = getattr(outer, "_handle_data", None)
        if id(outer) not in handles and data is not None and data.is_set:
            found[names.get(id(outer), "one without a name")] = None
    return ", ".join([*found, *(f"a lookup table ({kind})" for kind in sorted(kinds(graph) & _FILLS_TABLES))])


def log_losses(scores: Mapping[str, Float32], targets: Float32) -> dict[str, float]:
    """head → mean log loss of its labelled rows; targets float32 [rows, heads], NaN where there is none."""
    found = {}
    for place, (head, score) in enumerate(scores.items()):
        known = ~np.isnan(targets[:, place])
        label = targets[known, place].astype(np.float64)
        # Where a float32 has become 0 or 1 its logarithm is still finite.
        score = np.clip(score[known].astype(np.float64), 1e-7, 1 - 1e-7)
        losses = -(label * np.log(score) + (1 - label) * np.log1p(-score))
        found[head] = float(losses.mean()) if len(losses) else 0.0
    return found
