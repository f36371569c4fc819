"""Which hooks a run calls, in which order, whoever drives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel
from run_support import MemorySource, batch, make_job

from penrose_host import Chunk, HookPlugin, HostRuntime, Position, hookimpl
from penrose_host.errors import SourceError
from penrose_host.training.runtime import run


class Diary(HookPlugin):
    """Keeps the names of the hooks that were called, without repetitions, and the last arguments of each."""

    api_version = 1
    days: ClassVar[list[str]] = []
    told: ClassVar[dict[str, Any]] = {}

    def __init__(self, options: BaseModel) -> None:
        super().__init__(options)
        Diary.days, Diary.told = [], {}

    def note(self, name: str, what: Any) -> None:
        if self.days[-1:] != [name]:
            self.days.append(name)
        self.told[name] = what

    @hookimpl
    def run_started(self, spec, run_dir):
        self.note("run_started", (spec.name, run_dir))

    @hookimpl
    def reported(self, metrics):
        self.note("reported", metrics)

    @hookimpl
    def checkpoint_restored(self, checkpoint):
        self.note("checkpoint_restored", checkpoint)

    @hookimpl
    def checkpoint_written(self, checkpoint):
        self.note("checkpoint_written", checkpoint)

    @hookimpl
    def allow_export(self, directory, metrics, run_dir):
        self.note("allow_export", (directory, metrics, run_dir))

    @hookimpl
    def exported(self, directory, metrics, run_dir):
        assert directory.is_dir()
        self.note("exported", (directory, metrics, run_dir))

    @hookimpl
    def run_ended(self, result, error):
        self.note("run_ended", (result, error))


def job(run_dir: Path, **fields: Any) -> Any:
    checkpoint = {"rows": None, "seconds": None}
    return make_job(run_dir, hooks=[Diary], output={"export": "model"}, checkpoint=checkpoint, **fields)


def test_a_run_tells_its_hooks_everything_once_and_in_order(tmp_path):
    result = run(job(tmp_path))

    assert Diary.days == [
        "run_started", "reported", "checkpoint_written", "allow_export", "exported", "run_ended"
    ]  # fmt: skip
    assert Diary.told["run_started"] == ("test", tmp_path)
    assert Diary.told["checkpoint_written"] == result.checkpoint
    assert Diary.told["exported"] == (tmp_path / "model", result.metrics, tmp_path)
    assert Diary.told["run_ended"] == (result, None)


def test_a_run_that_goes_on_says_from_where_and_what_was_measured_so_far(tmp_path):
    first = run(job(tmp_path))
    again = run(job(tmp_path))

    assert Diary.days == ["checkpoint_restored", "run_started", "allow_export", "exported", "run_ended"]
    assert Diary.told["checkpoint_restored"] == first.checkpoint
    clock = ("rows_per_second", "lag", "time", "final", "loss")
    assert {k: v for k, v in again.metrics.items() if k not in clock} == {
        k: v for k, v in first.metrics.items() if k not in clock
    }


def test_a_run_that_fails_ends_with_the_error(tmp_path):
    class Failing(MemorySource):
        def read(self, max_rows, timeout):
            raise SourceError("gone")

    with pytest.raises(SourceError) as raised:
        run(job(tmp_path, datasource=Failing))

    assert Diary.days == ["run_started", "run_ended"]
    assert Diary.told["run_ended"] == (None, raised.value)


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_that_an_engine_drives_tells_its_hooks_too(tmp_path, finished):
    with HostRuntime(job(tmp_path)).operator(source_id="memory", partitions=["p0", "p1"]) as operator:
        for number in (0, 1):
            operator.process(Chunk(batch(f"p{number}", list(range(300)))))
        operator.snapshot("one", Position("memory", {"p0": 300, "p1": 300}))
        operator.durable()
        if finished:
            operator.finish()

    assert Diary.days == [
        "run_started",
        "reported",
        "checkpoint_written",
        *(["reported", "allow_export", "exported"] if finished else []),
        "run_ended",
    ]
    result, error = Diary.told["run_ended"]
    assert (result.reason, error) == ("end-of-stream" if finished else "signal", None)


def test_an_engine_that_fails_ends_the_run_with_its_error(tmp_path):
    with pytest.raises(ZeroDivisionError), HostRuntime(job(tmp_path)).operator(source_id="memory"):
        _ = 1 / 0

    assert Diary.days == ["run_started", "run_ended"]
    assert isinstance(Diary.told["run_ended"][1], ZeroDivisionError)
