"""What `tensorflow` exports, loaded and called as its users do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from executor_suite.exports import Scored

from penrose_host import EncodedBatch


def signature(folder: Path) -> Any:
    """What `features.json` says of the signature."""
    return json.loads((folder / "features.json").read_text("utf-8"))["signature"]


def columns(folder: Path, batch: EncodedBatch) -> dict[str, np.ndarray]:
    """A batch as the signature takes it."""
    names = signature(folder)
    given = {"ids": batch.ids}
    given |= {names["numeric"][name]: values for name, values in batch.numeric.items()}
    for name, ragged in batch.lists.items():
        given[names["lists"][name]["values"]] = ragged.values[ragged.offsets[0] : ragged.offsets[-1]]
        given[names["lists"][name]["lengths"]] = np.diff(ragged.offsets)
    return given


def serving(folder: Path) -> Any:
    """The function that a server calls."""
    model = tf.saved_model.load(str(folder / "saved_model"))
    function = model.signatures["serving_default"]
    # It needs what it was loaded with.
    function.model = model
    return function


def loaded(folder: Path) -> Scored:
    function, heads = serving(folder), signature(folder)["scores"]

    def scored(batch: EncodedBatch) -> dict[str, np.ndarray]:
        given = columns(folder, batch)
        assert function.structured_input_signature[1].keys() == given.keys()
        found = function(**{name: tf.constant(array) for name, array in given.items()})
        return {head: found[output].numpy() for head, output in heads.items()}

    return scored
