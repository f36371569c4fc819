"""What the tests of faults share: one installation, one set of files, and the table of kills at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_jobs import make_files
from fault_runs import KILLS, NOTES, Workplace


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """An installation with the plugins of `fault_stage`, seen by this process too."""
    place = Workplace(tmp_path_factory.mktemp("faults"))
    sys.path.insert(0, str(place.site))
    yield place
    sys.path.remove(str(place.site))


@pytest.fixture(scope="session")
def data(workplace: Workplace) -> Path:
    """The four files that most tests read; nobody changes them."""
    return make_files(workplace.folder / "data")


@pytest.fixture(scope="session", autouse=True)
def kills_as_json(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The table of kills as an artefact: `kills.json` in the session's temporary folder."""
    yield
    rows = [
        {"suite": suite, "aim": how, "phase": phase, "kills": count}
        for (suite, how, phase), count in sorted(KILLS.items())
    ]
    (tmp_path_factory.getbasetemp() / "kills.json").write_text(json.dumps(rows, indent=2))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every kill -9 of this session: whose, how it was aimed, and in which phase the process was."""
    for note in NOTES:
        terminalreporter.section(note, yellow=True, bold=True)
    if not KILLS:
        return
    terminalreporter.section(f"{sum(KILLS.values())} processes were killed with SIGKILL")
    for (suite, how, phase), count in sorted(KILLS.items()):
        terminalreporter.write_line(f"{count:>4}  {suite:<9}  {how:<18}  {phase}")
