from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from executor_suite.steps import EachModel, Steps, each

from penrose_host import ConfigError


# Each model, and each source of rows: what has to do with one has nothing to do with the other.
@each([("logistic", 1000), ("logistic", None), ("fm", None), ("deepfm", 1000), ("dcn", None)])
class TestEachModel(EachModel):
    """With a table or with a layer."""


class TestSteps(Steps):
    def embeddings(self, learner: Any, ids: np.ndarray) -> np.ndarray:
        return np.asarray(learner.rows.embedded(learner.rows.feed(ids, train=False)))

    def weights_of_numbers(self, learner: Any) -> np.ndarray:
        return learner.model.linear.kernel.numpy()


def test_a_gpu_that_is_not_there_is_a_fault_of_the_job(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorflow.config.get_visible_devices", lambda kind: [])
    with pytest.raises(ConfigError, match="TensorFlow finds no GPU"):
        lab.executor(lab.rich, device="gpu")
