"""The whole examination: plugins, their distributions, what these require, and where all of it runs."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from penrose_host.contracts.plugin import API_VERSION
from penrose_host.plugins.doctor.findings import Finding
from penrose_host.plugins.doctor.installed import installed
from penrose_host.plugins.doctor.metadata import of_metadata
from penrose_host.plugins.doctor.probing import TIME_LIMIT, Probe, probe
from penrose_host.plugins.doctor.requirements import of_requirements
from penrose_host.plugins.editable_installs import reinstall
from penrose_host.plugins.index import Index, Record, normalise
from penrose_host.plugins.selection import SelectionPolicy

__all__ = ["Examination", "Examined", "examine"]

#: An import that takes longer is worth a note: every run with the plugin begins with it.
SLOW_SECONDS = 1.0
_CODES = {"broken": "broken-plugin", "incompatible": "incompatible-plugin"}


@dataclass(frozen=True, slots=True)
class Examined:
    """One plugin: what importing it gave; `forbidden` says why that was not tried."""

    record: Record
    probe: Probe | None
    forbidden: str | None = None

    @property
    def status(self) -> str:
        """In a few words."""
        if self.forbidden is not None:
            return self.forbidden
        if self.record.fault is not None:
            return "broken"
        return self.probe.code if self.probe is not None else "not imported"


@dataclass(frozen=True, slots=True)
class Examination:
    """Facts, plugins and findings."""

    facts: Mapping[str, str]
    plugins: tuple[Examined, ...]
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong; notes do not count."""
        return all(finding.note for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """All of it in JSON types."""
        return {
            "healthy": self.healthy,
            "facts": dict(self.facts),
            "plugins": [
                {
                    **asdict(plugin.record),
                    "status": plugin.status,
                    "seconds": plugin.probe.seconds if plugin.probe else None,
                    "imports": list(plugin.probe.imports) if plugin.probe else [],
                    "api_version": plugin.probe.api_version if plugin.probe else None,
                }
                for plugin in self.plugins
            ],
            "findings": [asdict(finding) for finding in self.findings],
        }


def examine(policy: SelectionPolicy, time_limit: float = TIME_LIMIT) -> Examination:
    """Examine what is installed on `sys.path`; plugins that the policy forbids are not imported.

    `time_limit`: seconds that importing one plugin may take.
    """
    path = list(sys.path)
    index = policy.index
    reasons = {record: policy.forbidden(record) for record in index.records}
    probes = probe(
        [record for record, reason in reasons.items() if reason is None and record.fault is None], time_limit
    )
    plugins = tuple(
        Examined(record, probes.get(record), reason[0].removeprefix("is ") if reason else None)
        for record, reason in reasons.items()
    )
    dists = installed(path)
    used: dict[str, Any] = {}
    for dist in dists:
        if dist.fault is None and not dist.left_behind:
            used.setdefault(normalise(dist.name), dist)
    findings = [
        *of_metadata(dists),
        *(finding for dist in used.values() for finding in of_requirements(dist, path)),
        *_of_names(index, reasons),
        *(finding for plugin in plugins for finding in _of_plugin(plugin)),
    ]
    return Examination(_facts(policy), plugins, tuple(findings))


def _of_names(index: Index, reasons: Mapping[Record, object]) -> Iterator[Finding]:
    """Names that two usable plugins of one kind share."""
    for record in index.records:
        same = [other for other in index.find(record.kind, record.name) if reasons[other] is None]
        if len(same) < 2 or record is not same[0]:
            continue
        owners = " and ".join(f"{other.dist} {other.version} ({other.target})" for other in same)
        choices = " or ".join(f"{other.dist}:{other.name}" for other in same)
        yield Finding(
            "name-twice",
            f"{record.kind} {record.name}",
            f"it is provided by {owners}",
            f"write {choices} in jobs, uninstall one, or leave one out with --block",
        )


def _of_plugin(plugin: Examined) -> Iterator[Finding]:
    record, probe = plugin.record, plugin.probe
    subject = f"{record.kind} {record.name}"
    if record.fault is not None and plugin.forbidden is None:
        yield Finding(
            "broken-plugin",
            subject,
            f"{record.dist} {record.version}: {record.fault}",
            reinstall(record.dist),
        )
    if probe is None:
        return
    if probe.code != "ok":
        yield Finding(
            _CODES.get(probe.code, probe.code),
            subject,
            probe.message or probe.code,
            probe.hint or f"try: {reinstall(record.dist)}   (see where it fails: penrose doctor --traceback)",
            traceback=probe.traceback,
        )
    elif probe.seconds is not None and probe.seconds > SLOW_SECONDS:
        imported = f"; it imports {', '.join(probe.imports)}" if probe.imports else ""
        yield Finding(
            "slow-plugin",
            subject,
            f"importing {record.target} of {record.dist} took {probe.seconds:.1f} s{imported}",
            "its author could import inside the methods that need it; see python -X importtime "
            f"-c 'import {record.target.partition(':')[0]}'",
            note=True,
        )


def _facts(policy: SelectionPolicy) -> dict[str, str]:
    """Where all of this runs."""
    try:
        version = version_of("penrose-host")
    except Exception:  # what damaged metadata raises differs by Python version; a finding tells of it
        version = "of unknown version"
    facts = {
        "penrose": f"{version} ({Path(__file__).parents[2]}), plugin API {API_VERSION}",
        "python": f"{platform.python_version()} ({platform.python_implementation()}, {sys.executable})",
        "platform": platform.platform(),
    }
    if policy.block:
        facts["blocked"] = ", ".join(sorted(policy.block))
    if policy.allow_dists is not None:
        facts["allowed"] = ", ".join(sorted(policy.allow_dists))
    return facts
