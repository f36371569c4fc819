"""Exporting a checkpoint: which one, past which gates, beside a run that is going on, whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rows_support import ScribeExecutor
from run_support import FEATURES, make_job, reports

from penrose_host import Deny, HookPlugin, hookimpl
from penrose_host.checkpoints import Checkpoint, CheckpointStore
from penrose_host.checkpoints.reading import ATTEMPTS, read_checkpoint
from penrose_host.contracts.batch import Position
from penrose_host.contracts.cluster import Role
from penrose_host.errors import (
    CheckpointDamaged,
    CheckpointError,
    CheckpointNotFound,
    ConfigError,
    ExportDenied,
    PenroseError,
)
from penrose_host.features.config import FeaturesConfig
from penrose_host.features.encoder import FeatureEncoder
from penrose_host.storage.run_directory import locked
from penrose_host.training.export_command import export_checkpoint
from penrose_host.training.runtime import run

EVERY = {"rows": 200, "seconds": None, "keep": 10}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    run(make_job(run_dir, checkpoint=EVERY))
    return run_dir


def counts(folder: Path) -> dict[str, int]:
    exported: dict[str, int] = json.loads((folder / "counts.json").read_text())
    return exported


def test_the_newest_checkpoint_or_a_chosen_one_is_exported(tmp_path: Path, trained: Path) -> None:
    ids = CheckpointStore(trained / "checkpoints").ids()
    newest = export_checkpoint(make_job(trained), tmp_path / "newest")
    oldest = export_checkpoint(make_job(trained), tmp_path / "oldest", checkpoint=ids[0])
    assert (newest.checkpoint, oldest.checkpoint) == (ids[-1], ids[0])
    assert (newest.rows, oldest.rows) == (1000, 208)
    assert len(counts(tmp_path / "newest")) > len(counts(tmp_path / "oldest")) > 0
    assert newest.files == {
        name: (tmp_path / "newest" / name).stat().st_size for name in ("counts.json", "features.json")
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["newest", "oldest"]


def test_every_export_says_how_raw_columns_become_what_the_model_takes(tmp_path: Path, trained: Path) -> None:
    export_checkpoint(make_job(trained), tmp_path / "model")
    recipe = json.loads((tmp_path / "model" / "features.json").read_text("utf-8"))["features"]["recipe"]
    rebuilt, own = FeaturesConfig.model_validate(recipe), FeaturesConfig.model_validate(FEATURES)
    assert rebuilt == own
    raw = {name: ["a", None, "ünï"] for name in own.columns()} | {"ts": [1, 2, 3], "y": [0, 1, 0]}
    expected = FeatureEncoder(own).encode_columns(raw)
    assert FeatureEncoder(rebuilt).encode_columns(raw).ids.tolist() == expected.ids.tolist()


def test_a_run_may_be_going_on_and_nothing_of_it_changes(tmp_path: Path, trained: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    with locked(trained):
        export_checkpoint(make_job(trained), tmp_path / "model")
    del before[trained / "lock"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("what", ["seed", "executor"])
def test_the_model_of_another_job_is_refused(tmp_path: Path, trained: Path, what: str) -> None:
    class Other(ScribeExecutor):
        """Another plugin."""

    other = make_job(trained, seed=1) if what == "seed" else make_job(trained, executor=Other)
    with pytest.raises(CheckpointError, match=f"belongs to another job:\n +{what}"):
        export_checkpoint(other, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# -- gates ---------------------------------------------------------------------------------------


class Watcher(HookPlugin):
    """Keeps what it was told."""

    api_version = 1
    told: Mapping[str, Any] = {}
    exports: tuple[Path, ...] = ()

    @hookimpl
    def allow_export(self, metrics: Mapping[str, Any]) -> None:
        Watcher.told = metrics

    @hookimpl
    def exported(self, directory: Path) -> None:
        assert directory.is_dir()
        Watcher.exports += (directory,)


class Closed(HookPlugin):
    """Lets nothing through."""

    api_version = 1

    @hookimpl
    def allow_export(self) -> Deny:
        return Deny("not today")


def test_gates_see_the_metrics_of_the_checkpoint(tmp_path: Path, trained: Path) -> None:
    done = export_checkpoint(make_job(trained, hooks=[Watcher]), tmp_path / "model")
    assert Watcher.exports == (tmp_path / "model",)
    last = reports(trained)[-1]
    assert Watcher.told["checkpoint"] == done.checkpoint
    assert {key: Watcher.told[key] for key in last.keys() & Watcher.told.keys()} == {
        key: last[key] for key in last.keys() & Watcher.told.keys()
    }
    assert {"auc", "log_loss", "window", "rows", "position", "event_time"} <= last.keys() & Watcher.told.keys()


def test_a_gate_keeps_an_export_back_and_leaves_the_one_before(tmp_path: Path, trained: Path) -> None:
    export_checkpoint(make_job(trained), tmp_path / "model")
    before = counts(tmp_path / "model")
    with pytest.raises(ExportDenied, match="closed: not today"):
        export_checkpoint(make_job(trained, hooks=[Closed, Watcher]), tmp_path / "model", replace=True)
    assert counts(tmp_path / "model") == before


# -- whole or not there --------------------------------------------------------------------------


class Fails(ScribeExecutor):
    """Breaks in the middle of its export."""

    def export(self, directory: Path) -> None:
        (directory / "half").write_text("half")
        raise OSError(28, "No space left on device")


Fails.__name__ = ScribeExecutor.__name__


def test_an_export_that_fails_leaves_nothing_or_what_was_there(tmp_path: Path, trained: Path) -> None:
    with pytest.raises(PenroseError, match=r"cannot write the export to .*model: No space left"):
        export_checkpoint(make_job(trained, executor=Fails), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    export_checkpoint(make_job(trained), tmp_path / "model")
    with pytest.raises(PenroseError, match="what was there before is still there"):
        export_checkpoint(make_job(trained, executor=Fails), tmp_path / "model", replace=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["counts.json", "features.json", "model"]


def test_what_a_killed_export_left_is_put_right_by_the_next(tmp_path: Path, trained: Path) -> None:
    export_checkpoint(make_job(trained), tmp_path / "model")
    (tmp_path / "model").rename(tmp_path / ".model.before")
    (tmp_path / ".model.draft").mkdir()
    with pytest.raises(PenroseError):
        export_checkpoint(make_job(trained, executor=Fails), tmp_path / "model")
    assert counts(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_with_something_in_it_is_replaced_on_request_only(tmp_path: Path, trained: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("")
    with pytest.raises(ConfigError, match="--replace"):
        export_checkpoint(make_job(trained), tmp_path / "model")
    export_checkpoint(make_job(trained), tmp_path / "model", replace=True)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["counts.json", "features.json"]
    with pytest.raises(ConfigError, match="belongs to the run"):
        export_checkpoint(make_job(trained), trained.parent, replace=True)


def test_a_relative_folder_is_below_the_working_directory(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert export_checkpoint(make_job(trained), Path("a/b")).directory == tmp_path / "a" / "b"
    assert counts(tmp_path / "a" / "b")


# -- beside a run that removes checkpoints ---------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    """A run that keeps one checkpoint."""
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    store.claim(None)
    commit(store, 1)
    return store


def commit(store: CheckpointStore, sequence: int) -> None:
    folder = store.begin(sequence)
    fragment = store.fragment(folder, Role.CHIEF, 0)
    fragment.add("state.bin", b"%d" % sequence)
    store.commit(folder, fragment.close(), rows=sequence, position=Position("s"), job={})
    store.retain(1)


def state(checkpoint: Checkpoint) -> bytes:
    return checkpoint.reader(Role.CHIEF, 0, "").read("state.bin")


def test_a_checkpoint_that_is_removed_while_it_is_read_gives_way_to_the_next(store: CheckpointStore) -> None:
    def read(checkpoint: Checkpoint) -> bytes:
        if checkpoint.manifest.number < 4:
            commit(store, checkpoint.manifest.number + 1)
        return state(checkpoint)

    assert read_checkpoint(store.root.parent, None, read) == b"4"


def test_a_chosen_checkpoint_that_is_removed_while_it_is_read_is_an_error_that_says_so(store: CheckpointStore) -> None:
    def read(checkpoint: Checkpoint) -> bytes:
        commit(store, 2)
        return state(checkpoint)

    with pytest.raises(
        CheckpointNotFound, match=r"removed checkpoint 00000001-e1 while it was read\n.*checkpoint.keep"
    ):
        read_checkpoint(store.root.parent, "00000001-e1", read)


def test_a_run_that_is_always_faster_is_an_error_in_the_end(store: CheckpointStore) -> None:
    def read(checkpoint: Checkpoint) -> bytes:
        commit(store, checkpoint.manifest.number + 1)
        return state(checkpoint)

    with pytest.raises(CheckpointNotFound, match=f"each of {ATTEMPTS} checkpoints"):
        read_checkpoint(store.root.parent, None, read)


def test_a_checkpoint_that_is_damaged_is_damaged(store: CheckpointStore) -> None:
    (store.root / "00000001-e1" / "chief-0" / "state.bin").write_bytes(b"x")
    with pytest.raises(CheckpointDamaged, match=r"state\.bin"):
        read_checkpoint(store.root.parent, None, state)
    (store.root / "00000001-e1" / "manifest.json").unlink()
    with pytest.raises(CheckpointDamaged, match=r"manifest\.json"):
        read_checkpoint(store.root.parent, None, state)


def test_the_command_prints_what_it_wrote(site: Any, tmp_path: Path, trained: Path) -> None:
    groups = {
        "penrose.executors": {"scribeexecutor": "rows_support:ScribeExecutor"},
        "penrose.datasources": {"memory": "run_support:MemorySource"},
    }
    site.add("penrose-scribe", groups)
    job = {"name": "test", "datasource": "memory", "executor": "scribeexecutor", "features": FEATURES}
    (tmp_path / "job.yaml").write_text(json.dumps({**job, "run_dir": str(trained)}))
    paths = [site.environ()["PYTHONPATH"], str(Path(__file__).parents[1] / "support")]
    given = {"PYTHONPATH": os.pathsep.join(paths)}
    done = site.penrose("export", "job.yaml", "--output", "model", **given)
    assert done.returncode == 0, done.stderr
    assert "(1,000 rows) is exported to " + str(tmp_path / "model") in done.stdout
    assert "counts.json" in done.stdout
    assert counts(tmp_path / "model")
    again = site.penrose("export", "job.yaml", "--output", "model", **given)
    assert (again.returncode, "--replace" in again.stderr) == (2, True)
