"""The report page: it shows the figures, stands alone, and takes whatever a run directory may hold."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, strategies as st
from run_support import make_job

from penrose_host.checkpoints import CheckpointStore
from penrose_host.config.jobfile import to_yaml
from penrose_host.errors import RunDirectoryError
from penrose_host.monitoring.report import write_report
from penrose_host.monitoring.report.curves import BUCKETS, segments
from penrose_host.monitoring.report.scales import event_ticks, ticks
from penrose_host.training.runtime import run

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """A page taken apart; fails where elements do not close in order."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        text = path.read_text("utf-8")
        self.feed(text)
        self.close()
        assert self.open == []
        self.references += re.findall(r"url\(([^)]*)\)|@import", "".join(self.styles))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), name
            if name in ("src", "href", "action", "xlink:href", "srcset", "data", "poster", "style"):
                self.references.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        {"script": self.scripts, "style": self.styles}.get(inside, self.texts).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def report_of(run_dir: Path) -> Page:
    length = write_report(run_dir, run_dir / "report.html")
    assert length == (run_dir / "report.html").stat().st_size < 2_000_000
    page = Page(run_dir / "report.html")
    assert page.references == []
    assert len(page.scripts) == 2 or not page.tags.count("svg")
    return page


def line(rows: int, **changes: Any) -> dict[str, Any]:
    metrics = {
        "auc": 0.75,
        "log_loss": 0.4,
        "calibration": 1.01,
        "labelled_rows": rows,
        "positives": rows / 4,
        "non_finite_scores": 0,
    }
    return {
        "rows": rows,
        "trained_rows": rows,
        "waiting_rows": 17,
        "bad_rows": 0,
        "skipped_rows": 0,
        "steps": rows,
        **metrics,
        "window": {**metrics, "auc": 0.7811},
        "loss": 0.41,
        "event_time": rows * 1_000_000,
        "position": {"p": rows},
        "rows_per_second": 1000.0,
        "time": 1.7e9 + rows / 1000,
        "final": False,
        **changes,
    }


def make_run(run_dir: Path, lines: Iterable[Mapping[str, Any]], name: str = "test") -> Path:
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "job.yaml").write_text(to_yaml({"name": name, "metrics": {"window_rows": 500}}), "utf-8")
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return run_dir


# -- what is on it ---------------------------------------------------------------------------------


def test_a_real_run_is_shown_with_its_figures_curves_checkpoints_and_job(tmp_path: Path) -> None:
    run(make_job(tmp_path, name="shown"))
    page = report_of(tmp_path)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert "shown the stream has ended" in page.text
    for name in ("auc", "log_loss", "calibration"):
        assert f"{last[name]:.4f}" in page.text
        assert f"last 10,000 rows: {last['window'][name]:.4f}" in page.text
    assert f"1,000 {last['trained_rows']} trained" in page.text
    for title in ("AUC", "Log loss", "Calibration", "Training loss", "Throughput", "Waiting rows", "Event time"):
        assert title in page.text
    assert page.tags.count("svg") == 8
    ids = CheckpointStore(tmp_path / "checkpoints").ids()
    assert ids
    assert all(id in page.text for id in ids)
    assert "p0 500 p1 500" in page.text
    assert "non_finite : stop" in page.text


def test_a_run_that_goes_on_may_be_in_the_middle_of_a_line(tmp_path: Path) -> None:
    make_run(tmp_path, [line(100), line(200)])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"rows": 300, "tr')
    page = report_of(tmp_path)
    assert "the stream has not ended" in page.text
    assert "Rows scored 200" in page.text


def test_values_under_the_pointer_are_those_of_the_lines(tmp_path: Path) -> None:
    make_run(tmp_path, [line(100, auc=0.6), line(200, auc=None), line(300, auc=0.8)])
    data = json.loads(report_of(tmp_path).scripts[0])
    assert data["rows"] == [100, 200, 300]
    assert data["values"][0] == [0.6, None, 0.8]
    assert data["texts"][0] == ["0.6000", "–", "0.8000"]
    assert data["labels"][0] == "100 rows · event time 1970-01-01 00:01:40 · reported 2023-11-14 22:13:20 UTC"


def test_a_stream_that_is_followed_live_has_a_lag(tmp_path: Path) -> None:
    now = time.time()
    lines = [line(rows, time=now + rows, event_time=int((now + rows - 30) * 1e6)) for rows in (10, 20, 30)]
    page = report_of(make_run(tmp_path, lines))
    assert "Lag behind 30" in page.text
    assert "Event time reached" not in page.text


