"""Installing with uv, which every environment of the tests has; pip is in none of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["OFFLINE", "build_wheels", "uv_pip"]

#: Nothing is downloaded; what builds is what the tests' environment has.
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation")


def uv_pip(command: str, *arguments: str | Path, python: str = sys.executable) -> list[str]:
    """`pip COMMAND ARGUMENTS`, for the environment of this interpreter."""
    return [sys.executable, "-m", "uv", "pip", command, "--quiet", "--python", python, *map(str, arguments)]


def build_wheels(into: Path, *projects: Path) -> None:
    """A wheel of each of these folders."""
    for project in projects:
        command = [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--no-build-isolation", "--out-dir"]
        subprocess.run([*command, str(into), str(project)], check=True, timeout=120)
