"""Modules of the user's: the example in README.md of penrose-torch, and what is wrong with one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from executor_suite.custom_model import CustomModel, shapes_of_inputs

from penrose_host import TrainingError


def returning(expression: str, more: str = "") -> str:
    return f"""
import torch
from torch import nn

def rows(x):
    return x.sum(1)

def number(x):
    return x.sum()

def integers(x):
    return x.long()

class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        {more}

    def forward(self, x):
        return {expression}

def build(features, width):
    return M()
"""


class TestCustomModel(CustomModel):
    kind = "torch.nn.Module"
    no_key = "KeyError.*'usr'.*"
    unused_layer = "self.more = nn.Linear(2, 2)"
    averaging = ("self.normal(x['x'][:, None])[:, 0] * self.weight", "self.normal = nn.BatchNorm1d(1)")

    def returning(self, expression: str, more: str = "") -> str:
        return returning(expression, more)


def test_inputs_are_embeddings_pooled_lists_and_numbers_by_name(lab: Any, module: Callable[[str], None]) -> None:
    shapes = "{name: list(value.shape) for name, value in x.items()}"
    module(
        returning(f"shapes.append({shapes}) or torch.zeros(x['age'].shape[0], 2) + x['price'][:, None]")
        + "shapes = []\n"
    )
    executor = lab.executor(lab.rich, model="my_models:build", width=3)
    executor.predict(lab.batch(lab.rich, 4))
    assert sys.modules["my_models"].shapes[-1] == shapes_of_inputs(4, 3)


def test_a_shape_that_goes_wrong_later_is_an_error_that_names_the_module(
    lab: Any, module: Callable[[str], None]
) -> None:
    module(returning("rows(x['user'])[:3]"))
    executor = lab.executor(lab.plain, model="my_models:build")
    with pytest.raises(TrainingError, match=r"the module of my_models:build returned float32 \[3\] for 5 rows"):
        executor.predict(lab.batch(lab.plain, 5))


def test_a_module_that_raises_later_is_named_too(lab: Any, module: Callable[[str], None]) -> None:
    module(returning("rows(x['user']) if x['user'].shape[0] == 3 else 1 / 0"))
    executor = lab.executor(lab.plain, model="my_models:build")
    with pytest.raises(
        TrainingError, match=r"my_models:build raised ZeroDivisionError.* for 5 rows\n  its input has user, item"
    ):
        executor.predict(lab.batch(lab.plain, 5))
