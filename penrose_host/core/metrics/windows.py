"""Moving windows of the metrics: over the last rows, or over the last stretch of event time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from penrose_host.core.metrics.sums import Sums

if TYPE_CHECKING:
    import numpy.typing as npt

    from penrose_host.contracts.batch import Float32, Int64
    from penrose_host.core.metrics.named_arrays import Arrays

__all__ = ["PANES", "Block", "EventTimeWindow", "RowWindow", "Window"]

#: A window of event time moves in steps of this fraction of its length.
PANES = 24


class Block(NamedTuple):
    """Rows in their order: labels and scores float32 [heads, rows], event times int64 [rows]."""

    labels: Float32
    scores: Float32
    event_time: Int64


class Window(ABC):
    """Takes blocks that are cut at fixed rows; so its content is a function of the rows alone."""

    @abstractmethod
    def add(self, block: Block) -> None:
        """Take a whole block."""

    @abstractmethod
    def sums(self, rest: Block) -> list[Sums]:
        """For each head, the sums of the window that ends with `rest`, rows that no block holds yet."""

    @abstractmethod
    def state(self) -> Arrays:
        """The content; its arrays never change."""

    @abstractmethod
    def restore(self, state: Arrays) -> None:
        """Become what `state` held; the window is empty before."""


class RowWindow(Window):
    """Exactly the last `rows` rows: 8 bytes for each and head."""

    def __init__(self, heads: int, rows: int) -> None:
        self._heads = heads
        self._rows = rows
        self._held = 0
        #: Labels and scores of each block, float32 [2, heads, rows of the block].
        self._blocks: deque[Float32] = deque()

    def add(self, block: Block) -> None:
        self._push(np.array([block.labels, block.scores]))

    def _push(self, block: Float32) -> None:
        self._blocks.append(block)
        self._held += block.shape[2]
        while self._held - self._blocks[0].shape[2] >= self._rows:
            self._held -= self._blocks.popleft().shape[2]

    def sums(self, rest: Block) -> list[Sums]:
        whole = np.concatenate([*self._blocks, np.array([rest.labels, rest.scores])], axis=2)
        labels, scores = whole[:, :, -self._rows :]
        sums = [Sums() for _ in range(self._heads)]
        for head, one in enumerate(sums):
            one.measure(labels[head], scores[head])
        return sums

    def state(self) -> Arrays:
        return {f"block{place}": block for place, block in enumerate(self._blocks)}

    def restore(self, state: Arrays) -> None:
        for block in state.values():
            self._push(block)


class EventTimeWindow(Window):
    """The rows of the newest `PANES` panes, each a `PANES`-th of the window long; 370 KiB for each pane and head.

    The newest pane is the one of the highest event time so far, and only partly full: the window reaches back
    between 23/24 of its length and all of it.
    """

    def __init__(self, heads: int, micros: int) -> None:
        self._heads = heads
        self._pane = -(-micros // PANES)
        self._panes: dict[int, list[Sums]] = {}

    def add(self, block: Block) -> None:
        panes = block.event_time // self._pane
        oldest = self._oldest(panes)
        self._panes = {pane: sums for pane, sums in self._panes.items() if pane >= oldest}
        for pane in np.unique(panes[panes >= oldest]).tolist():
            # What a pane holds is never changed in place: a snapshot may still have to write it.
            sums = [one.copy() for one in self._panes.get(pane) or self._empty()]
            self._measure(sums, block, panes == pane)
            self._panes[pane] = sums

    def sums(self, rest: Block) -> list[Sums]:
        panes = rest.event_time // self._pane
        oldest = self._oldest(panes)
        whole = self._empty()
        for pane in sorted(pane for pane in self._panes if pane >= oldest):
            for one, part in zip(whole, self._panes[pane], strict=True):
                one.add(part)
        self._measure(whole, rest, panes >= oldest)
        return whole

    def state(self) -> Arrays:
        arrays: dict[str, npt.NDArray[Any]] = {"panes": np.array(list(self._panes), dtype=np.int64)}
        for pane, sums in self._panes.items():
            for head, one in enumerate(sums):
                arrays |= {f"{pane}.{head}.totals": one.totals, f"{pane}.{head}.histograms": one.histograms}
        return arrays

    def restore(self, state: Arrays) -> None:
        for pane in state["panes"].tolist():
            names = [f"{pane}.{head}" for head in range(self._heads)]
            self._panes[pane] = [Sums(state[f"{name}.totals"], state[f"{name}.histograms"]) for name in names]

    def _empty(self) -> list[Sums]:
        return [Sums() for _ in range(self._heads)]

    def _oldest(self, panes: Int64) -> int:
        """The oldest pane of the window that has these panes too."""
        newest = max([*self._panes, *([int(panes.max())] if len(panes) else [])], default=0)
        return newest - PANES + 1

    @staticmethod
    def _measure(sums: list[Sums], block: Block, chosen: npt.NDArray[np.bool_]) -> None:
        for head, one in enumerate(sums):
            one.measure(block.labels[head][chosen], block.scores[head][chosen])
