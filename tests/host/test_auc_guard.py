"""The gate `auc-guard`: an export that is worse than the one before is kept back, and the run is not lost."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bare_site import BareSite, lay_foundation
from rows_support import ScribeExecutor
from run_support import FEATURES, make_job, selected

from penrose_host.checkpoints import CheckpointStore
from penrose_host.errors import ExportDenied, PenroseError
from penrose_host.hooks.auc_guard import FILE, AucGuard
from penrose_host.plugins.hook_calls import Hooks
from penrose_host.plugins.index import Kind
from penrose_host.testing import HookContract
from penrose_host.training.export_command import export_checkpoint
from penrose_host.training.runtime import run


class TestContract(HookContract):
    def make(self) -> AucGuard:
        return AucGuard(AucGuard.Options(of="window", against="last"))


class Good(ScribeExecutor):
    """Knows the label: in the rows of these tests, partition p0 has all positives."""

    sign = 1.0

    def predict(self, batch):
        return {"y": (0.5 + self.sign * np.where(batch.numeric["place"] < 1_000_000, 0.3, -0.3)).astype(np.float32)}

    def train(self, batch, step):
        result = super().train(batch, step)
        return dataclasses.replace(result, scores=self.predict(batch))


class Bad(Good):
    sign = -1.0


class Undecided(Good):
    """Every score is the same: AUC is 0.5."""

    sign = 0.0


def job(run_dir: Path, executor: type[Good], **options: Any) -> Any:
    guard = selected(Kind.HOOK, AucGuard, options)
    features = FEATURES | {"numeric": [{"name": "place", "column": "row"}]}
    made = make_job(run_dir, executor=executor, features=features, output={"export": "model"})
    return dataclasses.replace(made, hooks=(guard,))


def marks(run_dir: Path) -> Any:
    return json.loads((run_dir / FILE).read_text())


# -- runs ------------------------------------------------------------------------------------------


def test_the_first_export_sets_the_mark_and_a_worse_one_is_denied_without_losing_the_run(tmp_path):
    run(job(tmp_path, Good))
    exported = (tmp_path / "model" / "counts.json").stat().st_ino
    assert marks(tmp_path) == {"total": {"last": 1.0, "best": 1.0}}

    with pytest.raises(ExportDenied, match=r"AUC \(total\) is 0.0000, 1.0000 below the best export's 1.0000") as denied:
        run(job(tmp_path, Bad), fresh=True)

    assert denied.value.exit_code == 7
    assert denied.value.reasons[0][0] == "aucguard"
    assert str(tmp_path / FILE) in str(denied.value)
    checkpoint = CheckpointStore(tmp_path / "checkpoints").latest()
    assert checkpoint is not None
    assert (checkpoint.manifest.rows, checkpoint.manifest.job["executor"]["name"]) == (1000, "bad")
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["final"]
    assert (tmp_path / "model" / "counts.json").stat().st_ino == exported
    assert marks(tmp_path) == {"total": {"last": 1.0, "best": 1.0}}


def test_a_run_that_has_ended_may_be_started_again_and_one_that_was_denied_stays_denied(tmp_path):
    run(job(tmp_path, Good))
    assert run(job(tmp_path, Good)).metrics["auc"] == 1.0
    with pytest.raises(ExportDenied):
        run(job(tmp_path, Bad), fresh=True)
    with pytest.raises(ExportDenied):
        run(job(tmp_path, Bad))
    assert run(job(tmp_path, Bad, max_drop=1.0)).metrics["auc"] == 0.0


def test_the_last_export_can_be_the_mark_instead_of_the_best(tmp_path):
    for executor in (Good, Undecided, Bad):
        run(job(tmp_path, executor, max_drop=0.5, against="last"), fresh=True)
    assert marks(tmp_path) == {"total": {"last": 0.0, "best": 1.0}}
    with pytest.raises(ExportDenied, match="below the best export's"):
        run(job(tmp_path, Bad, max_drop=0.5))


def test_exporting_a_checkpoint_asks_the_same_gate(tmp_path):
    run(job(tmp_path, Good))
    with pytest.raises(ExportDenied):
        run(job(tmp_path, Bad), fresh=True)

    with pytest.raises(ExportDenied, match="below the best export's"):
        export_checkpoint(job(tmp_path, Bad), tmp_path.parent / "elsewhere")
    assert not (tmp_path.parent / "elsewhere").exists()
    (tmp_path / FILE).unlink()
    export_checkpoint(job(tmp_path, Bad), tmp_path.parent / "elsewhere")
    assert marks(tmp_path) == {"total": {"last": 0.0, "best": 0.0}}


# -- the gate alone --------------------------------------------------------------------------------


def ask(run_dir: Path, metrics: dict[str, Any], *, exported: bool = False, **options: Any) -> list[str]:
    """What the gate denies; `exported`: tell it then that the export was made."""
    hooks = Hooks()
    hooks.register("guard", AucGuard(AucGuard.Options(**options)))
    denials = hooks.allow_export(run_dir / "model", metrics, run_dir)
    if exported and not denials:
        hooks.exported(run_dir / "model", metrics, run_dir)
        assert hooks.failures == {}
    return [reason for _, reason in denials]


def test_a_mark_that_cannot_be_written_is_told_of_the_hook_and_not_of_a_checkpoint(tmp_path):
    shown: list[tuple[str, str, Exception]] = []
    hooks = Hooks(on_failure=lambda *failure: shown.append(failure))
    hooks.register("guard", AucGuard(AucGuard.Options()))
    hooks.exported(tmp_path / "model", {"auc": 0.7}, tmp_path)
    (tmp_path / f"{FILE}.tmp").symlink_to("/dev/full")  # where the file is drafted
    hooks.exported(tmp_path / "model", {"auc": 0.8}, tmp_path)
    ((plugin, hook, error),) = shown
    assert (plugin, hook) == ("guard", "exported")
    assert type(error) is PenroseError
    assert f"cannot remember this export in {tmp_path / FILE}: No space left" in str(error)
    assert "checkpoint" not in str(error).lower().replace(str(tmp_path).lower(), "")
    assert marks(tmp_path)["total"]["last"] == 0.7
    assert error is hooks.failures["guard", "exported"].last_error


@pytest.mark.parametrize(
    ("auc", "denied"), [(0.8, False), (0.7951, False), (0.795, False), (0.7949, True), (0.9, False)]
)
def test_auc_may_fall_by_the_option_and_not_by_more(tmp_path, auc, denied):
    assert ask(tmp_path, {"auc": 0.8}, exported=True) == []
    assert bool(ask(tmp_path, {"auc": auc})) is denied


def test_the_windows_auc_counts_where_the_option_says_so(tmp_path):
    good, bad = {"auc": 0.8, "window": {"auc": 0.9}}, {"auc": 0.8, "window": {"auc": 0.5}}
    assert ask(tmp_path, good, exported=True, of="window") == []
    assert "AUC (window) is 0.5000" in ask(tmp_path, bad, of="window")[0]
    # By the total it has exported nothing yet.
    assert ask(tmp_path, bad, exported=True) == []
    assert marks(tmp_path) == {"window": {"last": 0.9, "best": 0.9}, "total": {"last": 0.8, "best": 0.8}}


def test_a_window_that_the_job_does_not_have_is_no_reason_to_let_everything_pass(tmp_path):
    assert "measures no window" in ask(tmp_path, {"auc": 0.8, "window": None}, of="window")[0]


def test_one_label_of_several_can_be_the_one_that_counts(tmp_path):
    def metrics(buy: float) -> dict[str, Any]:
        return {"auc": 0.8, "heads": {"click": {"auc": 0.8}, "buy": {"auc": buy}}}

    assert ask(tmp_path, metrics(0.7), exported=True, head="buy") == []
    assert ask(tmp_path, metrics(0.7), head="buy") == []
    assert "is 0.6000" in ask(tmp_path, metrics(0.6), head="buy")[0]
    assert "no label is called 'bui'; they are: click, buy" in ask(tmp_path, metrics(0.7), head="bui")[0]
    assert ask(tmp_path / "other", {"auc": 0.8}, head="only") == []


@pytest.mark.parametrize("auc", [None, float("nan"), "missing"])
def test_an_auc_that_is_not_known_passes_only_before_the_first_export(tmp_path, auc):
    metrics = {} if auc == "missing" else {"auc": auc}
    assert ask(tmp_path, metrics, exported=True) == []
    assert not (tmp_path / FILE).exists()
    assert ask(tmp_path, {"auc": 0.8}, exported=True) == []
    assert "is not known, and was 0.8000 in the best export" in ask(tmp_path, metrics)[0]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"total": 3}', b'{"total": {"best": null, "last": 1}}']
)
def test_a_file_that_it_has_not_written_denies_and_says_which(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    (reason,) = ask(tmp_path, {"auc": 0.8})
    assert f"{tmp_path / FILE} is not what this gate has written: remove it" in reason


# -- the command line ------------------------------------------------------------------------------

EXECUTOR = """
import json
import numpy as np
from pydantic import BaseModel, ConfigDict
from penrose_host import Executor, FilesSnapshot, StepResult

