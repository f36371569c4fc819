"""Partition names and the small numbers that stand for them in arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int64

__all__ = ["Names"]


class Names:
    """An append-only list of names: a name keeps its code as long as the run lives."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.all: tuple[str, ...] = ()
        self._codes: dict[str, int] = {}
        self._ranks: Int64 | None = None
        self.add(names)

    def __len__(self) -> int:
        return len(self.all)

    def add(self, names: Iterable[str]) -> None:
        """Make sure that these names have codes."""
        for name in names:
            self.code(name)

    def code(self, name: str) -> int:
        """The code of a name, a new one where it has none yet."""
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self.all)
            self.all += (name,)
            self._ranks = None
        return code

    def ranks(self) -> Int64:
        """Code → place among the sorted names: partitions compare by name, which is equal on every run."""
        if self._ranks is None:
            self._ranks = np.empty(len(self.all), dtype=np.int64)
            order = sorted(range(len(self.all)), key=self.all.__getitem__)
            self._ranks[order] = np.arange(len(self.all))
        return self._ranks
