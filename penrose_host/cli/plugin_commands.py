"""Commands that plugins bring: `penrose NAME …`, for the entry points of the group `penrose.commands`."""

from __future__ import annotations

import argparse
import traceback

from penrose_host.cli.common import allowed_dists, blocked
from penrose_host.errors import PenroseError, PluginBroken, PluginIncompatible, PluginNotFound, described
from penrose_host.plugins.index import Kind, Record, scan
from penrose_host.plugins.selection import known_package, select

__all__ = ["add_commands", "run"]

_NO_FLAGS = argparse.Namespace(block=[], allow_dist=[])


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], chosen: str | None) -> None:
    """Add the commands that are installed; the one that was `chosen` is imported, of the others nothing is.

    Raises `PluginError` where the chosen one cannot be used, or is not installed and known.
    """
    index = scan()
    if chosen is not None:
        block, allow = blocked(_NO_FLAGS), allowed_dists(_NO_FLAGS)
        try:
            record = select(index, Kind.COMMAND, chosen, block=block, allow_dists=allow)
        except PluginNotFound:
            if known_package(Kind.COMMAND, chosen) is not None:
                raise
        else:
            _add_chosen(subparsers, chosen, record)
            return
    # Nothing, or nothing that there is, was chosen: argparse says which commands there are.
    taken = set(subparsers.choices)
    for name in dict.fromkeys(found.name for found in index.records if found.kind is Kind.COMMAND):
        if name not in taken:
            owners = " and ".join(f"{found.dist} {found.version}" for found in index.find(Kind.COMMAND, name))
            subparsers.add_parser(name, help=f"of {owners}".replace("%", "%%"))


def _add_chosen(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], name: str, record: Record) -> None:
    from penrose_host.plugins.loading import load_command

    add_arguments = load_command(record)
    text = f"A command of {record.dist} {record.version}.".replace("%", "%%")
    parser = subparsers.add_parser(name, description=text, allow_abbrev=False)
    try:
        add_arguments(parser)
    except PenroseError:
        raise
    except Exception as error:
        raise _broken(record, error) from error
    parser.set_defaults(brought=record)


def run(record: Record, options: argparse.Namespace) -> int:
    """Run the command that was parsed. What it raises, and is no error of Penrose's own, becomes PluginBroken."""
    if not callable(command := getattr(options, "command", None)):
        raise PluginIncompatible(
            f"{record.title}: {record.target} gave the parser nothing to run",
            **record.names,
            hint="its author has to call `parser.set_defaults(command=…)`, for each of its actions",
        )
    try:
        status = command(options)
    except (PenroseError, BrokenPipeError):
        raise
    except Exception as error:
        raise _broken(record, error) from error
    return int(status or 0)


def _broken(record: Record, error: Exception) -> PluginBroken:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return PluginBroken(
        f"{record.title} raised {described(error)}\n  {frame.filename}:{frame.lineno}, in {frame.name}",
        **record.names,
        hint="to see all of it, add --traceback to the command",
    )
