"""`docs/vowpal-wabbit.md`: its executor is short, and keeps every promise of the contract."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from code_lines import lines_of_code
from doc_blocks import ROOT, blocks

from penrose_host import FeatureSpec, ListFeature
from penrose_host.testing import ExecutorContract

PAGE = ROOT / "docs" / "vowpal-wabbit.md"
(CODE,) = (block.text for block in blocks(PAGE) if block.mark)
LISTS = (ListFeature("history", "mean"), ListFeature("tags", "sum"))


@pytest.fixture(scope="module", autouse=True)
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The page's module, where this process and those that it starts can import it."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "vowpal.py").write_text(CODE, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield
    sys.modules.pop("vowpal", None)


def module() -> Any:
    return importlib.import_module("vowpal")


class TestVowpal(ExecutorContract):
    features = FeatureSpec(("user", "item"), LISTS, ("price", "age"), ("click", "buy"))

    def make(self) -> Any:
        return module().VowpalExecutor(module().VowpalExecutor.Options())


class TestFtrl(TestVowpal):
    def make(self) -> Any:
        return module().VowpalExecutor(module().VowpalExecutor.Options(args="-b 12 --ftrl"))


def test_it_is_at_most_55_lines_of_code() -> None:
    assert lines_of_code(CODE) <= 55
