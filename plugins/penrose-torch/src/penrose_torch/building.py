"""From options and context to a learner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from penrose_host import ConfigError, TableSpec
from penrose_host.executors import MODELS
from penrose_torch.custom import custom_model
from penrose_torch.inputs import Layout
from penrose_torch.learner import Learner
from penrose_torch.linear import LinearLearner
from penrose_torch.models import Logistic, named_model
from penrose_torch.optimizers import dense_optimizer, sparse_optimizer
from penrose_torch.options import TorchOptions
from penrose_torch.rows import LayerRows, RowSource, TableRows

if TYPE_CHECKING:
    from penrose_host import ExecutorContext

__all__ = ["build"]


def build(options: TorchOptions, context: ExecutorContext) -> Learner:
    """A learner with fresh parameters, which depend on the seed only. Raises `ConfigError`."""
    features = context.features
    if context.parameters is not None:
        raise ConfigError([("executor", "torch keeps its dense parameters itself; it cannot use parameter servers")])
    if not features.labels:
        raise ConfigError([("features.labels", "torch needs at least one label to train for")])
    layout = Layout(features, _device(options.device))
    if not layout.slots and not features.numeric:
        raise ConfigError([("features", "torch needs at least one feature")])
    torch.set_num_threads(options.threads)
    # From here on also the state of dropout and the like: it is part of every checkpoint.
    torch.manual_seed(context.seed % 2**64)
    if options.model in MODELS:
        model = named_model(options, layout.slots, len(features.numeric), len(features.labels))
    else:
        model = custom_model(options, features)
    model.to(layout.device)
    rows = _rows(options, context, model, layout.device)
    optimizer = dense_optimizer(options.dense_optimizer, model.parameters(), layout.device)
    if isinstance(model, Logistic) and isinstance(rows, TableRows) and layout.device.type == "cpu":
        return LinearLearner(options.model, layout, model, rows, optimizer, options.reduction)
    return Learner(options.model, layout, model, rows, optimizer, options.reduction)


def _device(name: str) -> torch.device:
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise ConfigError([("executor.device", "PyTorch finds no CUDA device")], hint="device: auto takes the CPU then")
    return torch.device("cuda" if found and name != "cpu" else "cpu")


def _rows(options: TorchOptions, context: ExecutorContext, model: nn.Module, device: torch.device) -> RowSource:
    width = int(model.width)  # type: ignore[arg-type]
    scale = 0.0 if isinstance(model, Logistic) else options.init_scale
    if context.tables is not None:
        optimizer = (options.optimizer.name, options.optimizer.parameters)
        initializer = ("normal", {"stddev": scale}) if scale else ("zeros", {})
        spec = TableSpec("embeddings", width, optimizer, initializer, context.seed)
        return TableRows(context.tables(spec), device)
    # PyTorch asks to be told; the gradients of its own layer need no checks.
    torch.sparse.check_sparse_tensor_invariants.disable()  # type: ignore[no-untyped-call]
    layer = nn.Embedding(options.embedding_rows, width, sparse=True, _weight=torch.zeros(options.embedding_rows, width))
    nn.init.normal_(layer.weight, std=scale)
    layer.to(device)
    return LayerRows(layer, sparse_optimizer(options.optimizer, layer.weight))
