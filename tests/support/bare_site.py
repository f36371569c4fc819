"""Installations of nothing but the host: what else is installed where the tests run cannot change what they see."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import penrose_host

CLI = "import sys; from penrose_host.cli import main; sys.exit(main())"
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def lay_foundation(folder: Path) -> Path:
    """Fill `folder` like a site-packages with the host and every library, and without any other plugin."""
    folder.mkdir()
    for place in map(Path, sys.path):
        if place.name not in ("site-packages", "dist-packages"):
            continue
        for entry in place.iterdir():
            plugin = "penrose" in entry.name.lower() or _has_plugins(entry)
            if not plugin and entry.suffix != ".pth" and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    (folder / "penrose_host").symlink_to(Path(penrose_host.__file__).parent)
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    add_dist(folder, project["name"], project["version"], project["entry-points"], requires=project["dependencies"])
    return folder


def _has_plugins(entry: Path) -> bool:
    file = entry / "entry_points.txt"
    return entry.suffix == ".dist-info" and file.exists() and "penrose." in file.read_text("utf-8")


def add_dist(
    folder: Path,
    name: str,
    version: str = "1.0",
    entry_points: Mapping[str, Mapping[str, str]] | None = None,
    *,
    requires: list[str] | None = None,
    files: Mapping[str, str] | None = None,
    **texts: str,
) -> Path:
    """A distribution as pip leaves it; `files` are written and listed in RECORD, `texts` are more metadata files.

    Returns its dist-info folder.
    """
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {r}" for r in requires or ()), ""]))
    sections = [
        "\n".join([f"[{group}]", *(f"{key} = {target}" for key, target in names.items())])
        for group, names in (entry_points or {}).items()
    ]
    (info / "entry_points.txt").write_text("\n\n".join(sections) + "\n")
    if files is not None:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        recorded = [*files, *(f"{info.name}/{file}" for file in ("METADATA", "entry_points.txt", "RECORD"))]
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in recorded))
    for file, text in texts.items():
        (info / file.replace("__", ".")).write_text(text)
    return info


class BareSite:
    """A site-packages of its own over the foundation, and processes that see only these two."""

    def __init__(self, folder: Path, foundation: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "site"
        self.path.mkdir()
        self.work = folder / "work"
        self.work.mkdir()
        self._foundation = foundation

    def add(self, name: str, version: str = "1.0", entry_points: Any = None, **more: Any) -> Path:
        """`add_dist` into this site."""
        return add_dist(self.path, name, version, entry_points, **more)

    def command(self, code: str, *arguments: str) -> tuple[str, ...]:
        """The interpreter, which reads no site-packages but these."""
        return (sys.executable, "-S", "-W", "error", "-c", code, *arguments)

    def environ(self, **variables: str) -> dict[str, str]:
        """What such a process needs of the environment."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PENROSE_")}
        path = os.pathsep.join([str(self.path), str(self._foundation)])
        return {**clean, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **variables}

    def python(self, code: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run code there."""
        return subprocess.run(
            self.command(code, *arguments),
            env=self.environ(**variables),
            cwd=self.work,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def penrose(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command line there."""
        return self.python(CLI, *arguments, **variables)
