"""What can be wrong with files, as the command line tells it: exit status, first line, and never a traceback."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fault_jobs import letters, predictions, reports, write_job
from fault_runs import Workplace

from penrose_host.cli import main

pytestmark = pytest.mark.faults

HEADER = "row,ts,kind,price,clicked"
FEATURES: dict[str, Any] = {
    "event_time": "ts",
    "categorical": ["kind"],
    "numeric": ["row", "price"],
    "labels": ["clicked"],
}


def line(row: int, **fields: str) -> str:
    values = {
        "row": str(row),
        "ts": f"2024-01-01 00:{row // 60:02}:{row % 60:02}",
        "kind": f"k{row % 3}",
        "price": f"{row / 4}",
        "clicked": str(row % 2),
    }
    return ",".join((values | fields).values())


def csv(path: Path, lines: list[str | bytes], header: str = HEADER) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join((x.encode() if isinstance(x, str) else x) + b"\n" for x in [header, *lines]))
    return path


def good(rows: int = 60, start: int = 0) -> list[str | bytes]:
    return [line(row) for row in range(start, start + rows)]


class Said(NamedTuple):
    """The exit status, the first line of the error, and all that was printed."""

    code: int
    first: str
    text: str


class Runner:
    """`penrose run` over the files in `data`, in this process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data = folder / "data"
        self.run_dir = folder / "run"
        self._folder = folder
        self._capsys = capsys

    def __call__(self, *flags: str, path: str = "*", source: dict[str, Any] | None = None, **changes: Any) -> Said:
        defaults = {
            "datasource": {"name": "files", "path": str(self.data / path), **(source or {})},
            "executor": {"name": "counting", "rows": 5000},
            "features": FEATURES,
            "hooks": [],
        }
        job = write_job(self._folder / "job.yaml", self.data, self.run_dir, **(defaults | changes))
        code = main(["run", str(job), *flags])
        text = self._capsys.readouterr().err.replace(str(self.data), "DATA")
        assert "Traceback" not in text
        first = next((x.removeprefix("error: ") for x in text.splitlines() if x.startswith("error: ")), "")
        return Said(code, first, text)