class Skilled(Executor):
    api_version = 1
    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
        skill: float = 1.0
    def setup(self, context): pass
    def predict(self, batch):
        return {"y": (0.5 + self.options.skill * (batch.numeric["x"] - 0.5)).astype(np.float32)}
    def train(self, batch, step): return StepResult({"y": 0.7}, self.predict(batch))
    def snapshot(self): return FilesSnapshot({"state.json": b"{}"})
    def restore(self, reader): json.loads(reader.read("state.json"))
    def export(self, directory): (directory / "skill").write_text(str(self.options.skill))
    def close(self): pass
"""
JOB = """\
name: guarded
datasource: {name: files, path: rows.csv}
executor: skilled
hooks: [{name: auc-guard, max_drop: 0.01}]
features: {event_time: {column: t, unit: s}, numeric: [x], labels: [y]}
output: {export: model}
run_dir: run
"""


@pytest.mark.slow
def test_a_denied_export_ends_the_command_with_7_and_the_reason(tmp_path):
    site = BareSite(tmp_path, lay_foundation(tmp_path / "foundation"))
    site.add(
        "penrose-skilled", "1.0", {"penrose.executors": {"skilled": "skilled:Skilled"}}, files={"skilled.py": EXECUTOR}
    )
    (site.work / "job.yaml").write_text(JOB)
    (site.work / "rows.csv").write_text("t,x,y\n" + "".join(f"{t},{t % 2},{t % 2}\n" for t in range(100)))

    assert site.penrose("run", "job.yaml").returncode == 0
    worse = site.penrose("run", "job.yaml", "--fresh", "-o", "executor.skill=-1")
    by_hand = site.penrose("export", "job.yaml", "-o", "executor.skill=-1", "--output", "elsewhere")

    for denied in (worse, by_hand):
        assert denied.returncode == 7
        assert "error: the export was denied by auc-guard: AUC (total) is 0.0000" in denied.stderr
        assert "raise max_drop (0.01) or remove run/auc-guard.json" in denied.stderr
    assert (site.work / "run" / "model" / "skill").read_text() == "1.0"
    assert not (site.work / "elsewhere").exists()
    assert "is intact" in site.penrose("checkpoints", "verify", "run").stdout
    shown = site.penrose("plugins", "show", "auc-guard").stdout
    assert "max_drop: number >= 0 <= 1, default 0.005" in shown
