"""`penrose run`: trains a job."""

from __future__ import annotations

import argparse

from penrose_host.cli.job_flags import add_job, add_log_format, load_job, log_format

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `penrose run`."""
    add_job(parser)
    how = parser.add_argument_group("this run")
    how.add_argument("--dry-run", action="store_true", help="check everything, print the whole job, and stop")
    start = how.add_mutually_exclusive_group()
    start.add_argument("--resume-from", metavar="ID", help="go on from this checkpoint (default: the newest)")
    start.add_argument("--fresh", action="store_true", help="start anew, and leave earlier checkpoints behind")
    add_log_format(how)
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    format = log_format(options)
    resolved = load_job(options, fresh=options.fresh)
    if options.dry_run:
        print(resolved.to_yaml(), end="")
        return 0
    from penrose_host.monitoring.terminal import Terminal
    from penrose_host.plugins.attribution import attributed
    from penrose_host.training.runtime import run

    terminal = Terminal(format)
    try:
        with attributed(resolved.plugins):
            run(resolved, resume_from=options.resume_from, fresh=options.fresh, listeners=[terminal])
    finally:
        terminal.close()
    return 0
