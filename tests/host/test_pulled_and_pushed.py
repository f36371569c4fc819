"""Every option of a job means the same whether rows are pulled or pushed: the same bytes, predictions and reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_support import FEATURES, MemorySource, batch, final_state, make_job, predictions, reports

from penrose_host import Chunk, Position, Reject
from penrose_host.config.job import Job
from penrose_host.training.runtime import HostRuntime, run

BAD = (3, 77, 499)
#: Option of a job → what it is set to. Of `idle`, `waiting` and the like a run here only shows that nothing changes.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "features": [
        {"features": {**FEATURES, "known_at": None}},
        {"features": {**FEATURES, "label_delay": "5us", "known_at": None}},
    ],
    "order": [{"order": "event_time"}],
    "idle": [{"idle": "1h"}],
    "micro_batch": [{"micro_batch": {"rows": 1}}, {"micro_batch": {"rows": 500, "event_time": "100us"}}],
    "waiting": [{"waiting": {"max_rows": 900}}],
    "metrics": [{"metrics": {"window_rows": 50}}, {"metrics": {"window_rows": None, "window_event_time": "300us"}}],
    "report": [{"report": {"rows": 77}}],
    "checkpoint": [{"checkpoint": {"rows": 333, "seconds": None, "keep": 1}}],
    "bad_rows": [{"bad_rows": "skip"}, {"bad_rows": "dead-letter"}],
    "non_finite": [{"non_finite": "skip"}],
    "output": [{"output": {"predictions": "scores", "export": "model"}}],
    "until": [{"until": {"rows": 200}}, {"until": {"event_time": "1970-01-01T00:00:00.000500Z"}}],
    "seed": [{"seed": 7}],
}
#: What names the run and its plugins, and says nothing about its rows.
APART = {"name", "environment", "datasource", "executor", "embedding", "hooks", "run_dir"}


def chunks(bad: tuple[int, ...]) -> Iterator[Chunk]:
    for start in range(0, 500, 37):
        for name in ("p0", "p1"):
            offsets = range(start, min(start + 37, 500))
            rejected = [offset for offset in offsets if offset in bad and name == "p0"]
            rejects = tuple(Reject(name, offset, "made bad", b"{oops") for offset in rejected)
            yield Chunk(batch(name, [offset for offset in offsets if offset not in rejected]), rejects)


def test_every_option_stands_here() -> None:
    assert set(OPTIONS) | APART == set(Job.model_fields)


@pytest.mark.parametrize(
    "option", [pytest.param(job, id=f"{n}-{i}") for n, jobs in OPTIONS.items() for i, job in enumerate(jobs)]
)
def test_it_means_the_same_pulled_and_pushed(tmp_path: Path, option: dict[str, Any]) -> None:
    bad = BAD if "bad_rows" in option else ()
    job = {"output": {"predictions": "scores"}, **option}
    result = run(make_job(tmp_path / "pulled", source={"bad": bad}, datasource=MemorySource, **job))
    runtime = HostRuntime(make_job(tmp_path / "pushed", **job))
    with runtime.operator(source_id="memory", partitions=["p0", "p1"]) as operator:
        for chunk in chunks(bad):
            if not operator.done:
                operator.process(chunk)
        if not operator.done:
            operator.finish()
        operator.snapshot("end", Position("memory", {"p0": 500, "p1": 500}))
        operator.durable()
        assert operator.session.progress.rows == result.rows
    assert reports(tmp_path / "pushed") == reports(tmp_path / "pulled")
    assert predictions(tmp_path / "pushed", "scores") == predictions(tmp_path / "pulled", "scores")
    if "until" not in option:  # a pulled run's checkpoint holds no rows that were read and not scored
        assert final_state(tmp_path / "pushed") == final_state(tmp_path / "pulled")
    for name in ("dead-letter.jsonl", "model/counts.json"):
        files = [tmp_path / kind / name for kind in ("pushed", "pulled")]
        assert files[0].exists() == files[1].exists()
        if files[0].exists():
            assert files[0].read_bytes() == files[1].read_bytes()
