"""The models that have a name.

Each takes `slots`, float32 [rows, slots, width]: one embedding for each categorical and each (pooled) list
feature, and `numeric`, float32 [rows, numbers], and gives logits, float32 [rows, heads]. `width` says how
wide the embeddings must be.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from penrose_torch.options import TorchOptions

__all__ = ["DCN", "FM", "DeepFM", "Linear", "Logistic", "named_model"]


class Linear(nn.Module):
    """Bias and weights of the numeric features, all zero at first: [rows, numbers] → [rows, heads]."""

    def __init__(self, numbers: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(heads)) if bias else None
        self.weight = nn.Parameter(torch.zeros(numbers, heads)) if numbers else None

    def forward(self, logits: Tensor, numeric: Tensor) -> Tensor:
        """`logits` with its own part added."""
        if self.weight is not None:
            logits = logits + numeric @ self.weight
        return logits if self.bias is None else logits + self.bias


class Logistic(nn.Module):
    """Logistic regression: an embedding is one weight for each head."""

    def __init__(self, numbers: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.width = heads
        self.linear = Linear(numbers, heads, bias)

    def forward(self, slots: Tensor, numeric: Tensor) -> Tensor:
        logits: Tensor = self.linear(slots.sum(1), numeric)
        return logits


class FM(nn.Module):
    """Factorization machine: an embedding is, for each head, one weight and `factors` factors."""

    def __init__(self, numbers: int, heads: int, bias: bool, factors: int) -> None:
        super().__init__()
        self.heads, self.factors = heads, factors
        self.width = heads * (1 + factors)
        self.linear = Linear(numbers, heads, bias)

    def forward(self, slots: Tensor, numeric: Tensor) -> Tensor:
        logits: Tensor = self.linear(slots[..., : self.heads].sum(1), numeric)
        factors = slots[..., self.heads :].reshape(slots.shape[0], slots.shape[1], self.heads, self.factors)
        # All pairs at once: half of (the square of the sum, less the sum of the squares).
        pairs = factors.sum(1).square() - factors.square().sum(1)
        return logits + 0.5 * pairs.sum(2)


class DeepFM(nn.Module):
    """A factorization machine, and a network over the same factors."""

    def __init__(self, slots: int, numbers: int, heads: int, bias: bool, factors: int, hidden: list[int]) -> None:
        super().__init__()
        self.fm = FM(numbers, heads, bias, factors)
        self.width = self.fm.width
        self.inputs = slots * heads * factors
        layers, units = _hidden(self.inputs + numbers, hidden)
        self.deep = nn.Sequential(*layers, nn.Linear(units, heads))

    def forward(self, slots: Tensor, numeric: Tensor) -> Tensor:
        factors = slots[..., self.fm.heads :].reshape(slots.shape[0], self.inputs)
        logits: Tensor = self.fm(slots, numeric) + self.deep(torch.cat([factors, numeric], 1))
        return logits


class DCN(nn.Module):
    """Deep and cross network: explicit crosses of all inputs beside a network over them."""

    def __init__(self, slots: int, numbers: int, heads: int, width: int, cross_layers: int, hidden: list[int]) -> None:
        super().__init__()
        self.width = width
        self.inputs = slots * width
        inputs = self.inputs + numbers
        self.crosses = nn.ModuleList(nn.Linear(inputs, inputs) for _ in range(cross_layers))
        layers, units = _hidden(inputs, hidden)
        self.deep = nn.Sequential(*layers)
        self.out = nn.Linear(inputs + units if hidden else inputs, heads)

    def forward(self, slots: Tensor, numeric: Tensor) -> Tensor:
        first = torch.cat([slots.reshape(slots.shape[0], self.inputs), numeric], 1)
        crossed = first
        for cross in self.crosses:
            crossed = first * cross(crossed) + crossed
        if len(self.deep):
            crossed = torch.cat([crossed, self.deep(first)], 1)
        logits: Tensor = self.out(crossed)
        return logits


def _hidden(inputs: int, hidden: list[int]) -> tuple[list[nn.Module], int]:
    """The hidden layers, and how many units come out of them."""
    layers: list[nn.Module] = []
    for units in hidden:
        layers += [nn.Linear(inputs, units), nn.ReLU()]
        inputs = units
    return layers, inputs


def named_model(options: TorchOptions, slots: int, numbers: int, heads: int) -> nn.Module:
    """The model that `options.model` names, for so many slots, numeric features and heads."""
    if options.model == "logistic":
        return Logistic(numbers, heads, options.bias)
    if options.model == "fm":
        return FM(numbers, heads, options.bias, options.width)
    if options.model == "deepfm":
        return DeepFM(slots, numbers, heads, options.bias, options.width, options.hidden)
    return DCN(slots, numbers, heads, options.width, options.cross_layers, options.hidden)
