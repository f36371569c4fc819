"""How often tests kill processes, and the table of the kills at the end of a test run: a plugin of pytest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fault_runs import KILLS, NOTES

#: The name under which a worker of xdist sends its kills to the process that prints.
SENT = "kills"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills",
        type=int,
        default=4,
        metavar="N",
        help="kill runs with a framework at the first N of their aims, and N times at random (default: 4; 30: at all)",
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker: what it killed goes to the process that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[SENT] = json.dumps([list(KILLS.items()), NOTES])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """In the process that prints: a worker has ended. One that crashed sent nothing."""
    kills, notes = json.loads(getattr(node, "workeroutput", {}).get(SENT, "[[], []]"))
    for key, count in kills:
        KILLS[tuple(key)] += count
    NOTES.extend(notes)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every kill -9 of this session: whose, how it was aimed, and in which phase the process was."""
    for note in dict.fromkeys(NOTES):
        terminalreporter.section(note, yellow=True, bold=True)
    if not KILLS:
        return
    terminalreporter.section(f"{sum(KILLS.values())} processes were killed with SIGKILL")
    for (suite, how, phase), count in sorted(KILLS.items()):
        terminalreporter.write_line(f"{count:>4}  {suite:<9}  {how:<18}  {phase}")