def test_rows_that_were_left_out_get_a_chart_once_there_are_any(tmp_path: Path) -> None:
    assert "Rows left out" not in report_of(make_run(tmp_path / "a", [line(1), line(2)])).text
    assert "Rows left out" in report_of(make_run(tmp_path / "b", [line(1), line(2, bad_rows=1)])).text


def test_many_heads_are_listed_and_the_first_get_curves(tmp_path: Path) -> None:
    def heads(rows: int) -> dict[str, Any]:
        values = {f"head {n}": {"auc": 0.5 + n / 100, "log_loss": 0.3, "labelled_rows": rows} for n in range(100)}
        return {"heads": values, "window": {**line(rows)["window"], "heads": values}}

    page = report_of(make_run(tmp_path, [line(rows, **heads(rows)) for rows in range(10, 1000, 10)]))
    assert "AUC of head 0 0.7500" in page.text
    assert "Log loss of head 0 0.4000" in page.text
    assert "head 59 1.0900 0.3000 –" in page.text
    assert "and 40 more" in page.text
    assert "AUC by head, last 500 rows head 0 0.5000 head 1 0.5100" in page.text


def test_thousands_of_partitions_are_not_all_listed(tmp_path: Path) -> None:
    page = report_of(make_run(tmp_path, [line(10, position={f"p{n:05}": n for n in range(5000)})]))
    assert "p00059 59" in page.text
    assert "and 4,940 more" in page.text


# -- whatever there is -----------------------------------------------------------------------------


def test_a_run_without_a_report_yet_says_so(tmp_path: Path) -> None:
    page = report_of(make_run(tmp_path, []))
    assert "There is no report yet" in page.text
    (tmp_path / "metrics.jsonl").unlink()
    assert "There is no report yet" in report_of(tmp_path).text
    (tmp_path / "job.yaml").unlink()
    (tmp_path / "checkpoints").mkdir()
    assert tmp_path.name in report_of(tmp_path).text


def test_one_report_is_a_point_in_each_chart(tmp_path: Path) -> None:
    page = report_of(make_run(tmp_path, [line(100)]))
    assert page.tags.count("svg") == 8
    assert page.tags.count("circle") >= 8


def test_a_run_that_scored_nothing_has_figures_and_no_curves(tmp_path: Path) -> None:
    page = report_of(make_run(tmp_path, [line(0, bad_rows=rows, window=None) for rows in (100, 200)]))
    assert "svg" not in page.tags
    assert "No row has been scored" in page.text
    assert "Bad rows 200" in page.text


def test_long_names_are_shortened_so_that_they_are_told_apart_and_stand_whole_in_the_table(tmp_path: Path) -> None:
    names = [f"{'a_path/to/' * 12}label_{n}{'_and_so_on' * 9}" for n in range(8)]
    names[7] = "\u202egnp"
    heads = {name: {"auc": 0.5 + n / 100} for n, name in enumerate(names)}
    make_run(tmp_path, [line(rows, heads=heads, window={"heads": heads}) for rows in (10, 20)], name="x" * 300)
    page = report_of(tmp_path)
    legends = re.findall(r"<bdi>([^<]*)</bdi>", (tmp_path / "report.html").read_text("utf-8"))
    assert all(len(name) <= 41 for name in legends)
    assert sum("label_5" in name for name in legends) == 2
    assert all(name in page.texts for name in names)


def test_values_that_are_not_known_or_not_finite_leave_gaps(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("auc", "log_loss", "calibration", "loss", "event_time", "time", "rows_per_second"))
    lines = [line(10, **nothing, window=None), line(20, loss=math.nan, auc=math.inf, window=None)]
    lines.append(line(30, labelled_rows=0, positives=0, window={"labelled_rows": 0, "positives": 1}))
    page = report_of(make_run(tmp_path, lines))
    assert "NaN" not in "".join(page.scripts[0])
    assert "nan" not in (tmp_path / "report.html").read_text("utf-8").partition("<script")[0]
    assert "last 500 rows: –" in page.text


@pytest.mark.slow
def test_a_hundred_thousand_reports_make_a_small_page_with_every_peak(tmp_path: Path) -> None:
    lines = (line(rows, loss=50.0 if rows == 77_777 else 0.4 + rows % 7 / 100) for rows in range(1, 100_001))
    page = report_of(make_run(tmp_path, lines))
    assert (tmp_path / "report.html").stat().st_size < 500_000
    assert "off the scale: 1" in page.text


