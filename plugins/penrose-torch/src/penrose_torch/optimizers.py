"""The optimizers of PyTorch, by the names and parameters that a job gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, optim

from penrose_host import ConfigError
from penrose_host.embeddings import checked, known
from penrose_host.executors import OptimizerOptions
from penrose_torch.compiler import uncompiled

__all__ = ["dense_optimizer", "sparse_optimizer"]

#: name → (parameters with their defaults, class)
Choices: TypeAlias = Mapping[str, tuple[Mapping[str, float], type[optim.Optimizer]]]

_SGD = {"learning_rate": 0.01}
_ADAGRAD = {"learning_rate": 0.01, "initial_accumulator": 0.0, "epsilon": 1e-10}
_ADAM = {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}

_DENSE: Choices = {
    "sgd": ({**_SGD, "momentum": 0.0, "weight_decay": 0.0}, optim.SGD),
    "adagrad": ({**_ADAGRAD, "weight_decay": 0.0}, optim.Adagrad),
    "adam": ({**_ADAM, "weight_decay": 0.0}, optim.Adam),
    "adamw": ({**_ADAM, "weight_decay": 0.01}, optim.AdamW),
}
_SPARSE: Choices = {
    "sgd": (_SGD, optim.SGD),
    "adagrad": (_ADAGRAD, optim.Adagrad),
    "adam": (_ADAM, optim.SparseAdam),
}
_TORCH_NAMES = {"learning_rate": "lr", "initial_accumulator": "initial_accumulator_value", "epsilon": "eps"}


def dense_optimizer(
    options: OptimizerOptions, parameters: Iterable[Tensor], device: torch.device
) -> optim.Optimizer | None:
    """The optimizer of the dense parameters; None where there are none. Raises `ConfigError`."""
    kept = list(parameters)
    # The fused kernels are several times faster for the few small parameters there usually are.
    return _made("executor.dense_optimizer", _DENSE, options, kept, {"fused": True} if device.type == "cpu" else {})


def sparse_optimizer(options: OptimizerOptions, parameter: Tensor) -> optim.Optimizer:
    """The optimizer of an embedding layer with sparse gradients. Raises `ConfigError`."""
    made = _made("executor.optimizer", _SPARSE, options, [parameter], {})
    assert made is not None
    return made


def _made(
    place: str,
    choices: Choices,
    options: OptimizerOptions,
    parameters: list[Tensor],
    more: Mapping[str, Any],
) -> optim.Optimizer | None:
    defaults, kind = known(place, options.name, choices)
    given = checked(place, options.name, defaults, options.parameters)
    if not parameters:
        return None
    if "beta1" in given:
        more = {**more, "betas": (given.pop("beta1"), given.pop("beta2"))}
    named: dict[str, Any] = {_TORCH_NAMES.get(name, name): value for name, value in given.items()}
    try:
        return uncompiled(kind)(parameters, **named, **more)
    except ValueError as error:
        raise ConfigError([(place, f"{options.name}: {error}")]) from error
