"""Every model that the README lists is trained, kept, made again and trained on, with equal scores."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from river_models import FEATURES, KEPT, SPARSE, learnable

from penrose_host.testing.executors.lab import Lab
from penrose_river.executor import RiverExecutor

README = Path(__file__).parents[2] / "contrib/penrose-river/README.md"


@pytest.mark.parametrize("which", KEPT)
def test_a_kept_model_goes_on_as_if_never_interrupted(which: str) -> None:
    # Of features that are ids, some take a number and some only the key.
    sparse = which.startswith("facto.") or which == "linear_model.AdPredictor"
    spec, inputs = (SPARSE, "sparse") if sparse else (FEATURES, "auto")
    options = {"model": "river_models:kept", "model_options": {"which": which}, "inputs": inputs}

    def lab() -> Lab:
        return Lab(RiverExecutor(RiverExecutor.Options(**options)), spec, None, seed=1)

    with lab() as straight, lab() as resumed:
        for seed in range(25):
            straight.train(learnable(spec, 12, seed))
        resumed.load(straight.save())
        for seed in range(25, 35):
            batch = learnable(spec, 12, seed)
            one, other = straight.train(batch), resumed.train(batch)
            assert one.applied
            assert one.scores["click"].tobytes() == other.scores["click"].tobytes()
        assert straight.save() == resumed.save()
        assert len(set(straight.executor.predict(learnable(spec, 50, 99))["click"].tolist())) > 1


def test_the_readme_lists_the_models_that_are_tested() -> None:
    rows = re.findall(r"^\| `(\w+)` +\| (.*?) +\|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    listed = {f"{module}.{name}" for module, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert listed == {name.partition(",")[0] for name in KEPT} - {"a class of your own"}
