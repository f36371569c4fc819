from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from penrose_host import EncodedBatch, FeatureSpec, TableSpec
from penrose_host.embeddings.initializers import Initializer
from penrose_host.embeddings.mixing import buckets
from penrose_torch.servable import ExportedTable, _buckets

README = Path(__file__).parents[2] / "plugins" / "penrose-torch" / "README.md"
INT64 = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 5000)


def columns(batch: EncodedBatch) -> dict[str, Any]:
    """A batch as the exported program takes it."""
    lists = {}
    for name, ragged in batch.lists.items():
        values = ragged.values[ragged.offsets[0] : ragged.offsets[-1]]
        lists[name] = (torch.tensor(values), torch.tensor(np.diff(ragged.offsets)))
    return {
        "ids": torch.tensor(batch.ids),
        "numeric": {name: torch.tensor(values) for name, values in batch.numeric.items()},
        "lists": lists,
    }


def _turned(value: Any) -> Any:
    return dict(reversed(value.items())) if isinstance(value, dict) else value


def assert_scores_equal(executor: Any, program: Any, batch: EncodedBatch) -> None:
    given = columns(batch)
    found = program(**given)
    # Nor does it matter in which order anything is named.
    turned = {name: _turned(value) for name, value in reversed(given.items())}
    for head, scores in program(**turned).items():
        assert torch.equal(scores, found[head])
    expected = executor.predict(batch)
    assert found.keys() == expected.keys()
    for head, scores in expected.items():
        assert found[head].shape == scores.shape
        np.testing.assert_allclose(found[head].detach().numpy(), scores, atol=1e-6)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("rows", [1000, None], ids=["table", "layer"])
@pytest.mark.parametrize(
    "model", ["logistic", "deepfm", pytest.param("fm", marks=SLOW), pytest.param("dcn", marks=SLOW)]
)
def test_an_export_scores_any_number_of_rows_as_the_executor_does(
    lab: Any, tmp_path: Path, model: str, rows: int | None
) -> None:
    executor = lab.executor(lab.rich, model=model, rows=rows, init_scale=0.3)
    lab.train(executor, lab.rich, range(10))
    saved = lab.save(executor)
    executor.export(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.json", "model.pt2"]
    program = torch.export.load(tmp_path / "model.pt2").module()
    for count in (0, 1, 2, 3, 50):
        assert_scores_equal(executor, program, lab.batch(lab.rich, count, seed=count))
    # Ids never seen in training, whose rows still are what they first were.
    unseen = lab.batch(lab.rich, 40)
    unseen = EncodedBatch(INT64[:120].reshape(40, 3), dict(unseen.lists), dict(unseen.numeric), {})
    assert_scores_equal(executor, program, unseen)
    assert lab.save(executor) == saved


@pytest.mark.parametrize("model", ["logistic", "deepfm"])
@pytest.mark.parametrize(
    "features",
    [
        FeatureSpec(categorical=("a",), labels=("y",)),
        FeatureSpec(numeric=("x",), labels=("y",)),
        FeatureSpec(lists=(), categorical=("ünï", "b"), numeric=("x",), labels=("y", "z")),
    ],
    ids=["one id", "numbers only", "two heads"],
)
def test_an_untrained_model_of_few_features_is_exported_too(
    lab: Any, tmp_path: Path, model: str, features: FeatureSpec
) -> None:
    executor = lab.executor(features, model=model)
    executor.export(tmp_path)
    program = torch.export.load(tmp_path / "model.pt2").module()
    for count in (0, 1, 2, 7):
        assert_scores_equal(executor, program, lab.batch(features, count))
    described = json.loads((tmp_path / "features.json").read_text("utf-8"))
    assert described["features"]["categorical"] == list(features.categorical)
    assert described["features"]["labels"] == list(features.labels)
    assert described["model"] == model


def test_a_module_of_the_users_is_exported_too(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(# my_models\.py\n.*?)```", README.read_text("utf-8"), re.DOTALL)
    (tmp_path / "exported_torch_models.py").write_text(example, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    executor = lab.executor(lab.rich, model="exported_torch_models:towers")
    lab.train(executor, lab.rich, range(5))
    executor.export(tmp_path)
    program = torch.export.load(tmp_path / "model.pt2").module()
    for count in (0, 1, 2, 7):
        assert_scores_equal(executor, program, lab.batch(lab.rich, count))


FULL = """
import resource, sys
from pathlib import Path
import torch
from penrose_torch import export
program = torch.export.export(torch.nn.Linear(200, 200), (torch.zeros(1, 200),))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    export.save(program, Path(sys.argv[1]))
except OSError as error:
    print(type(error).__name__, error.strerror)
"""


@pytest.mark.parametrize("limit", [0, 20_000])
def test_a_model_that_does_not_fit_on_the_disk_is_an_error_and_not_the_end_of_the_process(
    tmp_path: Path, limit: int
) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "model.pt2"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "OSError File too large"), done.stderr[-2000:]


@SLOW
def test_the_lines_of_the_readme_score_without_penrose(lab: Any, tmp_path: Path) -> None:
    executor = lab.executor(lab.rich, model="deepfm")
    lab.train(executor, lab.rich, range(5))
    executor.export(tmp_path)
    batch = lab.batch(lab.rich, 9, seed=77)
    whole = columns(batch)
    flat = {"ids": whole["ids"], **whole["numeric"]}
    for name, (values, lengths) in whole["lists"].items():
        flat |= {f"{name}.values": values, f"{name}.lengths": lengths}
    save_file(flat, tmp_path / "rows.safetensors")
    (lines,) = re.findall(r"```python\n(# score\.py\n.*?)```", README.read_text("utf-8"), re.DOTALL)
    blocked = "penrose_host", "penrose_torch", "pyarrow", "pydantic"
    (tmp_path / "score.py").write_text(
        f"import sys\nfor name in {blocked}:\n    sys.modules[name] = None\n{lines}", "utf-8"
    )
    command = [sys.executable, "-I", "-W", "error", "score.py", str(tmp_path), "rows.safetensors"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for head, scores in executor.predict(batch).items():
        np.testing.assert_allclose(found[head], scores, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 1000, 2**20, 2**31])
def test_an_export_hashes_as_the_host_does(rows: int) -> None:
    assert _buckets(torch.from_numpy(INT64), rows).tolist() == buckets(INT64, rows).tolist()


@pytest.mark.parametrize(
    "initializer",
    [("zeros", {}), ("constant", {"value": 0.5}), ("uniform", {"low": -2.0}), ("normal", {"mean": 1.0, "stddev": 3.0})],
    ids=lambda initializer: initializer[0],
)
@pytest.mark.parametrize("seed", [0, 1, -1, 2**64 + 3])
def test_an_export_knows_the_first_rows_of_keys_it_does_not_hold(initializer: Any, seed: int) -> None:
    first = Initializer.of(TableSpec("t", 3, initializer=initializer, seed=seed))
    held = torch.tensor([[7.0, 8.0, 9.0]])
    table = ExportedTable(torch.tensor([5]), held, None, first)
    np.testing.assert_allclose(table(torch.from_numpy(INT64)).numpy(), first.rows(INT64), rtol=1e-5, atol=1e-6)
    assert table(torch.tensor([5])).tolist() == held.tolist()
