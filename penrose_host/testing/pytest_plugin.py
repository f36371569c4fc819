"""For pytest: a broken promise is shown as its sentences, without the insides of the contract class.

pytest imports this at its start, in every project: nothing but the standard library and pytest stands at the top.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

from penrose_host.testing.promises import BrokenPromise

__all__ = ["pytest_runtest_makereport"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where the kit itself found the fault, its sentences say all; where the plugin raised, its traceback stays."""
    report = yield
    error = call.excinfo.value if call.excinfo is not None else None
    if isinstance(error, BrokenPromise):
        report.longrepr = f"{item.nodeid}\n{error}"
    return report
