"""`docs/testing.md` lists every promise, and shows what a broken one says; its blocks are run as on all pages."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from penrose_host import testing
from penrose_host.testing.plugins import PluginContract

PAGE = (Path(__file__).parents[2] / "docs/testing.md").read_text("utf-8")
CONTRACTS = [value for name in testing.__all__ if name.endswith("Contract") for value in [getattr(testing, name)]]


def listed(section: str) -> list[str]:
    found = re.search(rf"^### {section}\n\n(.*?)(?=\n\n|\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    return [line.removeprefix("* ") for line in found[1].strip().splitlines()]


def test_the_page_lists_what_every_plugin_promises() -> None:
    assert listed("Every plugin") == list(testing.promises_of(PluginContract).values())


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_page_lists_each_promise_of_each_contract(contract: type) -> None:
    of_all = testing.promises_of(PluginContract)
    own = [sentence for name, sentence in testing.promises_of(contract).items() if name not in of_all]
    assert listed(f"`{contract.__name__}`") == own


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_test_of_a_contract_is_a_promise_in_a_sentence(contract: type) -> None:
    found = testing.promises_of(contract)
    assert set(found) == {name for name in dir(contract) if name.startswith("test_")}
    assert len(set(found.values())) == len(found)
    assert all(sentence.endswith(".") and len(sentence) > 30 for sentence in found.values())


def test_the_broken_promise_on_the_page_is_what_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    source = re.search(r"```python\n# squares.py\n(.*?)```", PAGE, flags=re.DOTALL)
    message = re.search(r"```text\n(promise: .*?)\n```", PAGE, flags=re.DOTALL)
    assert source is not None
    assert message is not None
    code = source[1]
    mistaken = code.replace('self.next = assignment["squares"] or 0', "self.next = 0")
    assert mistaken != code
    module: Any = types.ModuleType("squares")
    monkeypatch.setitem(sys.modules, "squares", module)
    exec(compile(mistaken, "squares.py", "exec"), vars(module))

    class Mistaken(testing.DataSourceContract):
        def make(self) -> Any:
            return module.SquaresSource(module.SquaresSource.Options(rows=30))

    with pytest.raises(testing.BrokenPromise) as told:
        Mistaken().test_resume_gives_the_next_rows_exactly()
    assert str(told.value) == message[1]
