"""The tutorial of executors in an environment of its own: the wheels of Penrose, and what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml
from code_lines import lines_of_code
from doc_blocks import ROOT, Block, blocks, commands
from doc_pages import shell
from uv_pip import build_wheels

PAGE = ROOT / "docs/own-executor.md"


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with `pip` and nothing else on the path; Penrose is installed from wheels built here.

    `pip` is that of uv: what an earlier run or the environment of the tests downloaded is not downloaded again.
    """
    wheels = tmp_path / "wheels"
    build_wheels(wheels, ROOT, ROOT / "contrib/penrose-flights")
    venv.create(tmp_path / "venv")
    pip = tmp_path / "venv/bin/pip"
    pip.write_text(f'#!/bin/sh\nexec {sys.executable} -m uv pip "$@" --python {tmp_path}/venv\n')
    pip.chmod(0o755)
    for name in list(os.environ):
        if name.startswith(("PENROSE_", "PYTHON")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "venv/bin"), os.environ["PATH"]]))
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def follow(block: Block) -> None:
    """Do what a block of the page says."""
    if block.file:
        Path(block.file).write_text(block.text, "utf-8")
    elif block.is_commands:
        for line, output in commands(block):
            shell(line, output)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutorial_makes_an_executor_with_the_page_alone(clean: Path) -> None:
    page = list(blocks(PAGE))
    for block in page:
        follow(block)

    installed = subprocess.run(["pip", "list", "--format=json"], capture_output=True, check=True, timeout=60).stdout
    ours = {dist["name"] for dist in json.loads(installed) if dist["name"].startswith("penrose")}
    assert ours == {"penrose-host", "penrose-flights", "penrose-ftrl"}
    own = [path.read_text("utf-8") for path in (clean / "penrose-ftrl/src").rglob("*.py")]
    assert sum(map(lines_of_code, own)) < 60

    # The whole main job.
    job = next(block.text for block in page if block.file == "job.yaml")
    assert yaml.safe_load(job) == yaml.safe_load((ROOT / "contrib/penrose-flights/job.yaml").read_text("utf-8"))
    shell("penrose run job.yaml --executor ftrl --embedding none --run-dir runs/whole", None)
    last = json.loads((clean / "runs/whole/metrics.jsonl").read_text("utf-8").splitlines()[-1])
    assert last["rows"] == last["trained_rows"] == 327_346
    said = re.search(r"all 327,346 flights: AUC ([\d.]+), log loss ([\d.]+)\.", PAGE.read_text("utf-8"))
    assert said is not None
    assert (f"{last['auc']:.3f}", f"{last['log_loss']:.3f}") == said.groups()

    # What the page says of a state that is not whole.
    (executor,) = (clean / "penrose-ftrl/src").rglob("executor.py")
    text = executor.read_text("utf-8")
    for whole, part in (
        (', "squares": self.squares.tobytes()', ""),
        ('("sums", "squares")', '("sums",)'),
        ("self.sums, self.squares = (array", "(self.sums,) = (array"),
    ):
        assert text.count(whole) == 1
        text = text.replace(whole, part)
    executor.write_text(text, "utf-8")
    (shown,) = [block.text for block in page if block.text.startswith("promise: ")]
    tested = subprocess.run(["pytest", "-q", "penrose-ftrl"], capture_output=True, text=True, timeout=120, check=False)
    assert shown in tested.stdout
