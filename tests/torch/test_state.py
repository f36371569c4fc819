from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from executor_suite.state import ZEROS, RestoredRun, State, assert_refused, changed
from executor_suite.steps import MODELS

NOISY = """
import torch
from torch import nn

class Noisy(nn.Module):
    def __init__(self, features, width):
        super().__init__()
        self.names = features.categorical
        self.normal = nn.BatchNorm1d(len(self.names) * width)
        self.layers = nn.Sequential(nn.Dropout(0.5), nn.Linear(len(self.names) * width, len(features.labels)))

    def forward(self, inputs):
        return self.layers(self.normal(torch.cat([inputs[name] for name in self.names], 1)))

def build(features, width):
    return Noisy(features, width)
"""


@pytest.fixture(autouse=True)
def noisy_model(write_module: Callable[[str, str], None]) -> None:
    write_module("noisy_model", NOISY)


@pytest.mark.parametrize("rows", [1000, None], ids=["table", "layer"])
@pytest.mark.parametrize("model", [*MODELS, "noisy_model:build"])
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "adam"])
class TestRestoredRun(RestoredRun):
    """Generators and averages included."""


class TestState(State):
    adam = "SparseAdam"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (changed(random__cpu=None), "random holds"),
        (changed(model__linear_dot_bias=None), "model holds"),
        (changed(model__linear_dot_bias=ZEROS), r"model holds .*\[7, 7\]"),
        (changed(model__more=ZEROS), "model holds"),
        (changed(optimizer__9_dot_exp_avg=ZEROS), "optimizer has no parameter 9"),
        (changed(optimizer__x=ZEROS), "optimizer has no parameter x"),
        (changed(optimizer__0_dot_exp_avg=ZEROS), "not its parameter's shape"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(lab: Any, edit: Any, message: str) -> None:
    assert_refused(lab, edit, message)
