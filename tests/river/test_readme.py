"""The blocks of the README do what it says."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penrose_host import FeatureSpec
from penrose_host.errors import ConfigError
from penrose_host.testing.batches import random_batch
from penrose_host.testing.executors.lab import Lab
from penrose_river.executor import RiverExecutor

README = (Path(__file__).parents[2] / "contrib/penrose-river/README.md").read_text(encoding="utf-8")
OWN, SERVING = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
FEATURES = FeatureSpec(categorical=("user",), numeric=("price",), labels=("late",))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the user works: on the path, with no `my_models` imported yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_models", None)
    yield tmp_path
    sys.modules.pop("my_models", None)


def lab() -> Lab:
    options = {"model": "my_models:pipeline", "model_options": {"grace_period": 20}}
    return Lab(RiverExecutor(RiverExecutor.Options(**options)), FEATURES, None, seed=1)


def test_the_model_of_your_own_trains_and_its_export_scores(folder: Path) -> None:
    (folder / "my_models.py").write_text(OWN)
    with lab() as own:
        for seed in range(20):
            assert own.train(random_batch(FEATURES, 10, seed)).applied
        export = folder / "runs/flights-delay/export"
        export.mkdir(parents=True)
        own.executor.export(export)
    found: dict[str, object] = {}
    exec(SERVING, found)
    assert 0 <= found["late"] <= 1  # type: ignore[operator]


def test_the_refusal_reads_as_shown(folder: Path) -> None:
    (shown,) = re.findall(r"```text\n(executor.model: .*?)```", README, re.DOTALL)
    (folder / "my_models.py").write_text(
        "from river import compose, linear_model\n\n\n"
        "def pipeline(features, grace_period=200):\n"
        "    return compose.FuncTransformer(lambda x: x) | linear_model.LogisticRegression()\n"
    )
    with pytest.raises(ConfigError) as caught:
        lab()
    assert " ".join(shown.split()) in " ".join(str(caught.value).split())
