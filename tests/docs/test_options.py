"""`docs/options.md` is what the models of the options say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tables_of_options_are_those_of_the_plugins(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "docs/generate_options.py", tmp_path / "options.md"], check=True, timeout=60)
    written = (ROOT / "docs/options.md").read_text("utf-8")
    generated = (tmp_path / "options.md").read_text("utf-8")
    assert written == generated, "docs/options.md is out of date: run `python docs/generate_options.py`"
    assert "|  |" not in written, "an option says nothing about itself"
