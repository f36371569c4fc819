"""Mutated messages, in processes of their own: no crash, no hang, no row that is not in the message."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import decoding_fuzz
import pytest


@pytest.mark.parametrize("form", ["json", "csv", "avro", "arrow"])
@pytest.mark.parametrize("batches", [60, pytest.param(1500, marks=pytest.mark.slow)])
def test_mutated_messages_are_rows_or_faults_and_kill_nothing(form, batches):
    done = subprocess.run(
        [sys.executable, "-W", "error", Path(decoding_fuzz.__file__), form, "0", str(batches)],
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert min(counts["rows"], counts["faults"]) > batches
