from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from executor_suite.exports import Scored
from executor_suite.lab import Lab
from torch_exports import loaded

from penrose_torch.executor import TorchExecutor


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab("torch", TorchExecutor)
    yield made
    made.close()


@pytest.fixture
def served() -> Callable[[Path], Scored]:
    return loaded
