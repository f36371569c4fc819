"""An export scores as the executor that wrote it did."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from penrose_host import EncodedBatch, FeatureSpec, ListFeature, TableSpec
from penrose_host.embeddings import Initializer, buckets

INT64 = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 5000)
FEW: Mapping[str, FeatureSpec] = {
    "one id": FeatureSpec(categorical=("a",), labels=("y",)),
    "numbers only": FeatureSpec(numeric=("x",), labels=("y",)),
    "two heads": FeatureSpec(lists=(), categorical=("ünï", "b"), numeric=("x",), labels=("y", "z")),
    "names that few formats take": FeatureSpec(
        categorical=("ünï", "b"),
        lists=(ListFeature("the list"), ListFeature("a"), ListFeature("a_values"), ListFeature("0")),
        numeric=("x y", "ids", "0", "X", "x", "1"),
        labels=("y?", "1", "numeric_0"),
    ),
}
SLOW = pytest.mark.slow

Scored = Callable[[EncodedBatch], Mapping[str, np.ndarray]]


def assert_scores_equal(executor: Any, exported: Scored, batch: EncodedBatch) -> None:
    found, expected = exported(batch), executor.predict(batch)
    assert found.keys() == expected.keys()
    for head, scores in expected.items():
        assert found[head].shape == scores.shape
        np.testing.assert_allclose(found[head], scores, atol=1e-6)


def assert_readme_scores(
    lab: Any, folder: Path, write: Callable[[EncodedBatch], str], block: Sequence[str], *flags: str
) -> None:
    """The lines `score.py` of the README score the rows of a batch as `write` leaves them, in a file that it names.

    In a process of their own, from which the modules `block` are kept; `flags` are Python's.
    """
    executor = lab.executor(lab.rich, model="deepfm", init_scale=0.3)
    lab.train(executor, lab.rich, range(5))
    executor.export(folder)
    batch = lab.batch(lab.rich, 9, seed=77)
    # Some of the ids were never seen in training.
    ids = np.concatenate([batch.ids[:5], INT64[:12].reshape(4, 3)])
    batch = EncodedBatch(ids, dict(batch.lists), dict(batch.numeric), {})
    rows = write(batch)
    (folder / "score.py").write_text(
        f"import sys\nfor name in {tuple(block)}:\n    sys.modules[name] = None\n{lab.example('score.py')}", "utf-8"
    )
    command = [sys.executable, "-I", *flags, "score.py", str(folder), rows]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for head, scores in executor.predict(batch).items():
        np.testing.assert_allclose(found[head], scores, atol=1e-6)


class Exports:
    #: What an export holds beside `features.json`.
    holds: ClassVar[str]

    @pytest.mark.parametrize("rows", [1000, None], ids=["table", "layer"])
    @pytest.mark.parametrize(
        "model", ["logistic", "deepfm", pytest.param("fm", marks=SLOW), pytest.param("dcn", marks=SLOW)]
    )
    def test_an_export_scores_any_number_of_rows_as_the_executor_does(
        self, lab: Any, served: Callable[[Path], Scored], tmp_path: Path, model: str, rows: int | None
    ) -> None:
        executor = lab.executor(lab.rich, model=model, rows=rows, init_scale=0.3)
        lab.train(executor, lab.rich, range(10))
        saved = lab.save(executor)
        executor.export(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["features.json", self.holds]
        exported = served(tmp_path)
        for count in (0, 1, 2, 3, 50):
            assert_scores_equal(executor, exported, lab.batch(lab.rich, count, seed=count))
        # Ids never seen in training, whose rows still are what they first were.
        unseen = lab.batch(lab.rich, 40)
        unseen = EncodedBatch(INT64[:120].reshape(40, 3), dict(unseen.lists), dict(unseen.numeric), {})
        assert_scores_equal(executor, exported, unseen)
        assert lab.save(executor) == saved
        # What was exported is of that moment.
        batch = lab.batch(lab.rich, 20, seed=3)
        before = executor.predict(batch)["click"]
        lab.train(executor, lab.rich, range(10, 20))
        score = exported(batch)["click"]
        assert np.abs(before - score).max() < 1e-6 < np.abs(executor.predict(batch)["click"] - score).max()

    @pytest.mark.parametrize("model", ["logistic", "deepfm"])
    @pytest.mark.parametrize("which", FEW)
    def test_an_untrained_model_of_few_features_is_exported_too(
        self, lab: Any, served: Callable[[Path], Scored], tmp_path: Path, model: str, which: str
    ) -> None:
        features = FEW[which]
        executor = lab.executor(features, model=model)
        executor.export(tmp_path)
        exported = served(tmp_path)
        for count in (0, 1, 2, 7):
            assert_scores_equal(executor, exported, lab.batch(features, count))
        described = json.loads((tmp_path / "features.json").read_text("utf-8"))
        assert described["features"]["categorical"] == list(features.categorical)
        assert described["features"]["labels"] == list(features.labels)
        assert described["model"] == model

    def test_a_model_of_the_users_is_exported_too(
        self, lab: Any, served: Callable[[Path], Scored], tmp_path: Path, write_module: Callable[[str, str], None]
    ) -> None:
        write_module("exported_models", lab.example("my_models.py"))
        executor = lab.executor(lab.rich, model="exported_models:towers")
        lab.train(executor, lab.rich, range(5))
        executor.export(tmp_path)
        exported = served(tmp_path)
        for count in (0, 1, 2, 7):
            assert_scores_equal(executor, exported, lab.batch(lab.rich, count))


class ExportedRows:
    """What an export has in place of the job's table."""

    def hashed(self, ids: np.ndarray, rows: int) -> np.ndarray:
        """Which of so many rows each id has: int64 [n]."""
        raise NotImplementedError

    def rows(self, held: Mapping[int, list[float]], first: Initializer, ids: np.ndarray) -> np.ndarray:
        """Float32 [n, 3] of int64 [n], in a table that holds these rows by key."""
        raise NotImplementedError

    @pytest.mark.parametrize("rows", [1, 1000, 2**20, 2**31])
    def test_an_export_hashes_as_the_host_does(self, rows: int) -> None:
        assert self.hashed(INT64, rows).tolist() == buckets(INT64, rows).tolist()

    @pytest.mark.parametrize(
        "initializer",
        [
            ("zeros", {}),
            ("constant", {"value": 0.5}),
            ("uniform", {"low": -2.0}),
            ("normal", {"mean": 1.0, "stddev": 3.0}),
        ],
        ids=lambda initializer: initializer[0],
    )
    @pytest.mark.parametrize("seed", [0, 1, -1, 2**64 + 3])
    def test_an_export_knows_the_first_rows_of_keys_it_does_not_hold(self, initializer: Any, seed: int) -> None:
        first = Initializer.of(TableSpec("t", 3, initializer=initializer, seed=seed))
        held = {5: [7.0, 8.0, 9.0]}
        np.testing.assert_allclose(self.rows(held, first, INT64), first.rows(INT64), rtol=1e-5, atol=1e-6)
        assert self.rows(held, first, np.array([5])).tolist() == [held[5]]
