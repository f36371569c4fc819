"""The kit itself: what it imports, how it tells, what it asks of its user."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from penrose_host import FileRef, FilesSnapshot, Snapshot
from penrose_host.errors import CheckpointError
from penrose_host.testing import BrokenPromise, DataSourceContract, ExecutorContract, MemoryCheckpoints
from penrose_host.testing.promises import Broken, promise
from penrose_host.testing.toys import ToyExecutor, ToySource

PLUGIN = """
from pydantic import BaseModel, ConfigDict

from penrose_host import EmbeddingBackend
{imports}

class Backend(EmbeddingBackend):
    api_version = 1

    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")

    def table(self, spec):
        raise NotImplementedError
"""
TESTS = """
from penrose_host.testing import DataSourceContract
from penrose_host.testing.toys import ToySource


class Mine(ToySource):
    def open(self, assignment):
        super().open(dict.fromkeys(assignment))

    def lag(self):
        return self.options.no_such_option


class TestMine(DataSourceContract):
    def make(self):
        return Mine(Mine.Options(rows=20))
"""


def entry_module_test(site: Any, imports: str) -> None:
    (site.path / "apache_beam.py").write_text("")
    (site.path / "entry_module.py").write_text(PLUGIN.format(imports=imports))
    import entry_module

    class Mine(ExecutorContract):
        def make(self) -> Any:
            return entry_module.Backend(entry_module.Backend.Options())

    Mine().test_the_entry_module_imports_no_framework()


def test_an_entry_module_that_imports_nothing_much_is_fine(site: Any) -> None:
    entry_module_test(site, "")


def test_a_framework_that_an_entry_module_imports_is_named(site: Any) -> None:
    with pytest.raises(BrokenPromise, match="entry_module imports apache_beam"):
        entry_module_test(site, "import apache_beam")


def test_an_entry_module_that_needs_its_tests_around_it_is_told_of(site: Any) -> None:
    with pytest.raises(BrokenPromise, match="importing entry_module alone failed: AssertionError"):
        entry_module_test(site, "import sys; assert 'pytest' in sys.modules")


@pytest.mark.parametrize("module", ["penrose_host.testing", "penrose_host.testing.pytest_plugin"])
def test_pytest_starts_without_the_host(module: str) -> None:
    heavy = ("fsspec", "hypothesis", "numpy", "pluggy", "pyarrow", "pydantic", "rich", "stevedore")
    if module.endswith("pytest_plugin"):
        heavy = tuple(name for name in heavy if name != "pluggy")  # pytest's own
    script = f"import sys, {module}; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_pytest_shows_sentences_for_what_the_kit_found_and_a_traceback_for_what_the_plugin_raised(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_mine.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "resume_gives or lag", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "2 failed" in done.stdout
    found, raised = done.stdout.split("promise: Resume")[1], done.stdout.split("promise: `lag`")[0]
    assert "datasources/positions.py" not in done.stdout
    assert re.search(r"\nseen: Opened at \{'p\d': 1\}, partition 'p\d' at offset 1 gave .* instead of ", found)
    assert "\nto do: start each partition at its offset.\n" in found
    assert "no_such_option" in raised
    assert "seen: it raised AttributeError:" in done.stdout


def test_a_test_class_without_make_is_told_what_it_lacks() -> None:
    with pytest.raises(NotImplementedError, match="needs a method `make` that returns a new plugin"):
        DataSourceContract().test_capabilities_are_known_ones()


def test_what_a_plugin_raises_stays_what_it_is_with_the_promise_as_a_note() -> None:
    @promise
    def test_something() -> None:
        """Something holds,
        always."""
        raise KeyError("oops")

    with pytest.raises(KeyError) as raised:
        test_something()
    assert raised.value.__notes__ == [
        "promise: Something holds, always.\nseen: it raised KeyError: 'oops'.\n"
        "to do: see above where; this should not raise."
    ]


def test_a_broken_promise_is_an_assertion_that_carries_its_parts() -> None:
    @promise
    def test_something() -> None:
        """Something holds."""
        raise Broken("it did not.", "make it.")

    with pytest.raises(AssertionError) as raised:
        test_something()
    error: Any = raised.value
    assert (error.promise, error.seen, error.todo) == ("Something holds.", "it did not.", "make it.")
    assert str(error) == "promise: Something holds.\nseen: it did not.\nto do: make it."
    assert error.__cause__ is None


def test_a_source_without_seek_is_not_asked_to_resume() -> None:
    class Forgetful(ToySource):
        capabilities = frozenset()

        def open(self, assignment: Any) -> None:
            assert not any(assignment.values())
            super().open(assignment)

    class Mine(DataSourceContract):
        def make(self) -> Any:
            return Forgetful(Forgetful.Options(rows=5))

    with pytest.raises(pytest.skip.Exception, match="does not declare SEEK"):
        Mine().test_resume_gives_the_next_rows_exactly()
    Mine().test_a_larger_assignment_adds_partitions_and_goes_on_with_the_others()


def test_a_source_without_rows_shows_nothing() -> None:
    class Mine(DataSourceContract):
        def make(self) -> Any:
            return ToySource(ToySource.Options(rows=0))

    with pytest.raises(BrokenPromise, match="gave no row within 5 s"):
        Mine().test_offsets_ascend_and_stand_once()


def test_a_stream_that_neither_goes_on_nor_ends_is_told_of() -> None:
    class Silent(ToySource):
        def read(self, max_rows: int, timeout: float) -> Any:
            return None if len(self.ended()) == len(self.next_offsets) else super().read(max_rows, timeout)

    class Mine(DataSourceContract):
        patience = 0.1

        def make(self) -> Any:
            return Silent(Silent.Options(rows=5))

    with pytest.raises(BrokenPromise, match=r"nothing for 0.1 s, and the stream has not ended"):
        Mine().test_offsets_ascend_and_stand_once()


def test_a_source_whose_rows_come_and_go_is_told_of_like_any_other() -> None:
    class Moody(ToySource):
        made = 0

        def __init__(self, options: Any) -> None:
            super().__init__(options)
            Moody.made += 1

        def _batch(self, name: str, start: int, stop: int) -> Any:
            batch = super()._batch(name, start, stop)
            return batch.append_column("mood", pa.array([Moody.made == 3] * len(batch)))

    class Mine(DataSourceContract):
        def make(self) -> Any:
            return Moody(Moody.Options(rows=5))

    with pytest.raises(BrokenPromise, match=r"at offset 0 gave .*'mood': True"):
        Mine().test_rows_do_not_depend_on_how_many_are_read_at_a_time()


@pytest.mark.parametrize("name", ["../state", "/state", "", "a//b", "état", ".hidden", "a b"])
def test_checkpoints_in_memory_take_the_names_that_a_run_takes(name: str) -> None:
    checkpoints = MemoryCheckpoints()
    with pytest.raises(CheckpointError, match="is no name for a file"):
        checkpoints.write("c1", FilesSnapshot({name: b""}))


def test_checkpoints_in_memory_reuse_only_what_is_there() -> None:
    class Reusing(Snapshot):
        def write(self, writer: Any) -> None:
            writer.reuse("rows", FileRef("c1", "rows", 4, ""))

    with pytest.raises(CheckpointError, match="is gone"):
        MemoryCheckpoints().write("c2", Reusing())


def test_an_executor_without_numbers_has_no_rows_that_are_not_finite() -> None:
    class Mine(ExecutorContract):
        features = ExecutorContract.features.__class__(categorical=("user",), labels=("click",))

        def make(self) -> Any:
            return ToyExecutor(ToyExecutor.Options())

    assert Mine().non_finite_batch() is None
    Mine().test_a_step_that_is_not_finite_applies_nothing_and_says_so()
