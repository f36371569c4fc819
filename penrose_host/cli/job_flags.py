"""The flags that say what the job is, which several commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from penrose_host.cli.policy_flags import add_restrictions, policy_of

if TYPE_CHECKING:
    from penrose_host.config.resolve import Resolved
    from penrose_host.monitoring.terminal import LogFormat

__all__ = ["add_job", "add_log_format", "add_option", "add_output", "load_job", "log_format"]

_LOG_FORMATS: tuple[LogFormat, ...] = ("auto", "text", "json")


def add_job(parser: argparse.ArgumentParser) -> None:
    """JOB, and every flag that changes it."""
    parser.add_argument("job", metavar="JOB", nargs="?", type=Path, help="the job: a YAML or TOML file")
    what = parser.add_argument_group("the job (a flag beats a PENROSE_* variable beats the file)")
    for kind in ("environment", "datasource", "executor", "embedding"):
        what.add_argument(f"--{kind}", metavar="NAME", help=f"the {kind} plugin, or DIST:NAME")
    what.add_argument("-p", "--plugin", metavar="NAME", action="append", default=[], help="one more hook plugin")
    add_option(what, "datasource.path=data.csv")
    what.add_argument("--until", metavar="rows=N|event_time=T|now", help="stop there, before the stream ends")
    what.add_argument("--run-dir", metavar="DIR", help="folder of the run (default: runs/NAME)")
    add_restrictions(what)
    parser.set_defaults(prog=parser.prog)


def add_option(parser: argparse._ActionsContainer, example: str) -> None:
    """`-o`, for commands that take values of a job."""
    parser.add_argument(
        "-o", "--option", metavar="A.B=VALUE", action="append", default=[], help=f"set one value, as in {example}"
    )


def add_output(group: argparse._ActionsContainer, *, output: str, purpose: str, replace: str) -> None:
    """`--output`, `--checkpoint` and `--replace`, for commands that make something of a checkpoint."""
    group.add_argument("--output", metavar="DIR", type=Path, required=True, help=output)
    group.add_argument("--checkpoint", metavar="ID", help=f"the checkpoint to {purpose} (default: the newest)")
    group.add_argument("--replace", action="store_true", help=replace)


def load_job(options: argparse.Namespace, *, fresh: bool = False) -> Resolved:
    """The job that these flags, the variables and the file make; `fresh`: for a run that starts anew.

    Raises ConfigError, PluginError.
    """
    from penrose_host.config.layers import Flags
    from penrose_host.config.resolve import load
    from penrose_host.errors import ConfigError

    flags = Flags(
        environment=options.environment,
        datasource=options.datasource,
        executor=options.executor,
        embedding=options.embedding,
        plugins=tuple(options.plugin),
        options=tuple(options.option),
        until=options.until,
        run_dir=options.run_dir,
    )
    try:
        return load(options.job, flags, policy=policy_of(options), fresh=fresh)
    except ConfigError as error:
        missing = [place for place, fault in error.faults if fault == "is missing"]
        if options.job is not None or not missing:
            raise
        # Flags and variables alone can make a job; who gave no file has most likely forgotten it.
        faults = [("JOB", f"a job file is expected (flags and variables do not say: {', '.join(missing)})")]
        faults += [fault for fault in error.faults if fault[1] != "is missing"]
        raise ConfigError(faults, hint=_how_to_give_a_job(options.prog)) from error


def _how_to_give_a_job(command: str) -> str:
    here = sorted(path.name for path in Path().glob("[!.]*.*") if path.suffix in (".yaml", ".yml", ".toml"))
    jobs = [name for name in here if name.startswith("job")]
    # Never a list of everything.
    likely = ", ".join((jobs or here)[:5])
    found = f"here are: {likely}" if likely else "how to write one: the quickstart of the documentation"
    return f"type: {command} {jobs[0] if jobs else 'JOB.yaml'}   ({found})"


def add_log_format(parser: argparse._ActionsContainer) -> None:
    """`--log-format`."""
    parser.add_argument("--log-format", choices=_LOG_FORMATS, help="default: PENROSE_LOG_FORMAT, or auto")


def log_format(options: argparse.Namespace) -> LogFormat:
    """What `--log-format`, or else PENROSE_LOG_FORMAT, says. Raises ConfigError."""
    value = options.log_format or os.environ.get("PENROSE_LOG_FORMAT") or "auto"
    for known in _LOG_FORMATS:
        if value == known:
            return known
    from penrose_host.errors import ConfigError

    raise ConfigError([("PENROSE_LOG_FORMAT", f"should be one of {', '.join(_LOG_FORMATS)}, not {value!r}")])
