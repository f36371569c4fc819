"""`docs/options.md` is what the models of the options say."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tables_of_options_are_those_of_the_plugins() -> None:
    generator = runpy.run_path(str(ROOT / "docs/generate_options.py"))
    written = generator["PAGE"].read_text("utf-8")
    assert written == generator["page"](), "docs/options.md is out of date: run `python docs/generate_options.py`"
    assert "|  |" not in written, "an option says nothing about itself"