def test_text_of_the_job_is_text_and_never_markup(tmp_path: Path) -> None:
    evil = "</script></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;"
    values = {"auc": 0.5}
    report = line(10, position={evil: 1}, heads={evil: values, "b": values}, window={"heads": {evil: values}})
    plain = report_of(make_run(tmp_path / "a", [line(10)]))
    page = report_of(make_run(tmp_path / "b", [report], name=evil))
    assert page.text.count(evil) >= 4
    assert "img" not in page.tags
    assert page.tags.count("script") == plain.tags.count("script") == 2
    assert "default-src 'none'" in (tmp_path / "b" / "report.html").read_text("utf-8")


def test_a_damaged_checkpoint_is_shown_as_what_it_is(tmp_path: Path) -> None:
    for until in (300, None):
        run(make_job(tmp_path, until={"rows": until}, checkpoint={"rows": None, "seconds": None}))
    first, _ = CheckpointStore(tmp_path / "checkpoints").ids()
    (tmp_path / "checkpoints" / first / "manifest.json").write_text("{}")
    page = report_of(tmp_path)
    assert "manifest.json is damaged" in page.text
    assert page.text.count("whole") == 1
    (tmp_path / "checkpoints" / "epochs" / "00000001.json").write_text("{}")
    assert "00000001.json is not readable" in report_of(tmp_path).text


def test_a_job_that_cannot_be_read_as_one_is_shown_as_it_is(tmp_path: Path) -> None:
    make_run(tmp_path, [line(10)])
    (tmp_path / "job.yaml").write_bytes(b"{name: [\xff")
    assert "{name: [" in report_of(tmp_path).text


@pytest.mark.parametrize("text", ["not json\n", "[1]\n", '"x"\n', '{"window": 3}\n', "null\n"])
def test_a_line_that_is_no_report_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    make_run(tmp_path, [line(10)])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(text)
    with pytest.raises(RunDirectoryError, match=r"line 2 of .*metrics\.jsonl"):
        write_report(tmp_path, tmp_path / "report.html")


def test_what_is_no_run_directory_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunDirectoryError, match=r"not the directory of a run\n.*runs/NAME"):
            write_report(path, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_cannot_be_written_is_an_error_and_leaves_the_one_before(tmp_path: Path) -> None:
    make_run(tmp_path / "run", [line(10)])
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for output in (tmp_path / "file" / "report.html", tmp_path / "folder"):
        with pytest.raises(RunDirectoryError, match=r"cannot write .*\n.*--output"):
            write_report(tmp_path / "run", output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "run"]


def test_the_command_writes_into_the_run_directory_or_elsewhere(site: Any, tmp_path: Path) -> None:
    make_run(tmp_path / "run", [line(10)])
    done = site.penrose("report", "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("run/report.html (")
    assert site.penrose("report", "run", "--output", "new/page.html").returncode == 0
    assert (tmp_path / "new" / "page.html").exists()
    assert site.penrose("report", "none").returncode == 8


# -- curves and scales -----------------------------------------------------------------------------

numbers = st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan)), min_size=1, max_size=3000)


@given(numbers)
def test_a_thinned_curve_keeps_the_ends_the_extremes_and_stays_short(values: list[float]) -> None:
    y = np.array(values)
    lines = segments(y)
    kept = np.concatenate([*lines, np.empty(0, dtype=np.int64)]).astype(int)
    assert len(kept) <= 4 * BUCKETS
    assert (np.diff(kept) > 0).all()
    assert np.isfinite(y[kept]).all()
    finite = np.flatnonzero(np.isfinite(y))
    if len(finite):
        assert {finite[0], finite[-1]} <= set(kept.tolist())
        assert (y[kept].min(), y[kept].max()) == (y[finite].min(), y[finite].max())
    if len(y) <= BUCKETS:
        assert sorted(kept) == finite.tolist()


@given(st.floats(-1e6, 1e6), st.floats(1e-9, 1e12), st.integers(5, 10))
def test_ticks_are_few_and_within(start: float, extent: float, count: int) -> None:
    low = start * extent
    found = ticks(low, low + extent, count)
    assert 2 <= len(found) <= count + 1
    assert all(low - extent * 1e-6 <= tick <= low + extent * 1.000001 for tick in found)


@given(st.integers(-(2**62), 2**62), st.integers(1, 2**61))
@example(-62_141_645_800_000_261, 6_048_000_000_001)  # before the year 1, where dates begin
def test_ticks_of_any_time_are_few_and_within(low: int, extent: int) -> None:
    found = event_ticks(float(low), float(low + extent), 5)
    assert 1 <= len(found) <= 8
    assert all(low - 1e9 <= tick <= low + extent + 1e9 for tick, _ in found)
