"""Helpers for all tests: real distributions in a temporary folder, as pip would leave them."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ("kills", "minutes")

# Tests of one process use TensorFlow and PyTorch's compiler, in any order: the compiler's triton must be loaded first
# (builds of PyTorch without CUDA have none).
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

# A shell starts background jobs with SIGINT ignored, and processes that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The first example pays for imports, and machines differ: pytest's own timeout bounds a test.
settings.register_profile("penrose", deadline=None)
settings.load_profile("penrose")

pytest.register_assert_rewrite("executor_suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with what takes long come first, so that processes side by side end together."""
    files = {mark: {item.path for item in items if item.get_closest_marker(mark)} for mark in ("faults", "slow")}
    items.sort(key=lambda item: (item.path not in files["faults"], item.path not in files["slow"]))


#: The host's own interpreter flags: a warning is an error in subprocesses too.
PYTHON = (sys.executable, "-W", "error")
CLI = "import sys; from penrose_host.cli import main; sys.exit(main())"


class FakeSite:
    """A folder like site-packages, with distributions that exist for one test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def add(
        self,
        dist: str,
        entry_points: Mapping[str, Mapping[str, str]] | str,
        modules: Mapping[str, str] | None = None,
        *,
        version: str = "1.0",
        metadata: str | bytes | None = "",
    ) -> Path:
        """Install a distribution; `entry_points`: group → name → target, or the text of the file.

        `metadata` is METADATA's text ("": a valid one; None: no such file). Returns its dist-info folder.
        """
        info = self.path / f"{dist.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        if metadata == "":
            metadata = f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n"
        if metadata is not None:
            (info / "METADATA").write_bytes(metadata.encode() if isinstance(metadata, str) else metadata)
        if not isinstance(entry_points, str):
            sections = (
                "\n".join([f"[{group}]", *(f"{n} = {t}" for n, t in p.items())]) for group, p in entry_points.items()
            )
            entry_points = "\n\n".join(sections) + "\n"
        (info / "entry_points.txt").write_text(entry_points)
        for name, source in (modules or {}).items():
            (self.path / f"{name}.py").write_text(source)
        return info

    def environ(self, **variables: str) -> dict[str, str]:
        """The environment of a process that sees these distributions, and no job of the one who runs the tests."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PENROSE_")}
        path = os.pathsep.join([str(self.path), *filter(None, [clean.get("PYTHONPATH")])])
        return {**clean, "PYTHONPATH": path, **variables}

    def python(self, code: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run code in a fresh interpreter that sees these distributions."""
        return subprocess.run(
            [*PYTHON, "-c", code, *arguments],
            env=self.environ(**variables),
            cwd=self.path.parent,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def penrose(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in a fresh interpreter that sees these distributions."""
        return self.python(CLI, *arguments, **variables)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    """A `FakeSite` on this process's path too; the modules imported from it are forgotten afterwards."""
    fake = FakeSite(tmp_path / "site")
    monkeypatch.syspath_prepend(str(fake.path))
    yield fake
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(fake.path)):
            del sys.modules[name]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes modules, by name and text, that this process can import until the test ends."""
    monkeypatch.syspath_prepend(str(tmp_path))
    written: set[str] = set()

    def write(name: str, text: str) -> None:
        sys.modules.pop(name, None)
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
        importlib.invalidate_caches()
        written.add(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def module(write_module: Callable[[str, str], None]) -> Callable[[str], None]:
    """Writes `my_models.py` where it can be imported."""
    return partial(write_module, "my_models")
