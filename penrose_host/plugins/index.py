"""Which plugins are installed: one scan of package metadata that imports no plugin.

Only the standard library is imported here, so that `penrose --help` and `penrose plugins` stay fast.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import Distribution, distributions
from pathlib import PurePath
from typing import Any

__all__ = ["Index", "Kind", "Record", "bare_name", "normalise", "scan"]

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class Kind(StrEnum):
    """What a plugin is; of those that a job names, also the key and the flag that choose them."""

    ENVIRONMENT = "environment"
    DATASOURCE = "datasource"
    EXECUTOR = "executor"
    EMBEDDING = "embedding"
    HOOK = "hook"
    SINK = "sink"
    #: No class but a function, which gives `penrose` one more command.
    COMMAND = "command"

    @property
    def group(self) -> str:
        """The entry-point group of this kind."""
        return f"penrose.{self.value}s"


_KIND_OF = {kind.group: kind for kind in Kind}


@dataclass(frozen=True, slots=True, order=True)
class Record:
    """One entry point: `target` is `module:attribute`; `fault` says what is wrong with its metadata, if anything."""

    kind: Kind
    name: str
    dist: str
    version: str
    target: str
    fault: str | None = None

    @property
    def title(self) -> str:
        """The plugin, as errors name it."""
        return f"{self.kind} plugin {self.name!r} of {self.dist} {self.version}"

    @property
    def names(self) -> dict[str, str]:
        """The same as arguments of a `PluginError`."""
        return {"plugin": self.name, "kind": self.kind, "dist": self.dist, "version": self.version}


@dataclass(frozen=True, slots=True)
class Index:
    """All plugins, in order of kind, name and distribution; `unreadable`: metadata that could not be read at all."""

    records: tuple[Record, ...]
    unreadable: tuple[str, ...] = ()

    def find(self, kind: Kind, name: str) -> list[Record]:
        """The records of this kind and name; more than one is a conflict."""
        return [record for record in self.records if record.kind is kind and record.name == name]


def bare_name(name: str) -> str:
    """A plugin's name without the distribution that may stand before it."""
    return name.rpartition(":")[2]


def normalise(dist: str) -> str:
    """A distribution's name as package indexes compare it: `Penrose_Torch` and `penrose-torch` are one."""
    return re.sub(r"[-_.]+", "-", dist).lower()


def scan(path: Sequence[str] | None = None) -> Index:
    """Read the metadata of every distribution on `path` (default: `sys.path`). Never raises for broken metadata."""
    context: dict[str, Any] = {} if path is None else {"path": list(path)}
    records: dict[tuple[str, Kind, str, str], Record] = {}
    unreadable: list[str] = []
    seen: set[str] = set()
    for candidate in distributions(**context):
        try:
            text = candidate.read_text("entry_points.txt")
        except (OSError, ValueError) as error:
            unreadable.append(f"{_folder(candidate)}: entry_points.txt: {error}")
            continue
        # Almost no distribution has plugins: the others are not parsed.
        if not text or "penrose." not in text:
            continue
        name = _name(candidate)
        if name is not None:
            if normalise(name) in seen:
                continue
            seen.add(normalise(name))
            # The first on the path is the one that would be imported, even where it has no plugins any more.
            candidate = _first(name, context, candidate)
        try:
            found = list(_records(candidate, name))
        except Exception as error:  # a line that is no entry point raises whatever it leads to
            unreadable.append(f"{_folder(candidate)}: entry_points.txt: {error}")
            continue
        for record in found:
            records.setdefault((normalise(record.dist), record.kind, record.name, record.target), record)
    return Index(tuple(sorted(records.values(), key=_order)), tuple(unreadable))


def _order(record: Record) -> tuple[int, str, str, str]:
    return list(Kind).index(record.kind), record.name, record.dist, record.target


def _folder(dist: Distribution) -> str:
    """The metadata folder, for messages; importlib.metadata has no public name for it."""
    return str(getattr(dist, "_path", "a distribution"))


def _name(dist: Distribution) -> str | None:
    """The name in METADATA; None where that is missing or damaged."""
    try:
        return str(dist.metadata["Name"] or "") or None
    except Exception:  # what a damaged file raises differs by Python version
        return None


def _first(name: str, context: Mapping[str, Any], default: Distribution) -> Distribution:
    """The first distribution of this name; `default` where its folder is not named like it."""
    return next(iter(distributions(name=name, **context)), default)


def _records(dist: Distribution, name: str | None) -> Iterator[Record]:
    fault = None if name else f"its METADATA is missing or damaged ({_folder(dist)})"
    try:
        version = str(dist.version or "") or "unknown"
    except Exception:  # as above
        version = "unknown"
    label = name or PurePath(_folder(dist)).name.partition("-")[0]
    for entry_point in dist.entry_points:
        kind = _KIND_OF.get(entry_point.group)
        if kind is None:
            continue
        target = entry_point.value.partition("[")[0].strip()
        wrong = None if _TARGET.fullmatch(target) else f"its entry point {target!r} is not module:attribute"
        yield Record(kind, entry_point.name, label, version, target, fault or wrong)
