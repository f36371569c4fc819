"""`penrose run`: everything that says what the job is, and the run itself."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from penrose_host.cli.common import add_restrictions, add_traceback, allowed_dists, blocked

if TYPE_CHECKING:
    from penrose_host.display import LogFormat

__all__ = ["add_arguments"]

_LOG_FORMATS: tuple[LogFormat, ...] = ("auto", "text", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `penrose run`."""
    parser.add_argument("job", metavar="JOB", nargs="?", type=Path, help="the job: a YAML or TOML file")
    what = parser.add_argument_group("the job (a flag beats a PENROSE_* variable beats the file)")
    for kind in ("environment", "datasource", "executor", "embedding"):
        what.add_argument(f"--{kind}", metavar="NAME", help=f"the {kind} plugin, or DIST:NAME")
    what.add_argument("-p", "--plugin", metavar="NAME", action="append", default=[], help="one more hook plugin")
    what.add_argument(
        "-o",
        "--option",
        metavar="A.B=VALUE",
        action="append",
        default=[],
        help="set one value, as in datasource.path=data.csv",
    )
    what.add_argument("--until", metavar="rows=N|event_time=T", help="stop there, and leave a checkpoint")
    what.add_argument("--run-dir", metavar="DIR", help="folder of the run (default: runs/NAME)")
    add_restrictions(what)
    how = parser.add_argument_group("this run")
    how.add_argument("--dry-run", action="store_true", help="check everything, print the whole job, and stop")
    start = how.add_mutually_exclusive_group()
    start.add_argument("--resume-from", metavar="ID", help="go on from this checkpoint (default: the newest)")
    start.add_argument("--fresh", action="store_true", help="start anew, and leave earlier checkpoints behind")
    how.add_argument("--log-format", choices=_LOG_FORMATS, help="default: PENROSE_LOG_FORMAT, or auto")
    add_traceback(how)
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from penrose_host.config.layers import Flags
    from penrose_host.config.resolve import load

    log_format = _log_format(options.log_format)
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
    resolved = load(options.job, flags, block=blocked(options), allow_dists=allowed_dists(options))
    if options.dry_run:
        print(resolved.to_yaml(), end="")
        return 0
    from penrose_host.display import Display
    from penrose_host.runner import run

    display = Display(log_format)
    try:
        display.ended(run(resolved, resume_from=options.resume_from, fresh=options.fresh, display=display))
    finally:
        display.close()
    return 0


def _log_format(flag: LogFormat | None) -> LogFormat:
    value = flag or os.environ.get("PENROSE_LOG_FORMAT") or "auto"
    for known in _LOG_FORMATS:
        if value == known:
            return known
    from penrose_host.errors import ConfigError

    raise ConfigError([("PENROSE_LOG_FORMAT", f"should be one of {', '.join(_LOG_FORMATS)}, not {value!r}")])
