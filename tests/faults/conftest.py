"""What the tests of faults share: one installation, and one set of files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_jobs import make_files
from fault_runs import Workplace


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Workplace]:
    """An installation with the plugins of `fault_stage`, seen by this process too."""
    place = Workplace(tmp_path_factory.mktemp("faults"), pytestconfig.getoption("--kills"))
    sys.path.insert(0, str(place.site))
    yield place
    sys.path.remove(str(place.site))


@pytest.fixture(scope="session")
def data(workplace: Workplace) -> Path:
    """The four files that most tests read; nobody changes them."""
    return make_files(workplace.folder / "data")
