"""The hook `tensorboard`: real runs, whose event files are read back record by record."""

from __future__ import annotations

import dataclasses
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_support import make_job, reports, selected
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from penrose_host.checkpoints import CheckpointStore
from penrose_host.plugins.hook_calls import Hooks
from penrose_host.plugins.index import Kind, scan
from penrose_host.plugins.loading import load
from penrose_host.training.runtime import run
from penrose_tensorboard.hook import TensorBoardHook, scalars


def job(run_dir: Path, *, folder: str = "tensorboard", **fields: Any) -> Any:
    made = make_job(run_dir, **fields)
    return dataclasses.replace(made, hooks=(selected(Kind.HOOK, TensorBoardHook, {"folder": folder}),))


def events(file: Path) -> Iterator[Event]:
    """Every record of an event file, its checksums verified."""
    content = file.read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        head, data, rest = content[:8], content[12 : 12 + length], content[12 + length :]
        assert struct.unpack("<I", content[8:12]) == (masked_crc32c(head),)
        assert struct.unpack("<I", rest[:4]) == (masked_crc32c(data),)
        yield Event.FromString(data)
        content = rest[4:]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("events.out.tfevents.*"))


def curves(file: Path) -> dict[str, dict[int, float]]:
    """tag → step → value."""
    found: dict[str, dict[int, float]] = {}
    for event in events(file):
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_a_run_leaves_every_report_as_scalars_by_rows(tmp_path):
    run(job(tmp_path))

    (file,) = files(tmp_path / "tensorboard")
    first, start, *_ = events(file)
    assert first.file_version == "brain.Event:2"
    lines = reports(tmp_path)
    assert (start.session_log.status, start.step) == (SessionLog.START, lines[0]["rows"])
    found = curves(file)
    # Where two lines are at one row, the last of them counts.
    assert found["rows/trained"] == {line["rows"]: line["trained_rows"] for line in lines}
    assert found["rows/waiting"] == {line["rows"]: line["waiting_rows"] for line in lines}
    assert len(lines) >= 10
    for name in ("auc", "log_loss", "calibration"):
        assert found[f"{name}/total"][1000] == pytest.approx(lines[-1][name])
        assert found[f"{name}/window"][1000] == pytest.approx(lines[-1]["window"][name])
    assert set(found["loss/trained"].values()) == {0.25}
    assert found["rows/per_second"][1000] >= 0


def test_a_run_that_goes_back_writes_a_new_file_that_hides_what_it_reports_again(tmp_path):
    checkpoint = {"rows": 200, "seconds": None, "keep": 10}
    run(job(tmp_path, until={"rows": 700}, checkpoint=checkpoint))
    first = CheckpointStore(tmp_path / "checkpoints").list()[0]
    run(job(tmp_path), resume_from=first.id)

    before, after = files(tmp_path / "tensorboard")
    (start,) = (event for event in events(after) if event.HasField("session_log"))
    again = min(line["rows"] for line in reports(tmp_path) if line["rows"] > first.rows)
    assert start.step == again == min(curves(after)["rows/trained"])
    assert max(curves(before)["rows/trained"]) > again


def test_a_finished_run_that_is_started_again_writes_nothing(tmp_path):
    run(job(tmp_path))
    run(job(tmp_path))
    assert len(files(tmp_path / "tensorboard")) == 1


def test_the_folder_is_the_options(tmp_path):
    run(job(tmp_path, folder="curves/tb"))
    assert len(files(tmp_path / "curves" / "tb")) == 1


def test_what_was_reported_is_on_disk_before_the_run_ends(tmp_path):
    hooks = Hooks()
    hooks.register("tensorboard", TensorBoardHook(TensorBoardHook.Options()))
    hooks.run_started(None, tmp_path)
    hooks.reported(report(100, auc=0.5))
    (file,) = files(tmp_path / "tensorboard")
    assert curves(file)["auc/total"] == {100: 0.5}
    hooks.run_ended(None, None)
    assert hooks.failures == {}


def test_a_folder_that_cannot_be_written_is_told_and_stops_nothing(tmp_path, capsys):
    (tmp_path / "tensorboard").write_text("in the way")
    from penrose_host.monitoring.terminal import Terminal

    result = run(job(tmp_path), listeners=[Terminal("text")])

    assert result.rows == 1000
    assert "hook reported of plugin tensorboardhook raised FileExistsError" in capsys.readouterr().err


def report(rows: int, **values: Any) -> dict[str, Any]:
    counts = {f"{name}_rows": 0 for name in ("trained", "waiting", "bad", "skipped")}
    return {"rows": rows, **counts, "rows_per_second": 1.0, "loss": None, "window": None, **values}


def test_what_is_not_defined_is_left_out_and_several_labels_are_told_apart():
    heads = {"click": {"auc": 0.7, "log_loss": 0.4}, "buy": {"auc": None, "log_loss": None}}
    found = dict(scalars(report(5, auc=0.7, log_loss=None, heads=heads, window={"auc": None, "heads": heads})))

    assert found == {
        "auc/total": 0.7,
        "auc/total/click": 0.7,
        "auc/window/click": 0.7,
        "log_loss/total/click": 0.4,
        "log_loss/window/click": 0.4,
        "rows/trained": 0,
        "rows/waiting": 0,
        "rows/bad": 0,
        "rows/skipped": 0,
        "rows/per_second": 1.0,
    }


def test_the_entry_point_leads_to_the_hook_and_importing_it_imports_nothing_heavy():
    (record,) = scan().find(Kind.HOOK, "tensorboard")
    assert (record.dist, load(record)) == ("penrose-tensorboard", TensorBoardHook)
    code = (
        "import json, sys, penrose_tensorboard.hook as hook\n"
        "hook.TensorBoardHook(hook.TensorBoardHook.Options())\n"
        "print(json.dumps([name for name in ('tensorboardX', 'torch', 'numpy', 'google') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == []
