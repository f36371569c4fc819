"""The ops are loaded into the TensorFlow that they were built with, and into no other."""

from __future__ import annotations

import tomllib
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

import penrose_tfplus_tensorflow
from penrose_tfplus_tensorflow import _built

IMPORT = "import penrose_tfplus_tensorflow"
MINOR = ".".join(_built.VERSION.split(".")[:2])
PROJECT = Path(__file__).parents[2] / "tfplus_ext/tfplus_tensorflow/pyproject.toml"


@pytest.mark.parametrize("other", ["2.20.0", "2.22.1", "3.21.0"])
def test_another_minor_version_is_refused_with_what_to_install(site: Any, other: str) -> None:
    site.add("tensorflow-cpu", {}, {"tensorflow": f"class version: VERSION = {other!r}"})
    said = site.python(IMPORT).stderr.splitlines()[-1]
    assert said.startswith("ImportError: penrose-tfplus-tensorflow was built with TensorFlow ")
    assert f"{_built.VERSION} and does not work with {other}" in said
    assert f"pip install 'tensorflow-cpu>={MINOR}," in said


def test_without_tensorflow_it_says_what_to_install(site: Any) -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'tensorflow'\", name='tensorflow')"
    site.add("nothing", {}, {"tensorflow": missing})
    said = site.python(IMPORT).stderr.splitlines()[-1]
    assert said == (
        "ImportError: penrose-tfplus-tensorflow needs TensorFlow, which is not installed; "
        "try: pip install 'penrose-tfplus-tensorflow[cpu]'"
    )


def test_what_is_missing_in_tensorflow_itself_is_not_hidden(site: Any) -> None:
    site.add("tensorflow-cpu", {}, {"tensorflow": "import a_part_of_it"})
    assert site.python(IMPORT).stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'a_part_of_it'"


def test_a_later_patch_of_the_same_minor_version_is_the_one_declared() -> None:
    assert tf.version.VERSION.startswith(f"{MINOR}.")
    project = tomllib.loads(PROJECT.read_text())
    assert f"tensorflow-cpu=={MINOR}.*" in project["build-system"]["requires"]
    extras = project["project"]["optional-dependencies"]
    assert {name: [spec.split(">=")[1].split(",")[0] for spec in specs] for name, specs in extras.items()} == {
        "cpu": [MINOR],
        "gpu": [MINOR],
    }
    assert version("penrose-tfplus-tensorflow") == project["project"]["version"]
    assert not [
        each for each in requires("penrose-tfplus-tensorflow") or [] if "tensorflow" in each and "extra" not in each
    ]


def test_what_is_exported_is_this() -> None:
    assert sorted(penrose_tfplus_tensorflow.__all__) == [
        "Embedding",
        "FrozenTable",
        "KvVariable",
        "MixedOptimizer",
        "Model",
        "TrainsTables",
        "embedding_lookup",
        "forget_kv_variables",
        "get_kv_variable",
        "kv_variables",
        "safe_embedding_lookup_sparse",
    ]
    for name in penrose_tfplus_tensorflow.__all__:
        assert getattr(penrose_tfplus_tensorflow, name).__doc__
