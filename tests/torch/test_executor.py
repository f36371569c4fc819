from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from executor_suite.steps import MODELS, EachModel, Steps, each

from penrose_host import ConfigError


@each([(model, rows) for model in MODELS for rows in (1000, None)])
class TestEachModel(EachModel):
    """With a table and with a layer."""


class TestSteps(Steps):
    def embeddings(self, learner: Any, ids: np.ndarray) -> np.ndarray:
        return learner.rows.read(ids, train=False).detach().numpy()

    def weights_of_numbers(self, learner: Any) -> np.ndarray:
        return learner.model.linear.weight.detach().numpy()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dense_optimizer": {"name": "adam", "beta1": 2}}, "executor.dense_optimizer: adam: Invalid beta"),
        ({"device": "cuda"}, "PyTorch finds no CUDA device"),
    ],
)
def test_what_pytorch_cannot_do_is_a_fault_of_the_job(
    lab: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=message):
        lab.executor(lab.rich, **options)
