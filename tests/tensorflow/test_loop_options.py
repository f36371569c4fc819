"""Who runs the loop, and what with: options that do not fit together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from penrose_tensorflow.executor import TensorflowExecutor


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loop": "fit"}, "`loop: fit` trains a compiled Keras model of your own"),
        ({"loop": "nonsense"}, "'nonsense' is neither host, fit nor module:function"),
        ({"loop": "fit", "loop_timeout": 0}, "greater than 0"),
        ({"model_fn": "nonsense"}, "'nonsense' is not module:function"),
        ({"model_fn": "a:b", "model": "c:d"}, "either `model` or `model_fn`"),
        ({"model_fn": "a:b", "loop": "fit"}, "trained by the host's loop"),
        (
            {"model": "a:b", "loop": "fit", "optimizer": {"name": "sgd"}, "reduction": "mean"},
            "`loop: fit` brings its own loss and optimizer; take out optimizer, reduction",
        ),
        ({"model_fn": "a:b", "dense_optimizer": {"name": "sgd"}}, "`model_fn` brings its own .* out dense_optimizer"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TensorflowExecutor.Options(**options)
