"""Whole runs over files that are followed: every row once, whatever appears when, and manifests that stay small."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
from run_support import final_state, make_job, predictions, reports
from waiting_support import wait_until

from penrose_host import HookPlugin, hookimpl
from penrose_host.checkpoints import CheckpointStore
from penrose_host.contracts.cluster import Role
from penrose_host.datasources.files.source import FilesSource
from penrose_host.errors import SourceError
from penrose_host.training.runtime import run
from penrose_host.training.scoring import score

FEATURES = {
    "event_time": {"column": "t", "unit": "us"},
    "categorical": ["row"],
    "labels": [{"name": "y", "column": "y", "at_least": 1}],
    "known_at": {"column": "known", "unit": "us"},
}
HEADER = "row,t,known,y\n"


def line(row: int) -> str:
    return f"{row},{row * 3},{row * 3 + 10 + row * 7919 % 97},{row % 3 // 2}\n"


def write(folder: Path, number: int, rows: range) -> None:
    """A whole file, as of long ago."""
    put(folder / f"{number:05}.csv", HEADER + "".join(map(line, rows)))


def put(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(text)
    os.utime(draft, (0, 0))
    draft.rename(path)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penrose_host.ingest.reader.SURVEY_SECONDS", 0.1)
    monkeypatch.setattr("penrose_host.ingest.reader.POLL_SECONDS", 0.01)


def job(run_dir: Path, folder: Path, *, follow: bool = True, **changes: Any) -> Any:
    source: dict[str, Any] = {"path": str(folder / "*")}
    if follow:
        source |= {"follow": True, "poll": "100ms", "settle": "1s"}
    fields = {"features": FEATURES, "output": {"predictions": "predictions"}}
    return make_job(run_dir, datasource=FilesSource, source=source, **(fields | changes))


def scored(run_dir: Path) -> list[tuple[str, int]]:
    return [(row["_partition"], row["_offset"]) for row in predictions(run_dir)]


class Producer(HookPlugin):
    """Writes fifty more files of five rows at each report, up to two thousand."""

    api_version = 1
    folder: ClassVar[Path]
    written: ClassVar[int]

    @hookimpl
    def reported(self) -> None:
        for number in range(Producer.written, min(Producer.written + 50, 2000)):
            rows = ({"row": r, "t": 3 * r, "known": 3 * r + 50, "y": r % 3} for r in range(number * 5, number * 5 + 5))
            put(Producer.folder / f"{number:05}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
            Producer.written += 1


@pytest.mark.slow
@pytest.mark.parametrize("order", ["event_time", "arrival"])
def test_checkpoints_stay_small_over_two_thousand_files(tmp_path: Path, order: str) -> None:
    Producer.folder, Producer.written = tmp_path / "data", 0
    Producer.folder.mkdir()
    for _ in range(4):
        Producer.reported(Producer(Producer.Options()))
    changes: dict[str, Any] = {"report": {"rows": 250}, "checkpoint": {"rows": 250, "seconds": None, "keep": 100}}
    resolved = job(tmp_path / "run", Producer.folder, order=order, until={"rows": 9900}, hooks=[Producer], **changes)
    result = run(resolved)
    assert (result.rows >= 9900, Producer.written) == (True, 2000)
    places = scored(tmp_path / "run")
    assert len(set(places)) == len(places) == result.rows
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    sizes = []
    for id in store.ids():
        checkpoint = store.open(id)
        reader = checkpoint.reader(Role.CHIEF, 0, "")
        state, host = json.loads(reader.read("trainer/state.json")), json.loads(reader.read("host.json"))
        sizes.append([len(checkpoint.manifest.position.offsets), len(state["clocks"]), len(host["stamps"])])
    assert len(sizes) >= 20
    # The files that are there ahead of the run, and those of the last two checkpoints: not the thousands before.
    assert max(map(max, sizes)) <= 450
    assert len(reports(tmp_path / "run")[-1]["position"]) <= 450


@pytest.mark.parametrize("stops", [[120], [1, 77, 300, 301], [450]])
def test_a_run_that_is_stopped_and_resumed_while_files_come_and_go_ends_like_one_over_all_files(
    tmp_path: Path, stops: list[int]
) -> None:
    """Files follow one another in event time here: then what was there when makes no difference."""
    folder, run_dir, whole = tmp_path / "data", tmp_path / "run", tmp_path / "whole"
    folder.mkdir()
    whole.mkdir()
    for number in range(10):
        write(whole, number, range(number * 50, number * 50 + 50))
    write(whole, 99999, range(500, 520))
    written = 0
    checkpoint = {"rows": 40, "seconds": None, "keep": 2}
    for until in [*stops, 500]:
        while written * 50 < until + 60 and written < 10:
            write(folder, written, range(written * 50, written * 50 + 50))
            written += 1
        if written == 10:
            write(folder, 99999, range(500, 520))
        run(job(run_dir, folder, until={"rows": until}, checkpoint=checkpoint))
        newest = CheckpointStore(run_dir / "checkpoints").latest()
        assert newest is not None
        behind = [name for name, offset in newest.manifest.position.offsets.items() if offset == 50]
        for name in behind[:-1]:
            (folder / name).unlink(missing_ok=True)
    run(job(tmp_path / "bounded", whole, follow=False, until={"rows": 500}, checkpoint=checkpoint))
    assert scored(run_dir) == scored(tmp_path / "bounded")
    assert predictions(run_dir) == predictions(tmp_path / "bounded")
    assert final_state(run_dir)["executor/counts.json"] == final_state(tmp_path / "bounded")["executor/counts.json"]
    assert final_state(run_dir)["metrics/metrics.arrow"] == final_state(tmp_path / "bounded")["metrics/metrics.arrow"]


def test_a_log_that_is_appended_to_is_learned_from_while_it_grows(tmp_path: Path) -> None:
    folder, run_dir = tmp_path / "data", tmp_path / "run"
    folder.mkdir()
    total = 2000

    def append() -> None:
        with (folder / "a.csv").open("w", buffering=1) as log:
            text = HEADER + "".join(map(line, range(total + 100)))
            for start in range(0, len(text), 997):
                log.write(text[start : start + 997])
                log.flush()

    writer = threading.Thread(target=append)
    writer.start()
    result = run(job(run_dir, folder, until={"rows": total}, checkpoint={"rows": 100, "seconds": None}))
    writer.join()
    assert total <= result.rows < total + 16
    assert scored(run_dir) == [("a.csv", row) for row in range(result.rows)]
    again = run(job(run_dir, folder, until={"rows": total + 50}))
    assert scored(run_dir) == [("a.csv", row) for row in range(again.rows)]


def test_a_rotated_log_goes_on_in_the_next_file_in_event_time_order(tmp_path: Path) -> None:
    folder, run_dir = tmp_path / "data", tmp_path / "run"
    folder.mkdir()
    for number in range(3):
        write(folder, number, range(number * 100, number * 100 + 100))
    with (folder / "00003.csv").open("w") as log:
        log.write(HEADER + "".join(map(line, range(300, 400))) + "400,12")
    run(job(run_dir, folder, until={"rows": 380}))
    rows = [int(name[:5]) * 100 + offset for name, offset in scored(run_dir)]
    assert rows == list(range(len(rows)))
    assert len(rows) >= 380


def test_a_file_that_went_before_all_its_rows_were_scored_is_missed_on_resume(tmp_path: Path) -> None:
    folder, run_dir = tmp_path / "data", tmp_path / "run"
    folder.mkdir()
    for number in range(3):
        write(folder, number, range(number * 50, number * 50 + 50))
    run(job(run_dir, folder, until={"rows": 60}))
    (folder / "00001.csv").unlink()
    with pytest.raises(SourceError, match=r"00001\.csv was read before the checkpoint, and no file of that name"):
        run(job(run_dir, folder, until={"rows": 140}))


def test_scoring_follows_too(tmp_path: Path) -> None:
    folder, run_dir = tmp_path / "data", tmp_path / "run"
    folder.mkdir()
    write(folder, 0, range(100))
    run(job(run_dir, folder, until={"rows": 50}))

    def add() -> None:
        wait_until(lambda: list((tmp_path / "out").glob("*.parquet")))
        for number in range(1, 40):
            write(folder, number, range(number * 50, number * 50 + 50))

    adding = threading.Thread(target=add)
    adding.start()
    cadence = {"rows": 20, "seconds": 0.05}
    result = score(job(run_dir, folder, until={"rows": 1500}, checkpoint=cadence), tmp_path / "out")
    adding.join()
    assert result.rows == 1500
    tables = [pq.read_table(path, partitioning=None) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    columns = [zip(t["_partition"].to_pylist(), t["_offset"].to_pylist(), strict=True) for t in tables]
    assert len({place for column in columns for place in column}) == 1500
