"""`penrose plugins`: what is installed, from package metadata alone; `show` imports one plugin and describes it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from penrose_host.cli.commands import OWN
from penrose_host.cli.policy_flags import add_restrictions, policy_of
from penrose_host.cli.table import table
from penrose_host.plugins.index import Kind, Record

if TYPE_CHECKING:
    from penrose_host.plugins.doctor import Probe

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `penrose plugins` and of `penrose plugins show`."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--load", action="store_true", help="import each plugin in a process of its own, and say which are broken"
    )
    add_restrictions(parser)
    parser.set_defaults(command=_list)
    show = parser.add_subparsers().add_parser(
        "show", help="describe one plugin: options, capabilities, origin", allow_abbrev=False
    )
    show.add_argument("name", metavar="NAME", help="its name, or DIST:NAME where two distributions have it")
    show.add_argument("--kind", choices=[kind.value for kind in Kind], help="where plugins of two kinds have the name")
    show.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    add_restrictions(show, nested=True)
    show.set_defaults(command=_show)


def _list(options: argparse.Namespace) -> int:
    policy = policy_of(options)
    index = policy.index
    reasons = {record: policy.forbidden(record) for record in index.records}
    probes: Mapping[Record, Probe] = {}
    if options.load:
        from penrose_host.plugins.doctor import probe

        probes = probe(record for record, reason in reasons.items() if reason is None and record.fault is None)
    rows = []
    for record, reason in reasons.items():
        others = [o.dist for o in index.find(record.kind, record.name) if o is not record and reasons[o] is None]
        status = reason[0].removeprefix("is ") if reason else _status(record, others, probes.get(record))
        rows.append({**asdict(record), "status": status})
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        shown = [[row["kind"], row["name"], row["dist"], row["version"], row["status"]] for row in rows]
        print(table(["KIND", "NAME", "DISTRIBUTION", "VERSION", "STATUS"], shown))
    for fault in index.unreadable:
        print(f"warning: cannot read {fault}", file=sys.stderr)
    return 0


def _status(record: Record, others: list[str], probe: Probe | None) -> str:
    """What is wrong with a plugin that may be used, as far as metadata, or importing it, tells."""
    if record.fault:
        return f"broken: {record.fault}"
    if record.kind is Kind.COMMAND and record.name in OWN:
        return f"never used: `penrose {record.name}` is a command of the host"
    if probe is not None and probe.message is not None:
        return probe.message
    return f"also in {', '.join(others)}" if others else "ok"


def _show(options: argparse.Namespace) -> int:
    from penrose_host.cli.describe import as_json, as_text

    policy = policy_of(options)
    records = [policy.select(Kind(options.kind), options.name)] if options.kind else policy.select_any(options.name)
    print(json.dumps([as_json(r) for r in records], indent=2) if options.json else "\n\n".join(map(as_text, records)))
    return 0
