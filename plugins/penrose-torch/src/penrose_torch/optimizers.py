"""The optimizers of PyTorch, by the names and parameters that a job gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, optim

from penrose_host import ConfigError
from penrose_host.embeddings import checked, known
from penrose_host.executors import OptimizerOptions

__all__ = ["dense_optimizer", "sparse_optimizer"]

Make: TypeAlias = Callable[..., optim.Optimizer]

_SGD = {"learning_rate": 0.01}
_ADAGRAD = {"learning_rate": 0.01, "initial_accumulator": 0.0, "epsilon": 1e-10}
_ADAM = {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}

#: name → (parameters with their defaults, class)
_DENSE: Mapping[str, tuple[Mapping[str, float], Make]] = {
    "sgd": ({**_SGD, "momentum": 0.0, "weight_decay": 0.0}, optim.SGD),
    "adagrad": ({**_ADAGRAD, "weight_decay": 0.0}, optim.Adagrad),
    "adam": ({**_ADAM, "weight_decay": 0.0}, optim.Adam),
    "adamw": ({**_ADAM, "weight_decay": 0.01}, optim.AdamW),
}
_SPARSE: Mapping[str, tuple[Mapping[str, float], Make]] = {
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
    choices: Mapping[str, tuple[Mapping[str, float], Make]],
    options: OptimizerOptions,
    parameters: list[Tensor],
    more: Mapping[str, Any],
) -> optim.Optimizer | None:
    defaults, make = known(place, options.name, choices)
    given = checked(place, options.name, defaults, options.parameters)
    if not parameters:
        return None
    if "beta1" in given:
        more = {**more, "betas": (given.pop("beta1"), given.pop("beta2"))}
    try:
        return make(parameters, **{_TORCH_NAMES.get(name, name): value for name, value in given.items()}, **more)
    except ValueError as error:
        raise ConfigError([(place, f"{options.name}: {error}")]) from error
