"""PyTorch's compiler: not imported where nothing is compiled, and without triton where TensorFlow came first."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import torch
from torch.optim import Optimizer

__all__ = ["keep_triton_out", "uncompiled"]

_METHODS = ("add_param_group", "load_state_dict", "state_dict", "step", "zero_grad")


def uncompiled(kind: type[Optimizer]) -> type[Optimizer]:
    """A class of the same name that computes the same and imports no compiler.

    PyTorch wraps these methods to tell its compiler what not to trace, and imports it to do so, which takes as long
    as all the rest of PyTorch. The methods inside the wrappers need nothing of it; `step` needs gradients off.
    """
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in _METHODS}
    methods["step"] = torch.no_grad()(methods["step"])
    return type(kind.__name__, (kind,), methods)


def keep_triton_out() -> None:
    """Before anything that may import the compiler: without triton from here on if TensorFlow is loaded and it is not.

    Both bring an LLVM of their own. A process that loads triton's after TensorFlow's dies with a segmentation fault;
    the other order does no harm. Without triton PyTorch exports all models, and compiles for the CPU.
    """
    if "tensorflow" in sys.modules and "triton" not in sys.modules:
        # Python's own way to say that a module is not there: PyTorch asks by importing it.
        sys.modules["triton"] = None  # type: ignore[assignment]
