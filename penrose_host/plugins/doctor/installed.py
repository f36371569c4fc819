"""The distributions that have to do with Penrose, read so that damage is told and stops nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from penrose_host.plugins.editable_installs import project_folder
from penrose_host.plugins.index import normalise

__all__ = ["Installed", "installed", "is_group"]

_STEM = re.compile(r"(?P<name>.+?)(-(?P<version>\d[^-]*))?(-py[\d.]+)?\.(dist|egg)-info", re.IGNORECASE)
#: pip renames to this while it uninstalls; what keeps the mark was left behind.
_LEFT_BEHIND = "~"


@dataclass(frozen=True, slots=True)
class Installed:
    """One metadata folder. `name` and `version` come from METADATA, or else from the folder's name."""

    folder: Path
    name: str
    version: str
    fault: str | None
    entry_points: Mapping[tuple[str, str], str]
    requires: tuple[str, ...]
    requires_python: str | None
    missing_files: tuple[str, ...]
    direct_url: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Name and version, for messages."""
        return f"{self.name} {self.version}"

    @property
    def left_behind(self) -> bool:
        """Whether an uninstall that was interrupted left it."""
        return self.folder.name.startswith(_LEFT_BEHIND)

    @property
    def editable(self) -> Path | None:
        """The project's folder where this is an editable install."""
        return project_folder(self.direct_url)


def installed(path: Sequence[str]) -> list[Installed]:
    """The distributions on `path` with plugins, unreadable entry points or a name that begins with `penrose-`."""
    found: dict[Path, Installed] = {}
    for distribution in distributions(path=list(path)):
        place = getattr(distribution, "_path", None)  # importlib.metadata has no public name for it
        if place is None:
            continue
        folder = Path(str(place))
        if folder.resolve() not in found and _concerns(distribution, folder):
            found[folder.resolve()] = _read(distribution, folder)
    return list(found.values())


def is_group(group: str) -> bool:
    """Whether an entry-point group is, or means to be, one of Penrose's."""
    return group.startswith("penrose.")


def _concerns(distribution: Distribution, folder: Path) -> bool:
    if normalise(folder.name.removeprefix(_LEFT_BEHIND)).startswith(("penrose-", "enrose-")):
        return True
    try:
        return any(is_group(entry_point.group) for entry_point in distribution.entry_points)
    except Exception:  # libraries that look for plugins of their own read it too, and fail
        return True


def _read(distribution: Distribution, folder: Path) -> Installed:
    faults: list[str] = []
    fields: Mapping[str, Any] = {}
    requires: list[str] = []
    try:
        fields = distribution.metadata.json
        requires = list(distribution.requires or ())
    except Exception as error:  # what a damaged file raises differs by Python version
        faults.append(f"METADATA cannot be read ({error})")
    if not faults and not (fields.get("name") and fields.get("version")):
        faults.append("METADATA is missing or names no distribution and version")
    entry_points: dict[tuple[str, str], str] = {}
    try:
        entry_points = {(e.group, e.name): e.value for e in distribution.entry_points if is_group(e.group)}
    except Exception as error:  # a line that is no entry point raises whatever it leads to
        faults.append(f"entry_points.txt cannot be read ({error})")
    direct_url: Mapping[str, Any] = {}
    try:
        direct_url = json.loads(distribution.read_text("direct_url.json") or "{}")
        if not isinstance(direct_url, Mapping):
            raise ValueError("it is no mapping")
    except (OSError, ValueError) as error:
        direct_url = {}
        faults.append(f"direct_url.json cannot be read ({error})")
    missing: list[str] = []
    try:
        # Other folders than dist-info have lists of another kind.
        missing = _missing(distribution.files or ()) if folder.suffix == ".dist-info" else []
    except Exception as error:  # RECORD is CSV: a damaged one raises whatever its lines lead to
        faults.append(f"RECORD cannot be read ({error})")
    stem = _STEM.fullmatch(folder.name)
    return Installed(
        folder=folder,
        name=str(fields.get("name") or (stem["name"].replace("_", "-") if stem else folder.name)),
        version=str(fields.get("version") or (stem and stem["version"]) or "unknown"),
        fault="; ".join(faults) or None,
        entry_points=entry_points,
        requires=tuple(requires),
        requires_python=fields.get("requires_python"),
        missing_files=tuple(missing),
        direct_url=direct_url,
    )


def _missing(files: Iterable[Any]) -> list[str]:
    """Files that RECORD lists and the disk lacks; compiled ones may go at any time."""
    return [str(file) for file in files if file.suffix != ".pyc" and not Path(file.locate()).exists()]