@pytest.fixture
def run(workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(tmp_path, capsys)


# -- the whole file, or all files -----------------------------------------------------------------------


def unknown_column(data: Path) -> dict[str, Any]:
    csv(data / "a.csv", good())
    return {"features": FEATURES | {"numeric": ["row", "prise"]}}


def text_as_number(data: Path) -> dict[str, Any]:
    csv(data / "a.csv", good())
    return {"features": FEATURES | {"categorical": [], "numeric": ["row", "kind"]}}


def text_as_label(data: Path) -> dict[str, Any]:
    csv(data / "a.csv", good())
    return {"features": FEATURES | {"categorical": [], "labels": ["kind"]}}


def number_as_time(data: Path) -> dict[str, Any]:
    csv(data / "a.csv", good())
    return {"features": FEATURES | {"event_time": "price"}}


def other_type_in_the_second_file(data: Path) -> dict[str, Any]:
    csv(data / "a.csv", good())
    pq.write_table(
        pa.table({"row": [1], "ts": ["noon"], "kind": ["k"], "price": [1.0], "clicked": [1]}), data / "b.parquet"
    )
    return {}


def truncated_parquet(data: Path) -> dict[str, Any]:
    data.mkdir()
    pq.write_table(pa.table({"row": list(range(5000))}), data / "a.parquet")
    whole = (data / "a.parquet").read_bytes()
    (data / "a.parquet").write_bytes(whole[: len(whole) // 2])
    return {}


def altered_parquet(data: Path) -> dict[str, Any]:
    data.mkdir()
    table = pa.table({"row": list(range(5000)), "ts": pa.array(range(5000), pa.timestamp("s")), "kind": ["k"] * 5000})
    table = table.append_column("price", pa.array([1.0] * 5000)).append_column("clicked", pa.array([1] * 5000))
    pq.write_table(table, data / "a.parquet", write_page_checksum=True)
    whole = bytearray((data / "a.parquet").read_bytes())
    whole[len(whole) // 3] ^= 0xFF
    (data / "a.parquet").write_bytes(whole)
    return {}


def empty_parquet(data: Path) -> dict[str, Any]:
    data.mkdir()
    (data / "a.parquet").write_bytes(b"")
    return {}


def truncated_gzip(data: Path) -> dict[str, Any]:
    plain = csv(data / "a.csv", good(3000)).read_bytes()
    (data / "a.csv").unlink()
    (data / "a.csv.gz").write_bytes(gzip.compress(plain)[:-2000])
    return {}


def csv_named_parquet(data: Path) -> dict[str, Any]:
    csv(data / "a.parquet", good())
    return {}


def no_header(data: Path) -> dict[str, Any]:
    csv(data / "a.csv", good(), header="1,2,2,4,5")
    return {}


def nothing_there(data: Path) -> dict[str, Any]:
    data.mkdir()
    return {}


def no_known_format(data: Path) -> dict[str, Any]:
    csv(data / "a.txt", good())
    return {}


FIRST = "the stream does not have what `features` names:"
#: Fault → how the first line begins, and what is said besides.
WRONG: dict[Callable[[Path], dict[str, Any]], tuple[str, str]] = {
    unknown_column: (FIRST, "the stream has no column 'prise'"),
    text_as_number: (FIRST, "column 'kind' is string"),
    text_as_label: (FIRST, "column 'kind' is string"),
    number_as_time: (FIRST, "column 'price' is double"),
    other_type_in_the_second_file: (
        "column 'ts' is string in DATA/b.parquet and timestamp[us] in DATA/a.csv; the rows 0 to 1 cannot be converted",
        "set `column_types: {ts: string}`",
    ),
    truncated_parquet: ("DATA/a.parquet is not a complete Parquet file: ", "replace the file"),
    altered_parquet: ("DATA/a.parquet cannot be read on from row 0: ", "replace the file"),
    empty_parquet: ("DATA/a.parquet is not a complete Parquet file: ", "replace the file"),
    truncated_gzip: ("DATA/a.csv.gz cannot be read to its end: ", "replace the file"),
    csv_named_parquet: ("DATA/a.parquet is not a complete Parquet file: ", "set the option `format`"),
    no_header: ("DATA/a.csv does not start with a header: two columns are called '2'", "csv: {header: false}"),
    nothing_there: ("no file matches DATA/*", "check the option `path`"),
    no_known_format: ("the name of DATA/a.txt does not tell its format", "set the option `format`"),
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_stream_that_does_not_hold_what_the_job_says(run: Runner, wrong: Callable[[Path], dict[str, Any]]) -> None:
    said = run(**wrong(run.data))
    first, besides = WRONG[wrong]
    assert said.code == 4, said.text
    assert said.first.startswith(first), said.text
    assert besides in said.text


@pytest.mark.parametrize("names", [["a.csv"], ["a.csv", "b.csv"]], ids=["one", "all"])
def test_empty_files_are_streams_without_rows(run: Runner, names: list[str]) -> None:
    run.data.mkdir()
    for name in names:
        (run.data / name).write_bytes(b"")
    said = run()
    assert (said.code, reports(run.run_dir)[-1]["rows"]) == (0, 0), said.text


def test_an_empty_file_among_others_changes_nothing(run: Runner) -> None:
    csv(run.data / "a.csv", [])
    (run.data / "b.csv").write_bytes(b"")
    csv(run.data / "c.csv", good())
    assert run().code == 0
    assert predictions(run.run_dir).num_rows == 60


def test_rows_whose_label_is_null_are_scored_and_never_trained(run: Runner) -> None:
    csv(run.data / "a.csv", [line(row, clicked="" if row % 4 == 0 else "1") for row in range(60)])
    assert run().code == 0
    last = reports(run.run_dir)[-1]
    assert (last["rows"], last["trained_rows"], last["bad_rows"]) == (60, 45, 0)
    assert predictions(run.run_dir)["label"].null_count == 15


# -- single rows ----------------------------------------------------------------------------------------

BAD: dict[str, tuple[str | bytes, str]] = {
    "too few fields": ("7,2024-01-01 00:00:07,k1", "the row has 3 fields, not 5"),
    "too many fields": (line(7) + ",more", "the row has 6 fields, not 5"),
    "not UTF-8": (line(7, kind="@").encode().replace(b"@", b"caf\xe9"), "not UTF-8"),
    "no number": (line(7, price="cheap"), "column 'price'"),
    "no time": (line(7, ts="at noon"), "column 'ts'"),
    "no event time": (line(7, ts=""), "the event time, column 'ts', is null"),
    "an infinite number": (line(7, price="inf"), "numeric feature 'price': column 'price' is infinite"),
    "a label that is none": (line(7, clicked="2"), "label 'clicked': column 'clicked' is not between 0 and 1"),
    "an open quote": (line(7, kind='"k1'), "a quote is opened in field 3 and not closed"),
}


@pytest.mark.parametrize("policy", ["fail", "skip", "dead-letter"])
@pytest.mark.parametrize("fault", BAD)
def test_a_bad_row(run: Runner, fault: str, policy: str) -> None:
    bad, reason = BAD[fault]
    # An open quote swallows what follows it: it stands at the end.
    before, after = (60, 0) if fault == "an open quote" else (7, 53)
    csv(run.data / "a.csv", [*good(before), bad, *good(after, before)])
    csv(run.data / "b.csv", good(5, 100))
    types = {"column_types": {"price": "float64", "ts": "timestamp[us]", "clicked": "int64"}}
    said = run(bad_rows=policy, source=types)
    if policy == "fail":
        assert said.code == 4
        assert said.first.startswith(f"bad row at partition 'a.csv', offset {before}: ")
        assert reason in said.first
        assert "bad_rows: skip" in said.text
        return
    assert said.code == 0, said.text
    last = reports(run.run_dir)[-1]
    assert (last["rows"], last["bad_rows"], last["position"]) == (65, 1, {"a.csv": 61, "b.csv": 5})
    rows = predictions(run.run_dir)
    assert sorted(rows.filter(pa.compute.equal(rows["_partition"], "a.csv"))["_offset"].to_pylist()) == [
        offset for offset in range(61) if offset != before
    ]
    if policy == "skip":
        assert (run.run_dir / "dead-letter.jsonl").read_bytes() == b""
        return
    [(partition, offset, told, raw)] = letters(run.run_dir)
    assert (partition, offset) == ("a.csv", before)
    assert reason in told
    assert "7" in raw


def test_a_field_of_100_megabytes_is_a_bad_row_unless_it_is_allowed(run: Runner) -> None:
    csv(run.data / "a.csv", [*good(7), line(7, kind="x" * 100_000_000), *good(53, 8)])
    said = run()
    assert said.code == 4
    assert said.first.startswith("bad row at partition 'a.csv', offset 7: the row has 100000029 bytes, more than")
    assert run(bad_rows="dead-letter").code == 0
    assert reports(run.run_dir)[-1]["rows"] == 60
    assert (run.run_dir / "dead-letter.jsonl").stat().st_size < 200_000
    assert run("--fresh", source={"max_row_bytes": 128 << 20}).code == 0
    assert reports(run.run_dir)[-1]["rows"] == 61


def test_a_field_of_100_megabytes_in_parquet(run: Runner) -> None:
    csv(run.data / "a.csv", good(3))
    pq.write_table(
        pa.table(
            {
                "row": [100],
                "ts": pa.array([1], pa.timestamp("us")),
                "kind": ["y" * 100_000_000],
                "price": [0.5],
                "clicked": [1],
            }
        ),
        run.data / "b.parquet",
    )
    assert run().code == 0
    assert reports(run.run_dir)[-1]["rows"] == 4


# -- files that are not what they were -------------------------------------------------------------------


def rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"k1", b"k2", 1))


def cut_short(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-5]))


def gone(path: Path) -> None:
    path.unlink()


CHANGES = {
    rewritten: "DATA/NAME has changed since the checkpoint: its first ",
    cut_short: "DATA/NAME has changed since the checkpoint: it had ",
    gone: "NAME was read before the checkpoint, and no file of that name matches",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", ["a.csv", "b.csv"], ids=["read to its end", "being read"])
def test_a_file_that_changed_since_the_checkpoint(run: Runner, change: Callable[[Path], None], name: str) -> None:
    for number, file in enumerate(("a.csv", "b.csv", "c.csv")):
        csv(run.data / file, good(60, 60 * number))
    assert run("--until", "rows=70", order="arrival").code == 0
    lines = (run.run_dir / "metrics.jsonl").read_bytes()
    change(run.data / name)
    said = run(order="arrival")
    assert said.code == 4
    assert said.first.startswith(CHANGES[change].replace("NAME", name)), said.text
    assert "put the file back" in said.text
    assert (run.run_dir / "metrics.jsonl").read_bytes() == lines
    assert run("--fresh", order="arrival").code == 0


def test_a_text_file_that_has_grown_is_read_on(run: Runner) -> None:
    csv(run.data / "a.csv", good())
    assert run().code == 0
    with (run.data / "a.csv").open("a") as file:
        file.write("\n".join(str(text) for text in good(20, 60)) + "\n")
    assert run().code == 0
    rows = predictions(run.run_dir)
    assert rows["_offset"].to_pylist() == list(range(80))
    final = [report for report in reports(run.run_dir) if report["final"]]
    assert [report["rows"] for report in final] == [60, 80]


def test_a_position_of_another_stream(run: Runner) -> None:
    csv(run.data / "a.csv", good())
    assert run("--until", "rows=30", path="a*").code == 0
    said = run(path="*.csv")
    assert said.code == 4
    assert said.first.startswith("checkpoint 0000000")
    assert "is a position of the stream 'files:" in said.first
    assert "--fresh" in said.text
