"""Runs a contract class without pytest, and collects plugins that break promises on purpose."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penrose_host.testing import BrokenPromise, promises_of

#: Starts a process, which takes most of a contract's time: tested on its own.
IN_A_PROCESS = "test_the_entry_module_imports_no_framework"


def broken_promises(contract: type, folder: Path) -> dict[str, str]:
    """Test method → what it said, of all that fail; each gets a new instance, as in pytest."""
    told = {}
    for number, name in enumerate(promises_of(contract)):
        if name == IN_A_PROCESS:
            continue
        test = getattr(contract(), name)
        fixtures: dict[str, Any] = {}
        if "tmp_path" in inspect.signature(test).parameters:
            fixtures["tmp_path"] = folder / str(number)
            fixtures["tmp_path"].mkdir()
        try:
            test(**fixtures)
        except BrokenPromise as broken:
            told[name] = str(broken)
        except Exception as error:
            told[name] = error.__notes__[-1]
        except pytest.skip.Exception:
            continue
    return told


class Mutants(list[Any]):
    """Broken plugins as parameters of a test: (class, the tests that must fail, and no others)."""

    def breaks(self, *tests: str) -> Callable[[type], type]:
        """Mark a class as breaking these promises; names without `test_`."""

        def mark(mutant: type) -> type:
            self.append(pytest.param(mutant, {f"test_{test}" for test in tests}, id=mutant.__name__))
            return mutant

        return mark

    def broken(self) -> set[str]:
        """Every test that at least one mutant breaks."""
        return {test for parameter in self for test in parameter.values[1]}


def said_well(message: str) -> bool:
    """Whether a failure says the promise, what was seen and what to do, in sentences."""
    lines = message.split("\n")
    starts = [line.split(": ")[0] for line in lines if ": " in line]
    return starts[0] == "promise" and "seen" in starts and "to do" in starts and message.rstrip().endswith(".")
