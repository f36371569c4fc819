"""Which of the installed plugins a name means: missing, forbidden and ambiguous names are errors."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from penrose_host.errors import PluginBlocked, PluginConflict, PluginNotFound
from penrose_host.plugins.index import Index, Kind, Record, bare_name, normalise, scan

__all__ = ["SelectionPolicy", "known_package", "known_packages", "known_schema"]

#: The host's own plugins are part of the program that runs: an allow-list need not name them.
_HOST = "penrose-host"


@dataclass(frozen=True, slots=True)
class SelectionPolicy:
    """What may be selected: what is installed, less what is forbidden.

    `block` holds names, or `dist:name`, that must not be used; with `allow_dists` only plugins of these distributions
    (and of the host) may be.
    """

    block: Collection[str] = ()
    allow_dists: Collection[str] | None = None
    index: Index = field(default_factory=scan, repr=False)

    def select(self, kind: Kind, name: str) -> Record:
        """The one record of `kind` that `name` means; `dist:name` picks one of two with the same name.

        Raises `PluginNotFound`, `PluginBlocked` or `PluginConflict`.
        """
        dist, _, bare = name.rpartition(":")
        found = self.index.find(kind, bare)
        if dist:
            found = [record for record in found if normalise(record.dist) == normalise(dist)]
        if not found:
            raise _not_found(self.index, kind, name)
        reasons = [self.forbidden(record) for record in found]
        usable = [record for record, reason in zip(found, reasons, strict=True) if reason is None]
        if not usable:
            record, reason = found[0], reasons[0]
            assert reason is not None
            raise PluginBlocked(
                f"{kind} plugin {name!r} ({record.dist} {record.version}) {reason[0]}",
                **{**record.names, "plugin": name},
                hint=reason[1],
            )
        if len(usable) > 1:
            raise _conflict(kind, name, usable)
        return usable[0]

    def select_any(self, name: str) -> list[Record]:
        """The record of each kind that has a plugin of this name. Raises what `select` raises."""
        dist, _, bare = name.rpartition(":")
        kinds = {
            record.kind: None
            for record in self.index.records
            if record.name == bare and (not dist or normalise(record.dist) == normalise(dist))
        }
        if not kinds:
            raise _not_found(self.index, None, name)
        return [self.select(kind, name) for kind in kinds]

    def forbidden(self, record: Record) -> tuple[str, str] | None:
        """What forbids this record, and what to type next; None where nothing does."""
        dist = normalise(record.dist)
        for entry in self.block:
            owner, _, bare = entry.rpartition(":")
            if bare == record.name and (not owner or normalise(owner) == dist):
                return (
                    f"is blocked by --block {entry}",
                    "choose another plugin, or leave that --block (or PENROSE_BLOCK) out",
                )
        if self.allow_dists is None or dist == _HOST or dist in {normalise(allowed) for allowed in self.allow_dists}:
            return None
        allowed = ", ".join(sorted(self.allow_dists)) or "no distribution"
        return f"is not of an allowed distribution ({allowed})", f"to allow it: --allow-dist {record.dist}"


def known_package(kind: Kind, name: str) -> str | None:
    """The package that is known to have this plugin, installed or not; None where none is known."""
    return known_packages()[kind].get(bare_name(name))


def known_schema(kind: Kind, name: str) -> str | None:
    """The schema that the options of this plugin are known to have, installed or not; None where none is known."""
    return _known()["options_schemas"].get(kind, {}).get(bare_name(name))


def known_packages() -> Mapping[str, Mapping[str, str]]:
    """kind → plugin name → the package to install."""
    return _known()["packages"]


def _conflict(kind: Kind, name: str, records: Sequence[Record]) -> PluginConflict:
    owners = " and ".join(f"{record.dist} {record.version} ({record.target})" for record in records)
    dists = {record.dist for record in records}
    if len(dists) > 1:
        hint = f"choose one with {' or '.join(f'{record.dist}:{record.name}' for record in records)}, or uninstall one"
    else:
        hint = f"reinstall it with: pip install --force-reinstall {records[0].dist}"
    return PluginConflict(
        f"{kind} plugin {name!r} is provided twice: by {owners}",
        plugin=name,
        kind=kind,
        dist=", ".join(sorted(dists)),
        hint=hint,
    )


def _not_found(index: Index, kind: Kind | None, name: str) -> PluginNotFound:
    """The error for a name that no plugin of `kind` (None: of any kind) has, with all that may help."""
    from difflib import get_close_matches  # takes milliseconds, and `penrose plugins` needs the rest of this module

    dist, _, bare = name.rpartition(":")
    kinds = list(Kind) if kind is None else [kind]
    what = "plugin" if kind is None else f"{kind} plugin"
    installed = sorted({record.name for record in index.records if record.kind in kinds})
    known = {known: package for k in kinds for known, package in known_packages()[k].items()}
    hints: list[str] = []
    if owners := [record for record in index.records if record.kind in kinds and record.name == bare]:
        hints.append(f"{bare!r} is provided by {', '.join(r.dist for r in owners)}: choose {owners[0].dist}:{bare}")
    elif bare in known:
        # A release that is installed and lacks the plugin is too old: pip would leave it as it is.
        installed_dists = {normalise(record.dist) for record in index.records}
        upgrade = "--upgrade " if normalise(known[bare]) in installed_dists else ""
        hints.append(f"install it with: pip install {upgrade}{known[bare]}")
    elif close := get_close_matches(bare.lower(), [*installed, *known], n=3, cutoff=0.6):
        hints.append(f"did you mean {' or '.join(map(repr, dict.fromkeys(close)))}?")
    if others := {record.kind.value for record in index.records if record.name == bare and record.kind not in kinds}:
        hints.append(f"{bare!r} is installed as: {', '.join(sorted(others))}")
    hints.append(f"installed {what}s: {', '.join(installed) or 'none'}")
    hints += [f"not readable: {fault}" for fault in index.unreadable]
    return PluginNotFound(
        f"there is no {what} {name!r}", plugin=name, kind=kind, dist=dist or None, hint="\n  ".join(hints)
    )


@cache
def _known() -> dict[str, dict[str, dict[str, str]]]:
    """What is known of plugins that need not be installed, by kind and name."""
    known: dict[str, dict[str, dict[str, str]]] = json.loads(
        files(__package__).joinpath("known.json").read_text("utf-8")
    )
    return known
