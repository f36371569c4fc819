"""Writes the servable artifact: `saved_model/`, which stock TensorFlow loads, and `features.json`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from penrose_host.executors import fault
from penrose_tensorflow.serving.signature import Signature

if TYPE_CHECKING:
    from penrose_tensorflow.learner import Learner

__all__ = ["export"]

_INPUTS = {
    "ids": "int64 [rows, categorical]: the ids of the categorical features, in their order",
    "numeric": "float32 [rows]",
    "lists": "values: int64 [n], of all rows one after the other; lengths: int64 [rows], how many each row has",
}


def export(learner: Learner, directory: Path) -> None:
    """Write both into `directory`; any number of rows can be scored with them, none too.

    Raises OSError, and ConfigError where the model reads what an export cannot hold.
    """
    features = learner.layout.features
    signature = Signature.of(features)
    servable = learner.serving()

    def scored(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        numeric = {name: inputs[given] for name, given in signature.numeric.items()}
        lists = {name: (inputs[values], inputs[lengths]) for name, (values, lengths) in signature.lists.items()}
        scores = servable(inputs["ids"], numeric, lists)
        return {given: scores[head] for head, given in signature.heads.items()}

    serving = tf.function(scored, autograph=False).get_concrete_function(**signature.specs(len(features.categorical)))
    try:
        tf.saved_model.save(servable, str(directory / "saved_model"), {"serving_default": serving})
    except tf.errors.OpError as error:
        raise OSError(f"the SavedModel cannot be written to {directory}: {error.message}") from error
    except AssertionError as error:
        # What TensorFlow raises for resources that are not tracked, tables in a function of an earlier trace too.
        raise fault(
            "executor.model",
            f"the model of {learner.name} reads a table or a variable that its export does not hold",
            "a tf.function in the model that looks up a KvVariable reads it as when it was traced: take the decorator "
            "off, or call its python_function; what else the model reads must be an attribute of a layer",
        ) from error
    described = {
        "format": 1,
        "model": learner.name,
        "features": dataclasses.asdict(features),
        "inputs": _INPUTS,
        "outputs": "float32 [rows], the probability that the label is 1",
        "signature": {"name": "serving_default", **signature.to_json()},
    }
    (directory / "features.json").write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", "utf-8")
