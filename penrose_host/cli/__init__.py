"""The command `penrose`. What a subcommand needs is imported once it is chosen, so that help comes at once."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from penrose_host.errors import PenroseError

__all__ = ["main"]

#: Subcommand → what it does, for `penrose --help`; each is a module of this package.
COMMANDS = {
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
        options = _parse(arguments)
        status = _run(options)
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


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="penrose",
        description="Online training: models that learn from streams that never end.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="print the version and stop")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, text in COMMANDS.items():
        command = subparsers.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False
        )
        if name == chosen:
            importlib.import_module(f"{__name__}.{name}").add_arguments(command)
    if chosen not in COMMANDS and (chosen is not None or not {"-h", "--help"}.isdisjoint(arguments)):
        from penrose_host.cli.plugin_commands import add_commands

        add_commands(subparsers, chosen)
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    if "brought" not in options:
        status: int = options.command(options)
        return status
    from penrose_host.cli.plugin_commands import run

    return run(options.brought, options)


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
