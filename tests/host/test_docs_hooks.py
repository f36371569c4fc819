"""`docs/hooks.md`: the hook that it writes is installed, listed, tested and used; every block of it runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from uv_pip import OFFLINE, uv_pip

from penrose_host import Job
from penrose_host.contracts.hooks import HookSpecs

PAGE = Path(__file__).parents[2] / "docs" / "hooks.md"
TEXT = PAGE.read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.M | re.S)

EXECUTOR = """
import json
import numpy as np
from pydantic import BaseModel, ConfigDict
from penrose_host import Executor, FilesSnapshot, StepResult

class Steady(Executor):
    api_version = 1
    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
    def setup(self, context): pass
    def predict(self, batch): return {"click": np.linspace(0.1, 0.2, len(batch), dtype=np.float32)}
    def train(self, batch, step): return StepResult({"click": 0.7}, self.predict(batch))
    def snapshot(self): return FilesSnapshot({"state.json": b"{}"})
    def restore(self, reader): json.loads(reader.read("state.json"))
    def export(self, directory): (directory / "model").touch()
    def close(self): pass
"""
JOB = """\
name: steady
datasource: {name: clickstream, rows: 3000}
executor: steady
features: {event_time: event_time, categorical: [user], labels: [click], known_at: click_known_at}
output: {export: model}
run_dir: run
"""


def files(language: str) -> dict[str, str]:
    """The blocks of a language that are files: name → content."""
    named = [(re.match(r"# (\S+\.\w+)\n", text), text) for found, text in BLOCKS if found == language]
    return {match[1]: text for match, text in named if match}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    for name, text in (files("toml") | files("python")).items():
        (folder / name).write_text(text)
    (folder / "job.yaml").write_text(JOB)
    return folder


def commands() -> list[str]:
    (block,) = (text for language, text in BLOCKS if not language)
    return block.splitlines()


@pytest.mark.slow
def test_the_hook_of_the_page_is_installed_listed_tested_and_used(project, site):
    site.add("penrose-steady", {"penrose.executors": {"steady": "steady:Steady"}}, {"steady": EXECUTOR})
    tools = {
        "pytest": [sys.executable, "-m", "pytest"],
        "penrose": [sys.executable, "-c", "import sys; from penrose_host.cli import main; sys.exit(main())"],
    }
    # Into a folder of its own, from what is here: nothing is downloaded, and this environment stays as it is.
    outputs = {}
    for line in commands():
        name, *arguments = shlex.split(line)
        if name == "pip":
            assert arguments == ["install", "-e", "."]
            command = uv_pip("install", *OFFLINE, "--target", site.path, ".")
        else:
            command = [*tools[name], *arguments]
        done = subprocess.run(
            command,
            cwd=project,
            env=site.environ(OMP_NUM_THREADS="1"),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        outputs[line] = done.stdout

    shown, tested = outputs["penrose plugins show journal"], outputs["pytest test_journal.py"]
    assert "hook journal: Keeps a journal of the run, and exports back until enough was trained." in shown
    assert "min_rows: integer >= 0, default 1000\n    An export needs so many trained rows." in shown
    assert " passed in " in tested
    journal = (project / "run" / "journal.txt").read_text().splitlines()
    assert journal[0] == "steady begins"
    assert re.fullmatch(r"checkpoint 0000000\d-e1", journal[1])
    assert journal[-1] == "ended at 3000 rows: end-of-stream"
    assert (project / "run" / "model" / "model").exists()

    denied = subprocess.run(
        [*tools["penrose"], "run", "job.yaml", "--fresh", "-p", "{name: journal, min_rows: 5000}"],
        cwd=project,
        env=site.environ(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert denied.returncode == 7
    assert "denied by journal: " in denied.stderr
    assert "rows were trained, and min_rows is 5000" in denied.stderr


def test_every_hook_is_in_the_table_with_its_arguments():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", TEXT, re.M)
    documented = {name: re.findall(r"`(\w+)`", arguments) for name, arguments in rows}
    specified = {
        name: list(hook.__code__.co_varnames[1 : hook.__code__.co_argcount])
        for name, hook in vars(HookSpecs).items()
        if not name.startswith("_")
    }
    assert documented == specified


def test_the_sections_of_a_job_on_the_page_are_valid():
    blocks = [yaml.safe_load(text) for language, text in BLOCKS if language == "yaml"]
    assert len(blocks) == 2
    for section in blocks:
        assert Job.model_validate(yaml.safe_load(JOB) | section).hooks


def test_every_block_is_looked_at_here_and_every_link_leads_somewhere():
    assert TEXT.count("<!-- run by tests/host/test_docs_hooks.py -->") == len(BLOCKS) == 6
    assert set(files("toml") | files("python")) == {"pyproject.toml", "penrose_journal.py", "test_journal.py"}
    for link in re.findall(r"\]\((?!#)(.*?)\)", TEXT):
        assert (PAGE.parent / link).exists()
