"""`penrose report`: a page about a run."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `penrose report`."""
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="the run directory; the run may be going on")
    parser.add_argument("--output", metavar="FILE", type=Path, help="the page to write (default: RUN_DIR/report.html)")
    parser.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> int:
    from penrose_host.monitoring.report import write_report

    output = options.output or options.run_dir / "report.html"
    length = write_report(options.run_dir, output)
    print(f"{output} ({length:,} bytes)")
    return 0
