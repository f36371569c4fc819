"""Whether the installed versions fit what each distribution requires."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterator, Sequence
from importlib.metadata import distributions

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from penrose_host.plugins.doctor.findings import Finding
from penrose_host.plugins.doctor.installed import Installed

__all__ = ["of_requirements"]


def of_requirements(dist: Installed, path: Sequence[str]) -> Iterator[Finding]:
    """What `dist` requires and `path` does not have. Extras are not looked at."""
    try:
        python = SpecifierSet(dist.requires_python or "")
        requirements = [
            requirement
            for requirement in map(Requirement, dist.requires)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        ]
    except ValueError as error:
        yield Finding(
            "damaged-metadata",
            dist.title,
            f"it has a requirement that means nothing: {error}",
            f"look for another release: pip install --upgrade {dist.name}",
        )
        return
    if not python.contains(platform.python_version(), prereleases=True):
        yield Finding(
            "wrong-python",
            dist.title,
            f"it requires Python {python}, and this is {platform.python_version()}",
            f"install it into an environment with Python {python}",
        )
    for requirement in requirements:
        version = _version(requirement.name, path)
        wanted = f"{requirement.name}{requirement.specifier}"
        if version is None:
            yield Finding(
                "missing-requirement",
                dist.title,
                f"it requires {wanted}, which is not installed",
                f"pip install {shlex.quote(wanted)}",
            )
        elif not _fits(version, requirement.specifier):
            yield Finding(
                "version-conflict",
                dist.title,
                f"it requires {wanted}, and {requirement.name} {version} is installed",
                f"pip install {shlex.quote(wanted)}   (or look for a release of {dist.name} that takes {version})",
            )


def _version(name: str, path: Sequence[str]) -> str | None:
    """The version of the first distribution of this name; None where there is none."""
    for found in distributions(name=name, path=list(path)):
        try:
            return str(found.version or "unknown")
        except Exception:  # what a damaged METADATA raises differs by Python version
            return "unknown"
    return None


def _fits(version: str, specifier: SpecifierSet) -> bool:
    if not specifier:
        return True
    try:
        return specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False
