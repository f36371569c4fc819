"""A module of the user's: found by `module:function`, given features by name, checked for what it returns."""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor, nn

from penrose_host import ConfigError, FeatureSpec, TrainingError
from penrose_host.executors import different_names, fault, function
from penrose_torch.compiler import keep_triton_out
from penrose_torch.options import TorchOptions

__all__ = ["Custom", "custom_model"]

_PLACE = "executor.model"


class Custom(nn.Module):
    """The same interface as the named models have, around the user's module.

    The module gets a dict: categorical and list features float32 [rows, width], numeric ones float32 [rows].
    It gives logits: float32 [rows, heads], [rows] for a single head, or a dict of head → [rows].
    """

    def __init__(self, name: str, module: nn.Module, features: FeatureSpec, width: int) -> None:
        super().__init__()
        self.name, self.width = name, width
        self.module = module
        self.embedded = (*features.categorical, *(feature.name for feature in features.lists))
        self.numeric = features.numeric
        self.heads = features.labels

    def forward(self, slots: Tensor, numeric: Tensor) -> Tensor:
        inputs = {name: slots[:, place] for place, name in enumerate(self.embedded)}
        inputs |= {name: numeric[:, place] for place, name in enumerate(self.numeric)}
        rows, heads = slots.shape[0], len(self.heads)
        try:
            found: object = self.module(inputs)
        except Exception as error:
            raise TrainingError(
                f"the module of {self.name} raised {error!r} for {rows} rows", hint=f"its input has {', '.join(inputs)}"
            ) from error
        if isinstance(found, dict) and found.keys() == set(self.heads):
            columns = [found[head] for head in self.heads]
            if all(_is_logits(column, (rows,)) for column in columns):
                return torch.stack(columns, 1)
        elif heads == 1 and _is_logits(found, (rows,)):
            return found.reshape(rows, 1)
        elif _is_logits(found, (rows, heads)):
            return found
        raise TrainingError(
            f"the module of {self.name} returned {_described(found)} for {rows} rows; expected are logits: "
            f"floats [{rows}, {heads}]{f' or [{rows}]' if heads == 1 else ''}, "
            f"or a dict of {', '.join(self.heads)} to floats [{rows}]"
        )


def _is_logits(found: object, shape: tuple[int, ...]) -> TypeGuard[Tensor]:
    return isinstance(found, Tensor) and found.is_floating_point() and tuple(found.shape) == shape


def _described(found: object) -> str:
    if isinstance(found, Tensor):
        return f"{str(found.dtype).removeprefix('torch.')} {list(found.shape)}"
    if isinstance(found, dict):
        return "{" + ", ".join(f"{key}: {_described(value)}" for key, value in found.items()) + "}"
    return f"a {type(found).__name__}"


def custom_model(options: TorchOptions, features: FeatureSpec) -> Custom:
    """Call the user's function and try its module on zeros. Raises `ConfigError`, naming it, for whatever fails."""
    different_names(_PLACE, features)
    keep_triton_out()
    build = function(_PLACE, options.model)
    try:
        module = build(features, width=options.width, **options.model_options)
    except Exception as error:
        raise _fault(
            f"{options.model} raised {error!r}", "it is called as function(features, width=…, **model_options)"
        ) from error
    if not isinstance(module, nn.Module):
        raise _fault(f"{options.model} returned a {type(module).__name__}, not a torch.nn.Module")
    model = Custom(options.model, module, features, options.width)
    slots = torch.zeros(3, len(model.embedded), options.width)
    try:
        with torch.no_grad():
            model.eval()(slots, torch.zeros(3, len(model.numeric)))
    except TrainingError as error:
        raise _fault(error.message, error.hint) from error
    return model


def _fault(message: str, hint: str | None = None) -> ConfigError:
    return fault(_PLACE, message, hint)
