"""Loads an export: what a program needs that scores with the models, beside River."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from penrose_river.names import Names
from penrose_river.state import FILES, decoded

__all__ = ["load"]


def load(directory: Path | str, modules: Iterable[str] = ()) -> dict[str, Any]:
    """label → classifier of River. `modules`: those of your own whose classes the models hold.

    Raises OSError where a file cannot be read, ValueError for what is no export of this package and release of River.
    """
    described, arrays = (Path(directory, name).read_bytes() for name in FILES)
    return decoded(described, arrays, Names(modules))
