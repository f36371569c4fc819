"""The commands of `penrose`: the host's own, and those of plugins (entry points of the group `penrose.commands`).

A command is a function that gives an `argparse.ArgumentParser` its arguments, and says what runs with
`parser.set_defaults(command=…)`: a function that takes what was parsed and returns the exit status. Only the one that
is chosen is imported.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from penrose_host.errors import PluginIncompatible, PluginNotFound

if TYPE_CHECKING:
    from penrose_host.plugins.index import Record

__all__ = ["OWN", "Command", "find", "of_plugins", "own"]

_AddArguments = Callable[[argparse.ArgumentParser], None]

#: The host's own commands → what they do; each is a module of this package.
OWN = {
    "run": "run a job: train on its stream, resume where it stopped",
    "plugins": "list what is installed; show one plugin and its options",
    "doctor": "find what is wrong with the installation, and say what to type next",
    "checkpoints": "list and verify the checkpoints of a run",
    "predict": "score a stream with a checkpoint, without training",
    "export": "write the servable model of a checkpoint",
    "replay": "publish the rows of any datasource, in the order of event time",
    "new": "write a plugin of your own to start from: a distribution that works",
    "report": "write a page about a run: curves, checkpoints, the job",
}


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its name, a line about it, how it is imported, and the plugin that brings it, if one does."""

    name: str
    summary: str
    description: str
    load: Callable[[], _AddArguments]
    record: Record | None = None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Import the command and let it say what it takes, beside `--traceback`. Raises PluginError."""
        add_arguments = self.load()
        with self._attributed():
            add_arguments(parser)
            for one in _with_actions(parser):
                one.add_argument(
                    "--traceback", action="store_true", default=argparse.SUPPRESS, help="show where an error was raised"
                )

    def run(self, options: argparse.Namespace) -> int:
        """Run what was parsed; returns the exit status. Raises PenroseError."""
        function = vars(options).get("command")
        if self.record is not None and not callable(function):
            raise PluginIncompatible(
                f"{self.record.title}: {self.record.target} gave the parser nothing to run",
                **self.record.names,
                hint="its author has to call `parser.set_defaults(command=…)`, for each of its actions",
            )
        assert callable(function)
        with self._attributed():
            return int(function(options) or 0)

    def _attributed(self) -> AbstractContextManager[None]:
        """What code of a plugin raises, and is no error of Penrose's own, names the plugin."""
        if self.record is None:
            return nullcontext()
        from penrose_host.plugins.attribution import attributed_to

        return attributed_to(self.record)


def find(name: str) -> Command | None:
    """The command of this name; None where nobody has it.

    Raises `PluginError` where it is a plugin's that cannot be used, or is known and not installed.
    """
    for command in own():
        if command.name == name:
            return command
    from penrose_host.cli.policy_flags import policy_of
    from penrose_host.plugins.index import Kind
    from penrose_host.plugins.selection import known_package

    try:
        record = policy_of(argparse.Namespace()).select(Kind.COMMAND, name)
    except PluginNotFound:
        if known_package(Kind.COMMAND, name) is not None:
            raise
        return None
    return _of(record, name, f"{record.dist} {record.version}")


def own() -> Iterator[Command]:
    """The host's own commands."""
    for name, text in OWN.items():
        yield Command(name, text, f"{text[0].upper()}{text[1:]}.", partial(_load_own, name))


def of_plugins() -> Iterator[Command]:
    """The commands of plugins, from metadata alone; one that has the name of a command of the host is never used."""
    from penrose_host.plugins.index import Kind, scan

    index = scan()
    for name in dict.fromkeys(found.name for found in index.records if found.kind is Kind.COMMAND):
        if name not in OWN:
            records = index.find(Kind.COMMAND, name)
            yield _of(records[0], name, " and ".join(f"{found.dist} {found.version}" for found in records))


def _of(record: Record, name: str, owners: str) -> Command:
    of = f"of {owners}".replace("%", "%%")  # argparse formats what it prints
    return Command(name, of, f"A command {of}.", partial(_load_of_plugin, record), record)


def _load_own(name: str) -> _AddArguments:
    add_arguments: _AddArguments = importlib.import_module(f"penrose_host.cli.{name}").add_arguments
    return add_arguments


def _load_of_plugin(record: Record) -> _AddArguments:
    from penrose_host.plugins.loading import load_command

    return load_command(record)


def _with_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser of a command, and those of its actions."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _with_actions(one)
