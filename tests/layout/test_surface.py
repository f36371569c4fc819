"""The public surface: what stubs declare is there, and what is pinned here is what they declare."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys

import pytest
from import_graph import ROOT

PACKAGES = ("", ".decoding", ".embeddings", ".executors", ".features", ".options", ".testing")
PINNED = ROOT / "tests" / "layout" / "surface.txt"


def declared(package: str) -> list[str]:
    stub = ROOT.joinpath("penrose_host", *package.split(".")[1:], "__init__.pyi")
    names = [alias.asname for node in ast.parse(stub.read_text("utf-8")).body for alias in node.names]
    assert None not in names, f"write `import NAME as NAME` in {stub}: a stub exports nothing else"
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_every_declared_name_is_there(package):
    module = importlib.import_module(f"penrose_host{package}")
    for name in declared(package):
        assert getattr(module, name) is not None
    assert set(declared(package)) <= set(dir(module))


def test_the_surface_is_the_one_that_is_pinned():
    lines = [f"penrose_host{package}.{name}" for package in PACKAGES for name in sorted(declared(package))]
    assert PINNED.read_text("utf-8").split() == lines, f"a public name came or went: write {PINNED.name} anew"


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_public_package_imports_nothing_heavy(package):
    heavy = ("numpy", "pyarrow", "pydantic", "rich", "torch", "tensorflow", "ray", "apache_beam", "pandas")
    code = f"import sys, penrose_host{package}; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert out.strip() == "[]"
