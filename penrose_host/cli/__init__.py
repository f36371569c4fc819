"""The command `penrose`. What a subcommand needs is imported once it is chosen, so that help comes at once."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from penrose_host.cli.commands import Command, find, of_plugins, own
from penrose_host.errors import PenroseError

__all__ = ["main"]

_INTERRUPTED = 130
_BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2 for wrong usage, else that of the error)."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # pydantic imports plugins of its own, from every distribution there is: nobody selected them, and unreadable
    # metadata of any would end every command.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # It was closed, and the next file that is opened would take its place and get what is printed.
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that this terminal cannot show is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        command, options = _parse(arguments)
        status = command.run(options)
        sys.stdout.flush()
    except PenroseError as error:
        return _report(error, "--traceback" in arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        return _BROKEN_PIPE
    except OSError as error:
        if not _printing(error):
            raise
        _silence()
        return _report(PenroseError(f"cannot write the output: {error.strerror}"), "--traceback" in arguments)
    return status


def _parse(arguments: Sequence[str]) -> tuple[Command, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog="penrose",
        description="Online training: models that learn from streams that never end.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="print the version and stop")
    parser.set_defaults(traceback=False)
    name = next((argument for argument in arguments if not argument.startswith("-")), None)
    chosen = find(name) if name is not None else None
    listed = {command.name: command for command in own()}
    if chosen is not None:
        listed[chosen.name] = chosen
    elif name is not None or not {"-h", "--help"}.isdisjoint(arguments):
        # Nothing, or nothing that there is, was chosen: argparse says which commands there are.
        listed |= {command.name: command for command in of_plugins()}
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in listed.values():
        its_own = subparsers.add_parser(
            command.name, help=command.summary, description=command.description, allow_abbrev=False
        )
        if command is chosen:
            command.add_arguments(its_own)
    options = parser.parse_args(arguments)
    assert chosen is not None, "argparse ends the program where no command is chosen"
    return chosen, options


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"penrose {version('penrose-host')}")
        parser.exit()


def _report(error: PenroseError, whole: bool) -> int:
    if whole:
        traceback.print_exception(error)
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


def _reader_is_gone() -> bool:
    """Whether it is our own output that nobody reads any more; then nothing further is written to it."""
    import select

    poll = select.poll()
    poll.register(sys.stdout, 0)
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if gone:
        _silence()
    return gone


def _printing(error: OSError) -> bool:
    """Whether it was raised where a command prints: files are written elsewhere, and named in the error."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return error.filename is None and str(frame.f_globals["__name__"]).startswith(__name__)


def _silence() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
