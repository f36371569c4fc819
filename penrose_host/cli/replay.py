"""`penrose replay`: publishes the rows of any datasource."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from penrose_host.cli.job_flags import add_log_format, add_option, log_format
from penrose_host.cli.policy_flags import add_restrictions, policy_of

if TYPE_CHECKING:
    from penrose_host.replays import Replayed

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `penrose replay`."""
    parser.add_argument("datasource", metavar="DATASOURCE", help="a datasource plugin, or DIST:NAME; or a job file")
    what = parser.add_argument_group("from where, and to where (a flag beats a PENROSE_* variable beats the file)")
    what.add_argument("--to", metavar="SINK", required=True, help="the sink plugin, or DIST:NAME")
    add_option(what, "datasource.path=data.csv or sink.topic=clicks")
    what.add_argument("--topic", metavar="T", help="short for -o sink.topic=T")
    add_restrictions(what)
    how = parser.add_argument_group("this replay")
    how.add_argument(
        "--event-time",
        metavar="COLUMN",
        help="when a row happened (default: what the job file says); also '{column: ts, unit: ms}'",
    )
    how.add_argument(
        "--order",
        choices=("event_time", "arrival"),
        default="event_time",
        help="event_time: partitions are merged (default); arrival: as the rows come",
    )
    how.add_argument(
        "--speed", metavar="N", type=_speed, help="N times as fast as it happened (default: as fast as it can)"
    )
    how.add_argument("--rows", metavar="N", type=_rows, help="publish only the first N rows")
    how.add_argument(
        "--bad-rows", choices=("fail", "skip"), default="fail", help="bad rows end it (default), or are counted"
    )
    add_log_format(how)
    parser.set_defaults(command=_replay)


def _replay(options: argparse.Namespace) -> int:
    format = log_format(options)
    from penrose_host.monitoring.events import Noted
    from penrose_host.monitoring.terminal import Terminal
    from penrose_host.plugins.attribution import attributed
    from penrose_host.replays import load_plan, replay

    plan = load_plan(
        options.datasource,
        options.to,
        options=options.option,
        topic=options.topic,
        event_time=options.event_time,
        order=options.order,
        speed=options.speed,
        rows=options.rows,
        bad_rows=options.bad_rows,
        policy=policy_of(options),
    )
    terminal = Terminal(format)
    with attributed(plan.plugins):
        done = replay(plan, listeners=[terminal])
    facts = {"reason": done.reason, "rows": done.rows, "bad_rows": done.bad_rows, "event_time": done.event_time}
    terminal(Noted("ended", _summary(done), {**facts}))
    return 0


def _summary(done: Replayed) -> str:
    why = {"end-of-stream": "the stream has ended", "rows": "reached --rows", "signal": "stopped by a signal"}
    bad = f", {done.bad_rows:,} bad" if done.bad_rows else ""
    last = f", the last of {_instant(done.event_time)}" if done.event_time is not None else ""
    return f"{why[done.reason]}: {done.rows:,} rows published{bad}{last}"


def _instant(micros: int) -> str:
    from penrose_host.options.instants import format_instant

    try:
        return format_instant(micros)
    except OverflowError:
        return f"{micros} µs since 1970"


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"should be a number above 0, not {text!r}")
    return value


def _rows(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"should be a whole number above 0, not {text!r}")
    return int(text)
