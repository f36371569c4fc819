"""`penrose doctor`: what is wrong with the installation, and what to type next."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from penrose_host.cli.policy_flags import add_restrictions, policy_of
from penrose_host.cli.table import table

if TYPE_CHECKING:
    from penrose_host.plugins.doctor import Examination, Examined, Finding

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `penrose doctor`."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--time-limit",
        metavar="SECONDS",
        type=_seconds,
        help="how long importing one plugin may take (default: 30)",
    )
    add_restrictions(parser)
    parser.set_defaults(command=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from penrose_host.plugins.doctor import TIME_LIMIT, examine

    examination = examine(policy_of(options), options.time_limit or TIME_LIMIT)
    if options.json:
        print(json.dumps(examination.as_json(), indent=2))
    else:
        print("\n".join(_lines(examination, options.traceback)))
    return 0 if examination.healthy else 1


def _lines(examination: Examination, whole: bool) -> Iterator[str]:
    width = max(map(len, examination.facts))
    yield from (f"{name.ljust(width)}  {fact}" for name, fact in examination.facts.items())
    header = ["KIND", "NAME", "DISTRIBUTION", "VERSION", "IMPORTED IN", "STATUS"]
    yield ""
    yield table(header, [_row(plugin) for plugin in examination.plugins])
    for finding in examination.findings:
        yield ""
        yield from _shown(finding, whole)
    problems = sum(not finding.note for finding in examination.findings)
    yield ""
    if examination.healthy:
        yield "nothing is wrong"
    else:
        yield f"{problems} problem{'s' if problems > 1 else ''} found"


def _row(plugin: Examined) -> list[str]:
    record, probe = plugin.record, plugin.probe
    seconds = "" if probe is None or probe.seconds is None else f"{probe.seconds:.2f} s"
    return [record.kind, record.name, record.dist, record.version, seconds, plugin.status]


def _shown(finding: Finding, whole: bool) -> Iterator[str]:
    yield f"{'note' if finding.note else 'problem'} ({finding.code}): {finding.subject}: {finding.message}"
    yield f"  {finding.hint}"
    if whole and finding.traceback is not None:
        yield finding.traceback.rstrip()


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"should be a number of seconds above 0, not {text!r}")
    return value
