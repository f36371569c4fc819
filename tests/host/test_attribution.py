"""What a plugin raises at run that is no error of Penrose's own: shown with its name, distribution and place."""

from __future__ import annotations

from typing import Any

import pytest

LATE = """
import importlib.metadata
from pydantic import BaseModel, ConfigDict
from penrose_host import DataSource, Environment, Executor, HookPlugin, ClusterSpec, Role, hookimpl
from penrose_host.embeddings.mixing import buckets
from penrose_host.datasources.clickstream.source import ClickstreamSource
from penrose_late import helper

class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    how: str = "self"

class Late(Executor):
    api_version = 1
    Options = Options
    def setup(self, context): pass
    def predict(self, batch):
        if self.options.how == "helper":
            return helper.fail()
        if self.options.how == "host":
            return buckets("no array", 3)
        if self.options.how == "metadata":
            for found in importlib.metadata.distributions():
                found.entry_points
        raise ValueError("no luck today")
    train = predict
    def snapshot(self): pass
    def restore(self, reader): pass
    def export(self, directory): pass
    def close(self): pass

class Source(ClickstreamSource):
    def read(self, max_rows, timeout):
        raise OSError(5, "the disk is gone")

class Place(Environment):
    api_version = 1
    Options = Options
    def run(self, job, runtime):
        if self.options.how == "own":
            raise RuntimeError("no machine")
        return runtime.run_role(Role.CHIEF, 0, ClusterSpec.single())
"""
JOB = """\
name: late
environment: {name: place, how: none}
datasource: {name: clickstream, rows: 100}
executor: late
features: {event_time: event_time, categorical: [user], labels: [click], known_at: click_known_at}
"""


@pytest.fixture
def late(site: Any) -> Any:
    (site.path / "penrose_late").mkdir()
    (site.path / "penrose_late" / "__init__.py").write_text("")
    (site.path / "penrose_late" / "plugin.py").write_text(LATE)
    (site.path / "penrose_late" / "helper.py").write_text("def fail():\n    return {}['nothing']\n")
    groups = {
        "penrose.executors": {"late": "penrose_late.plugin:Late"},
        "penrose.datasources": {"latesource": "penrose_late.plugin:Source"},
        "penrose.environments": {"place": "penrose_late.plugin:Place"},
    }
    site.add("penrose-late", groups, version="2.5")
    (site.path.parent / "job.yaml").write_text(JOB)
    return site


EXECUTOR = "error: executor plugin 'late' of penrose-late 2.5 raised "
SAID = {
    "self": (EXECUTOR + "ValueError: no luck today", "in Late.predict\n", "raise ValueError"),
    "helper": (EXECUTOR + "KeyError: 'nothing'", "in Late.predict (raised at ", "return helper"),
    "host": (EXECUTOR, "in Late.predict (raised at ", "return buckets"),
}


@pytest.mark.parametrize("how", SAID)
def test_an_executor_that_raises_is_named_with_the_place(late: Any, how: str) -> None:
    done = late.penrose("run", "job.yaml", "-o", f"executor.how={how}")
    message, where, source = SAID[how]
    line = next(number for number, text in enumerate(LATE.splitlines(), start=1) if source in text)
    assert done.returncode == 3, done.stderr
    assert message in done.stderr
    assert f"penrose_late/plugin.py:{line}, {where}" in done.stderr
    assert "add --traceback" in done.stderr
    assert "Traceback" not in done.stderr
    whole = late.penrose("run", "job.yaml", "-o", f"executor.how={how}", "--traceback")
    assert "Traceback" in whole.stderr
    assert message in whole.stderr


def test_damaged_metadata_that_a_library_stumbles_over_is_looked_for_with_doctor(late: Any) -> None:
    late.add("stranger", {"else": {"x": "y:z"}})
    (info,) = late.path.glob("stranger-*.dist-info")
    (info / "entry_points.txt").write_bytes(b"\xff")
    done = late.penrose("run", "job.yaml", "-o", "executor.how=metadata")
    assert done.returncode == 3
    assert EXECUTOR + "UnicodeDecodeError: " in done.stderr
    assert "penrose doctor names it" in done.stderr
    assert "stranger" in late.penrose("doctor").stdout


def test_a_datasource_that_raises_on_its_thread_is_named(late: Any) -> None:
    done = late.penrose("run", "job.yaml", "--datasource", "latesource")
    assert done.returncode == 3
    assert (
        "datasource plugin 'latesource' of penrose-late 2.5 raised OSError: [Errno 5] the disk is gone" in done.stderr
    )
    assert "in Source.read" in done.stderr


def test_an_environment_is_named_for_what_it_does_itself(late: Any) -> None:
    done = late.penrose("run", "job.yaml", "-o", "environment.how=own")
    assert done.returncode == 3
    assert "environment plugin 'place' of penrose-late 2.5 raised RuntimeError: no machine" in done.stderr


def test_predict_and_export_name_plugins_too(late: Any) -> None:
    job = ["job.yaml", "-o", "executor.how=self"]
    assert late.penrose("run", *job, "--until", "rows=1").returncode == 3
    done = late.penrose("predict", "job.yaml", "--datasource", "latesource", "--output", "x")
    assert "Traceback" not in done.stderr
    assert done.returncode != 0


def test_what_is_nobody_s_fault_but_the_host_s_stays_what_it_is(late: Any) -> None:
    code = (
        "import sys, penrose_host.training.session as s\n"
        "def broken(self, *_): raise ZeroDivisionError('a bug')\n"
        "s.Session.take = broken\n"
        "from penrose_host.cli import main; sys.exit(main())"
    )
    done = late.python(code, "run", "job.yaml")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ZeroDivisionError: a bug")
    assert "plugin" not in done.stderr.splitlines()[-1]
