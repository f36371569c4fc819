"""Where the time of a test run goes: minutes and processor seconds by folder, told at its end."""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

#: Name in a report's dictionary: xdist carries it from a worker to the process that prints.
CPU = "cpu_seconds"


def cpu_seconds() -> float:
    """What this process and the children that it waited for have used."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


class Minutes:
    """Sums up reports by the folder of their test."""

    def __init__(self) -> None:
        self.before = cpu_seconds()
        self.folders: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, Any]:
        """What was used since the last report belongs to this one: imports and session fixtures to who needed them."""
        report = yield
        now = cpu_seconds()
        setattr(report, CPU, now - self.before)
        self.before = now
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        tests, wall, cpu = self.folders[str(Path(report.nodeid.partition("::")[0]).parent)]
        self.folders[str(Path(report.nodeid.partition("::")[0]).parent)] = [
            tests + (report.when == "call"),
            wall + report.duration,
            cpu + getattr(report, CPU, 0.0),
        ]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("minutes by folder: of tests one after another, and of processors")
        for folder, (tests, wall, cpu) in sorted(self.folders.items(), key=lambda item: -item[1][1]):
            terminalreporter.write_line(f"{wall / 60:>6.1f}  {cpu / 60:>6.1f}  {folder}  ({tests:.0f} tests)")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Minutes(), "minutes-by-folder")
