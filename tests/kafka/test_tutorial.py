"""The tutorial of docs/kafka.md, as a person types it: replay, train, kill, go on, compare."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from doc_blocks import ROOT, Block, blocks, commands

pytestmark = [pytest.mark.slow, pytest.mark.faults]

PAGE = ROOT / "docs" / "kafka.md"
PATIENCE = 200.0


def typed() -> list[list[str]]:
    """The commands of the tutorial, block by block."""
    found: list[Block] = [block for block in blocks(PAGE) if block.mark and "test_tutorial" in block.mark]
    return [[command for command, _ in commands(block)] for block in found]


@contextmanager
def in_the_background(command: str, folder: Path, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(f"exec {command}", shell=True, cwd=folder, env=environ, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)
        assert process.stdout is not None
        process.stdout.close()


def test_the_tutorial_ends_as_the_page_says(tmp_path: Path) -> None:
    (dev,), (export, replay), (first, again), (whole, compare) = typed()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PENROSE_")}
    environ = clean | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for block in blocks(PAGE):
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text)

    def run(command: str) -> str:
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environ, capture_output=True, timeout=PATIENCE)
        assert done.returncode == 0, (command, done.stderr.decode())
        return (done.stdout + done.stderr).decode()

    with in_the_background(dev, tmp_path, environ) as broker:
        assert broker.stdout is not None
        assert select.select([broker.stdout], [], [], 60)[0]
        address = broker.stdout.readline().decode().strip()
        name, _, value = export.removeprefix("export ").partition("=")
        environ[name] = value.replace("127.0.0.1:PORT", address)
        assert "327,346 rows published" in run(replay)

        command = first.partition(" &")[0]
        assert first.endswith("kill -9 $!")
        with in_the_background(command, tmp_path, environ) as killed:
            deadline = time.monotonic() + PATIENCE
            while not (tmp_path / "runs/kafka-flights/checkpoints/LATEST").exists():
                assert killed.poll() is None, "the run ended before its first checkpoint"
                assert time.monotonic() < deadline
                time.sleep(0.01)  # a poll, with a limit
            killed.send_signal(signal.SIGKILL)
        assert "resumed from checkpoint" in (told := run(again))
        assert "auc 0.7603" in told
        assert "327,346 rows scored" in told
        assert re.findall("auc .*", run(whole))[-1] == re.findall("auc .*", told)[-1]
        assert run(compare) == "True\n"
    shutil.rmtree(tmp_path / "runs")
