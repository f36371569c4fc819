"""What an export runs: ids in, probabilities out, with the embeddings inside and nothing of Penrose."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from penrose_host import FeatureSpec
from penrose_host.embeddings import MULTIPLIERS, Initializer

__all__ = ["ExportedLayer", "ExportedTable", "Servable"]


def _shifted(value: Tensor, bits: int) -> Tensor:
    """`value >> bits` as if it were unsigned: PyTorch's own shift repeats the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _buckets(keys: Tensor, rows: int) -> Tensor:
    """`penrose_host.embeddings.mixing.buckets`."""
    first, second = (_signed(multiplier) for multiplier in MULTIPLIERS)
    hashed = keys * first
    hashed = (hashed ^ _shifted(hashed, 32)) * second
    return (_shifted(hashed, 32) * rows) >> 32


def _mixed(value: Tensor) -> Tensor:
    """The finaliser of `penrose_host.embeddings.initializers`."""
    value = (value ^ _shifted(value, 30)) * _signed(0xBF58476D1CE4E5B9)
    value = (value ^ _shifted(value, 27)) * _signed(0x94D049BB133111EB)
    return value ^ _shifted(value, 31)


class _FirstRows(nn.Module):
    """The rows of keys that were never trained: int64 [n] → float32 [n, width], as `Initializer.rows` gives them."""

    def __init__(self, initializer: Initializer) -> None:
        super().__init__()
        self.name, self.given = initializer.name, dict(initializer.parameters)
        self.width = initializer.width
        self.register_buffer("start", _mixed(torch.tensor(_signed(initializer.seed % 2**64))))
        column = torch.arange(1, initializer.width + 1) * _signed(0x9E3779B97F4A7C15)
        self.register_buffer("column", column)
        self.start: Tensor
        self.column: Tensor

    def forward(self, keys: Tensor) -> Tensor:
        if self.name in ("zeros", "constant"):
            return torch.full((keys.shape[0], self.width), self.given.get("value", 0.0))
        numbers = _mixed(_mixed(keys + self.start)[:, None] + self.column)
        if self.name == "uniform":
            low, high = self.given["low"], self.given["high"]
            return (low + (high - low) * (_shifted(numbers, 11).double() * 2.0**-53)).float()
        radius = torch.sqrt(-2.0 * torch.log((_shifted(numbers, 32).double() + 0.5) * 2.0**-32))
        angle = (2.0 * math.pi) * ((numbers & 0xFFFFFFFF).double() * 2.0**-32)
        mean, stddev = self.given["mean"], self.given["stddev"]
        return (mean + stddev * (radius * torch.cos(angle))).float()


class ExportedTable(nn.Module):
    """Rows of a table by ascending key: int64 [n] → float32 [n, width]. There is at least one row."""

    def __init__(self, keys: Tensor, rows: Tensor, hash_rows: int | None, initializer: Initializer) -> None:
        super().__init__()
        self.register_buffer("keys", keys)
        self.register_buffer("rows", rows)
        self.keys: Tensor
        self.rows: Tensor
        self.hash_rows = hash_rows
        self.first = _FirstRows(initializer)

    def forward(self, ids: Tensor) -> Tensor:
        keys = ids if self.hash_rows is None else _buckets(ids, self.hash_rows)
        at = torch.searchsorted(self.keys, keys).clamp(max=self.keys.shape[0] - 1)
        return torch.where((self.keys[at] == keys)[:, None], self.rows[at], self.first(keys))


class ExportedLayer(nn.Module):
    """The rows of an embedding layer that keys are hashed into."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.weight: Tensor

    def forward(self, ids: Tensor) -> Tensor:
        return self.weight[_buckets(ids, self.weight.shape[0])]


class Servable(nn.Module):
    """The whole model over three inputs, given by name (see `features.json`), for any number of rows."""

    def __init__(self, features: FeatureSpec, embedding: nn.Module, model: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.embedding = embedding
        self.model = model

    def forward(self, ids: Tensor, numeric: dict[str, Tensor], lists: dict[str, Any]) -> dict[str, Tensor]:
        rows, categorical = ids.shape[0], len(self.features.categorical)
        single = self.embedding(ids.reshape(rows * categorical))
        width = single.shape[1]
        slots = [single.reshape(rows, categorical, width)]
        for feature in self.features.lists:
            values, lengths = lists[feature.name]
            ends = lengths.cumsum(0)
            row = torch.searchsorted(ends, torch.arange(values.shape[0]), right=True)
            pooled = single.new_zeros(rows, width).index_add(0, row, self.embedding(values))
            if feature.combiner == "mean":
                pooled = pooled / lengths.clamp(min=1)[:, None]
            slots.append(pooled[:, None])
        numbers = [numeric[name][:, None] for name in self.features.numeric]
        logits = self.model(torch.cat(slots, 1), torch.cat([single.new_zeros(rows, 0), *numbers], 1))
        scores = torch.sigmoid(logits)
        return {head: scores[:, place] for place, head in enumerate(self.features.labels)}
