"""`penrose plugins`: what is installed, from package metadata alone; `show` imports one plugin and describes it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from penrose_host.cli.common import add_traceback
from penrose_host.cli.table import table
from penrose_host.plugins.index import Index, Kind, Record, scan

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `penrose plugins` and of `penrose plugins show`."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--check", action="store_true", help="import every plugin, and say which are broken")
    add_traceback(parser)
    parser.set_defaults(command=_list)
    show = parser.add_subparsers().add_parser(
        "show", help="describe one plugin: options, capabilities, origin", allow_abbrev=False
    )
    show.add_argument("name", metavar="NAME", help="its name, or DIST:NAME where two distributions have it")
    show.add_argument("--kind", choices=[kind.value for kind in Kind], help="where plugins of two kinds have the name")
    show.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    show.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    show.set_defaults(command=_show)


def _list(options: argparse.Namespace) -> int:
    index = scan()
    rows = [{**asdict(record), "status": _status(record, index, options.check)} for record in index.records]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        shown = [[row["kind"], row["name"], row["dist"], row["version"], row["status"]] for row in rows]
        print(table(["KIND", "NAME", "DISTRIBUTION", "VERSION", "STATUS"], shown))
    for fault in index.unreadable:
        print(f"warning: cannot read {fault}", file=sys.stderr)
    return 0


def _status(record: Record, index: Index, check: bool) -> str:
    """What is wrong with a plugin; without `check` only what its metadata tells."""
    others = [other.dist for other in index.find(record.kind, record.name) if other is not record]
    if record.fault:
        return f"broken: {record.fault}"
    if check:
        from penrose_host.errors import PluginError
        from penrose_host.plugins.loading import load

        try:
            load(record)
        except PluginError as error:
            return error.message
    return f"also in {', '.join(others)}" if others else "ok"


def _show(options: argparse.Namespace) -> int:
    from penrose_host.cli.describe import as_json, as_text
    from penrose_host.plugins.selection import select, select_any

    index = scan()
    records = [select(index, Kind(options.kind), options.name)] if options.kind else select_any(index, options.name)
    print(json.dumps([as_json(r) for r in records], indent=2) if options.json else "\n\n".join(map(as_text, records)))
    return 0
