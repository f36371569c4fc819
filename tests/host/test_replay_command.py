"""`penrose replay` on the command line: files in, a plugin's file out, and every mistake with what to type next."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bare_site import BareSite, lay_foundation
from doc_blocks import ROOT, blocks
from file_sink import GROUPS
from waiting_support import wait_until

from penrose_host.cli import main
from penrose_host.cli.new import render

SINK = Path(__file__).parents[1] / "support" / "file_sink.py"
EARLY = "ts,word\n2024-01-01T00:00:00Z,a\n2024-01-01T00:00:02Z,b\n2024-01-01T01:00:00Z,c\n"
LATE = "ts,word\n2024-01-01T00:00:01Z,x\n2024-01-01T00:00:02Z,y\n"
FILES = ["-o", "datasource.path=*.csv"]
JOB = """\
name: words
datasource: {name: files, path: early.csv}
executor: nothing-that-is-installed
features: {event_time: ts, labels: [y]}
"""
CLICKS = """\
datasource: {name: clickstream, rows: 400}
features: {event_time: event_time}
"""


@pytest.fixture
def stage(site: Any, tmp_path: Path) -> Any:
    """Two files and the sink `lines`; the command runs beside them."""
    site.add("penrose-lines", GROUPS, {"file_sink": SINK.read_text()})
    (tmp_path / "early.csv").write_text(EARLY)
    (tmp_path / "late.csv").write_text(LATE)
    return site


def lines(folder: Path, name: str = "out") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def words(folder: Path) -> str:
    return "".join(row["word"] for row in lines(folder))


def test_the_rows_of_all_files_are_published_in_the_order_of_their_event_time(stage: Any, tmp_path: Path) -> None:
    result = stage.penrose("replay", "files", *FILES, "--to", "lines", "--topic", "out", "--event-time", "ts")
    assert (result.returncode, result.stdout) == (0, "")
    assert words(tmp_path) == "axbyc"
    assert lines(tmp_path)[1] == {
        "ts": "2024-01-01 00:00:01+00:00", "word": "x", "_partition": "late.csv", "_offset": 0,
    }  # fmt: skip
    assert "the stream has ended: 5 rows published, the last of 2024-01-01T01:00:00Z" in result.stderr


def test_a_job_file_says_where_from_and_what_the_event_time_is(stage: Any, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    result = stage.penrose("replay", "job.yaml", "--to", "lines", "-o", "sink.topic=out", "--rows", "2")
    assert result.returncode == 0, result.stderr
    assert words(tmp_path) == "ab"
    assert "reached --rows: 2 rows published" in result.stderr


def test_flags_beat_variables_beat_the_job_file(stage: Any, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    variables = {"PENROSE_DATASOURCE__PATH": "late.csv", "PENROSE_SINK__TOPIC": "out"}
    assert stage.penrose("replay", "job.yaml", "--to", "lines", **variables).returncode == 0
    assert words(tmp_path) == "xy"
    flags = ("-o", "datasource.path=early.csv", "--topic", "other")
    assert stage.penrose("replay", "job.yaml", "--to", "lines", *flags, **variables).returncode == 0
    assert len(lines(tmp_path, "other")) == 3


def test_numbers_can_be_event_times(stage: Any, tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("n,word\n2,b\n1,a\n")
    arguments = ["replay", "files", "-o", "datasource.path=n.csv", "--to", "lines", "--topic", "out"]
    assert stage.penrose(*arguments, "--event-time", "{column: n, unit: ms}").returncode == 0
    assert words(tmp_path) == "ba"
    result = stage.penrose(*arguments, "--event-time", "n")
    assert result.returncode == 4
    assert "say what its numbers count: {column: n, unit: s}" in result.stderr


def test_arrival_needs_no_event_time(stage: Any, tmp_path: Path) -> None:
    assert (
        stage.penrose("replay", "files", *FILES, "--to", "lines", "--topic", "out", "--order", "arrival").returncode
        == 0
    )
    assert sorted(words(tmp_path)) == sorted("abcxy")


def test_what_a_machine_reads_is_json(stage: Any, tmp_path: Path) -> None:
    result = stage.penrose(
        "replay", "files", *FILES, "--to", "lines", "--topic", "out", "--event-time", "ts", "--log-format", "json"
    )
    ended = json.loads(result.stderr.splitlines()[-1])
    assert ended.items() >= {"event": "ended", "reason": "end-of-stream", "rows": 5, "bad_rows": 0}.items()
    assert ended["event_time"] == 1704070800000000


TO = ["--to", "lines", "--topic", "o"]
WHOLE = ["files", *FILES, *TO, "--event-time", "ts"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["files", *FILES, "--to", "lines", "--topic", "out"], 2, "--event-time: name the column"),
        (["files", *FILES, *TO, "--order", "arrival", "--speed", "2"], 2, "--speed goes by it"),
        (["files", *FILES, "--to", "lines", "--event-time", "ts"], 2, "sink.topic: is missing"),
        (["files", "--to", "lines", "--topic", "o", "--event-time", "ts"], 2, "datasource.path: is missing"),
        (["files", *FILES, *TO, "--event-time", "[a"], 2, "--event-time: "),
        ([*WHOLE, "-o", "executor.x=1"], 2, "-o executor.x: a replay takes options of `datasource` and `sink`, `feat"),
        (["files", *FILES, *TO, "--event-time", "word"], 4, "format: iso8601"),
        (["files", *FILES, *TO, "--event-time", "tz"], 4, "no column 'tz'"),
        (["no.yaml", "--to", "lines"], 2, "no.yaml: cannot be read"),
        (["fils", "--to", "lines", "--topic", "o", "--event-time", "ts"], 3, "did you mean 'files'?"),
        (["files", *FILES, "--to", "files", "--event-time", "ts"], 3, "'files' is installed as: datasource"),
        (["files", *FILES, "--to", "lines", "--topic", "no/o", "--event-time", "ts"], 9, "no/o cannot be written"),
        ([*WHOLE, "-o", "sink.full_after=1"], 9, "o is full\n  make room"),
        (["files", *FILES], 2, "required: --to"),
        (["files", *FILES, "--to", "lines", "--speed", "0"], 2, "--speed: should be a number above 0"),
        (["files", *FILES, "--to", "lines", "--rows", "-1"], 2, "--rows: "),
        ([*WHOLE, "--block", "lines"], 3, "blocked by --block lines"),
    ],
)  # fmt: skip
def test_every_mistake_says_where_it_is(stage: Any, arguments: list[str], status: int, said: str) -> None:
    result = stage.penrose("replay", *arguments)
    assert said in result.stderr
    assert result.returncode == status
    assert "Traceback" not in result.stderr


def test_bad_rows_end_it_or_are_counted(stage: Any, tmp_path: Path) -> None:
    (tmp_path / "early.csv").write_text(EARLY + "no time,d\n")
    times = ["--event-time", "{column: ts, format: iso8601}"]
    flags = [*FILES, "-o", "datasource.column_types={ts: string}", *times, "--topic", "out"]
    failed = stage.penrose("replay", "files", *flags, "--to", "lines")
    assert failed.returncode == 4
    assert "bad row at partition 'early.csv', offset 3" in failed.stderr
    assert "--bad-rows skip" in failed.stderr
    (tmp_path / "out").unlink(missing_ok=True)
    skipped = stage.penrose("replay", "files", *flags, "--to", "lines", "--bad-rows", "skip")
    assert skipped.returncode == 0, skipped.stderr
    assert "5 rows published, 1 bad" in skipped.stderr
    assert words(tmp_path) == "axbyc"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_in_good_order_though_the_next_row_is_far_away(stage: Any, tmp_path: Path, number: int) -> None:
    (tmp_path / "far.csv").write_text("ts,word\n2024-01-01T00:00:00Z,a\n2034-01-01T00:00:00Z,b\n")
    code = "import sys; from penrose_host.cli import main; sys.exit(main())"
    flags = ["-o", "datasource.path=far.csv", "--to", "lines", "--topic", "out", "--event-time", "ts", "--speed", "60"]
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, "replay", "files", *flags],
        env=stage.environ(),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out = tmp_path / "out"
        wait_until(lambda: out.exists() and out.stat().st_size)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, said
    assert "stopped by a signal: 1 rows published" in said
    assert words(tmp_path) == "a"


def test_a_run_passes_over_the_variables_of_a_sink(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("PENROSE_SINK__PASSWORD", "secret")
    assert main(["run", "--dry-run"]) == 2
    assert "SINK" not in capsys.readouterr().err


def test_a_known_sink_that_is_not_installed_names_its_package(tmp_path: Path) -> None:
    bare = BareSite(tmp_path / "bare", lay_foundation(tmp_path / "foundation"))
    result = bare.penrose("replay", "clickstream", "--to", "kafka", "--event-time", "time")
    assert result.returncode == 3
    assert "there is no sink plugin 'kafka'\n  install it with: pip install penrose-kafka" in result.stderr


def test_the_page_about_replays_says_how_to_do_it_from_python(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = [block for block in blocks(ROOT / "docs/replay.md") if block.language == "python"]
    for path, text in render("sink", "lines"):
        if path.startswith("src/"):
            place = site.path / path.removeprefix("src/")
            place.parent.mkdir(exist_ok=True)
            place.write_text(text, "utf-8")
    site.add("penrose-lines", {"penrose.sinks": {"lines": "penrose_lines.sink:LinesSink"}})
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text(CLICKS)
    exec(compile(block.text, "docs/replay.md", "exec"), {})
    assert len(lines(tmp_path, "again.jsonl")) == 50
