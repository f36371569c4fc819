"""What a `model_fn` needs of `tf.estimator`, which TensorFlow no longer ships: one changed import.

from penrose_tensorflow.model_fn import estimator      # instead of: from tensorflow import estimator
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["EstimatorSpec", "ModeKeys"]


class ModeKeys:
    """What `mode` says. A `model_fn` is called with TRAIN and with PREDICT; the host evaluates by itself."""

    TRAIN = "train"
    EVAL = "eval"
    PREDICT = "infer"


@dataclass(frozen=True)
class EstimatorSpec:
    """What a `model_fn` returns.

    `predictions`, in PREDICT: a dict with `probabilities`, float [rows] or [rows, labels], or with one entry for each
    label, float [rows] or [rows, 1]. `loss` (a number) and `train_op`, in TRAIN.
    `eval_metric_ops` and `export_outputs` may be given and are not used: the host measures and exports.
    """

    mode: str
    predictions: Mapping[str, Any] | None = None
    loss: Any = None
    train_op: Any = None
    eval_metric_ops: Mapping[str, Any] | None = None
    export_outputs: Mapping[str, Any] | None = None
