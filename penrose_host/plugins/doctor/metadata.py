"""What package metadata alone shows: damage, leftovers, copies that hide each other, editable installs gone stale."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from penrose_host.plugins.doctor.findings import Finding
from penrose_host.plugins.doctor.installed import Installed, is_group
from penrose_host.plugins.index import Kind, normalise

__all__ = ["of_metadata"]

_GROUPS = [kind.group for kind in Kind]
_SHOWN = 3


def of_metadata(dists: Sequence[Installed]) -> Iterator[Finding]:
    """The findings of all distributions, in their order."""
    by_name: dict[str, list[Installed]] = {}
    for dist in dists:
        if dist.left_behind:
            yield _left_behind(dist)
        elif dist.fault is not None:
            yield _damaged(dist)
        else:
            by_name.setdefault(normalise(dist.name), []).append(dist)
    for copies in by_name.values():
        yield from _copies(copies)
        yield from _files(copies[0])
        yield from _groups(copies[0])
        yield from _project(copies[0])


def _left_behind(dist: Installed) -> Finding:
    return Finding(
        "left-behind",
        dist.title,
        f"{dist.folder} was left behind by an uninstall that was interrupted",
        f"remove it: {_remove(dist)}",
    )


def _damaged(dist: Installed) -> Finding:
    return Finding(
        "damaged-metadata",
        dist.title,
        f"{dist.folder}: {dist.fault}",
        f"remove it and install it anew: {_remove(dist)} && {_reinstall(dist)}",
    )


def _copies(copies: Sequence[Installed]) -> Iterator[Finding]:
    """The first on the path is the one that is used; an equal one elsewhere is listed twice and harms nothing."""
    first = copies[0]
    for other in copies[1:]:
        beside = other.folder.parent == first.folder.parent
        if not beside and (other.version, other.entry_points) == (first.version, first.entry_points):
            continue
        where = "beside it" if beside else f"in {other.folder.parent}"
        hint = f"remove the metadata of both and install it anew: {_remove(first, other)} && {_reinstall(first)}"
        yield Finding(
            "installed-twice",
            first.title,
            f"{first.folder} is used, and {other.title} stands {where}",
            hint if beside else f"remove the one you do not want; for the one that is hidden: {_remove(other)}",
        )


def _files(dist: Installed) -> Iterator[Finding]:
    if dist.missing_files:
        shown = ", ".join(dist.missing_files[:_SHOWN])
        more = f" and {len(dist.missing_files) - _SHOWN} more" if len(dist.missing_files) > _SHOWN else ""
        yield Finding(
            "missing-files", dist.title, f"files of it are gone: {shown}{more}", f"install it anew: {_reinstall(dist)}"
        )


def _groups(dist: Installed) -> Iterator[Finding]:
    for group in dict.fromkeys(group for group, _ in dist.entry_points):
        if group not in _GROUPS:
            close = get_close_matches(group, _GROUPS, n=1)
            yield Finding(
                "unknown-group",
                dist.title,
                f"this host knows no entry-point group {group!r}: nothing in it will ever be found",
                f"in its pyproject.toml: did you mean {close[0]!r}?" if close else f"the groups: {', '.join(_GROUPS)}",
                note=True,
            )


def _project(dist: Installed) -> Iterator[Finding]:
    """What an editable install and its project disagree on."""
    folder = dist.editable
    if folder is None:
        return
    again = f"pip install -e {shlex.quote(str(folder))}"
    if not folder.is_dir():
        yield Finding(
            "project-gone",
            dist.title,
            f"it is an editable install of {folder}, which is not there any more",
            f"put the folder back, or: pip uninstall {dist.name}",
        )
        return
    try:
        declared = _declared(folder / "pyproject.toml")
    except (OSError, ValueError) as error:
        yield Finding(
            "project-unreadable",
            dist.title,
            f"{folder / 'pyproject.toml'} cannot be read: {error}",
            f"mend it, then: {again}",
        )
        return
    if declared is None:
        return
    recorded = {key: _bare(value) for key, value in dist.entry_points.items()}
    if changes := [
        f"{group}: {name} {_change(recorded.get((group, name)), declared.get((group, name)))}"
        for group, name in sorted(recorded.keys() | declared.keys())
        if recorded.get((group, name)) != declared.get((group, name))
    ]:
        yield Finding(
            "entry-points-changed",
            dist.title,
            f"its pyproject.toml has changed since it was installed ({'; '.join(changes)})",
            f"install it again: {again}",
        )


def _declared(path: Path) -> dict[tuple[str, str], str] | None:
    """(group, name) → target, as the project says now; None where it does not say so in pyproject.toml."""
    if not path.exists():
        return None
    project: Any = tomllib.loads(path.read_text("utf-8")).get("project")
    try:
        if project is None or "entry-points" in project.get("dynamic", ()):
            return None
        groups = {group: names.items() for group, names in project.get("entry-points", {}).items() if is_group(group)}
        return {(group, name): _bare(target) for group, names in groups.items() for name, target in names}
    except (AttributeError, TypeError):
        raise ValueError("its [project] is not the table that it should be") from None


def _bare(target: str) -> str:
    return re.sub(r"\s+", "", target)


def _change(before: str | None, now: str | None) -> str:
    if before is None:
        return "is new"
    return "is gone" if now is None else f"was {before}, is {now}"


def _remove(*dists: Installed) -> str:
    return f"rm -r {' '.join(shlex.quote(str(dist.folder)) for dist in dists)}"


def _reinstall(dist: Installed) -> str:
    project = dist.editable
    what = f"-e {shlex.quote(str(project))}" if project is not None else dist.name
    return f"pip install --force-reinstall --no-deps {what}"
