"""Modules of the user's: the README's example, and everything that can be wrong with one."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penrose_host import EncodedBatch, FeatureSpec
from penrose_host.errors import ConfigError, TrainingError

README = Path(__file__).parents[2] / "plugins" / "penrose-torch" / "README.md"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Writes `my_models.py` where it can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_models", None)

    def write(text: str) -> None:
        (tmp_path / "my_models.py").write_text(text, "utf-8")

    yield write
    sys.modules.pop("my_models", None)


def returning(expression: str) -> str:
    """A module whose forward returns `expression` of its input x."""
    return f"""
import torch
from torch import nn

class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return {expression}

def build(features, width):
    return M()
"""


@pytest.mark.parametrize("rows", [1000, None], ids=["table", "layer"])
def test_the_example_of_the_readme_learns(lab: Any, module: Callable[[str], None], rows: int | None) -> None:
    (example,) = re.findall(r"```python\n(# my_models\.py\n.*?)```", README.read_text("utf-8"), re.DOTALL)
    module(example)
    executor = lab.executor(lab.rich, rows=rows, model="my_models:towers", model_options={"units": 16})
    batch = lab.batch(lab.rich, 64, labelled=1.0)
    first = executor.train(batch, lab.step()).losses
    for number in range(100):
        last = executor.train(batch, lab.step(number)).losses
    assert all(last[head] < 0.5 * first[head] for head in lab.rich.labels)


@pytest.mark.parametrize(
    "expression",
    ["x['user'].sum(1)", "x['user'].sum(1, keepdim=True)", "{'click': x['user'].sum(1) + x['item'].sum(1)}"],
    ids=["rows", "rows x heads", "by head"],
)
def test_logits_come_in_three_shapes(lab: Any, module: Callable[[str], None], expression: str) -> None:
    module(returning(expression))
    executor = lab.executor(lab.plain, model="my_models:build")
    for count in (0, 1, 5):
        batch = lab.batch(lab.plain, count, labelled=1.0)
        assert executor.predict(batch)["click"].shape == (count,)
        assert executor.train(batch, lab.step()).applied


def test_inputs_are_embeddings_pooled_lists_and_numbers_by_name(lab: Any, module: Callable[[str], None]) -> None:
    shapes = "{name: list(value.shape) for name, value in x.items()}"
    module(
        returning(f"shapes.append({shapes}) or torch.zeros(x['age'].shape[0], 2) + x['price'][:, None]")
        + "shapes = []\n"
    )
    executor = lab.executor(lab.rich, model="my_models:build", width=3)
    executor.predict(lab.batch(lab.rich, 4))
    assert sys.modules["my_models"].shapes[-1] == {
        "user": [4, 3],
        "item": [4, 3],
        "user x item": [4, 3],
        "tags": [4, 3],
        "history": [4, 3],
        "price": [4],
        "age": [4],
    }


def test_a_module_that_uses_no_embedding_and_not_all_parameters_trains(lab: Any, module: Callable[[str], None]) -> None:
    features = FeatureSpec(categorical=("a",), numeric=("x",), labels=("y",))
    module(
        returning("x['x'] * self.weight").replace(
            "super().__init__()", "super().__init__(); self.more = nn.Linear(2, 2)"
        )
    )
    executor = lab.executor(features, model="my_models:build")
    batch = EncodedBatch(np.zeros((4, 1), np.int64), {}, {"x": np.ones(4, np.float32)}, {"y": np.ones(4, np.float32)})
    before = executor.predict(batch)["y"]
    assert executor.train(batch, lab.step()).applied
    assert (executor.predict(batch)["y"] > before).all()


def test_a_step_that_is_not_finite_leaves_the_buffers_too(lab: Any, module: Callable[[str], None]) -> None:
    features = FeatureSpec(numeric=("x",), labels=("y",))
    module(
        returning("self.normal(x['x'][:, None])[:, 0] * self.weight").replace(
            "super().__init__()", "super().__init__(); self.normal = nn.BatchNorm1d(1)"
        )
    )
    executor = lab.executor(features, model="my_models:build")
    labels = {"y": np.ones(4, np.float32)}
    saved = lab.save(executor)
    bad = EncodedBatch(np.empty((4, 0), np.int64), {}, {"x": np.array([1, 2, np.nan, 3], np.float32)}, labels)
    assert not executor.train(bad, lab.step()).applied
    assert lab.save(executor) == saved
    good = EncodedBatch(np.empty((4, 0), np.int64), {}, {"x": np.arange(4, dtype=np.float32)}, labels)
    assert executor.train(good, lab.step()).applied
    assert lab.save(executor) != saved


@pytest.mark.parametrize(
    ("text", "model", "message"),
    [
        ("", "no_such_module:build", "no_such_module:build: there is no module 'no_such_module'"),
        ("import no_such_dependency", "my_models:build", "there is no module 'no_such_dependency'"),
        ("1 / 0", "my_models:build", "importing my_models raised ZeroDivisionError"),
        ("", "my_models:build", r"the module my_models \(.*my_models.py\) has no function 'build'"),
        ("build = 3", "my_models:build", "has no function 'build'"),
        ("def build(features): pass", "my_models:build", "my_models:build raised TypeError"),
        ("def build(features, width): return 3", "my_models:build", "returned a int, not a torch.nn.Module"),
        (returning("x['usr']"), "my_models:build", "raised KeyError.*'usr'.*for 3 rows"),
        (
            returning("3"),
            "my_models:build",
            r"returned a int for 3 rows; expected are logits: floats \[3, 1\] or \[3\]",
        ),
        (returning("x['user']"), "my_models:build", r"returned float32 \[3, 8\] for 3 rows"),
        (returning("x['user'].sum()"), "my_models:build", r"returned float32 \[\] for 3 rows"),
        (returning("x['user'].sum(1).long()"), "my_models:build", r"returned int64 \[3\] for 3 rows"),
        (
            returning("{'clack': x['user'].sum(1)}"),
            "my_models:build",
            r"returned {clack: float32 \[3\]}.*dict of click",
        ),
        (returning("{'click': x['user']}"), "my_models:build", r"returned {click: float32 \[3, 8\]} for 3 rows"),
    ],
)
def test_what_is_wrong_with_a_module_is_told_before_the_run(
    lab: Any, module: Callable[[str], None], text: str, model: str, message: str
) -> None:
    module(text)
    with pytest.raises(ConfigError, match=message) as caught:
        lab.executor(lab.plain, model=model)
    assert caught.value.faults[0][0] == "executor.model"


def test_a_shape_that_goes_wrong_later_is_an_error_that_names_the_module(
    lab: Any, module: Callable[[str], None]
) -> None:
    module(returning("x['user'].sum(1)[:3]"))
    executor = lab.executor(lab.plain, model="my_models:build")
    with pytest.raises(TrainingError, match=r"the module of my_models:build returned float32 \[3\] for 5 rows"):
        executor.predict(lab.batch(lab.plain, 5))


def test_a_module_that_raises_later_is_named_too(lab: Any, module: Callable[[str], None]) -> None:
    module(returning("x['user'].sum(1) if x['user'].shape[0] == 3 else 1 / 0"))
    executor = lab.executor(lab.plain, model="my_models:build")
    with pytest.raises(
        TrainingError, match=r"my_models:build raised ZeroDivisionError.* for 5 rows\n  its input has user, item"
    ):
        executor.predict(lab.batch(lab.plain, 5))


def test_two_features_of_one_name_are_refused(lab: Any, module: Callable[[str], None]) -> None:
    module(returning("x['a'].sum(1)"))
    with pytest.raises(ConfigError, match="different names: a, a"):
        lab.executor(FeatureSpec(categorical=("a",), numeric=("a",), labels=("y",)), model="my_models:build")
