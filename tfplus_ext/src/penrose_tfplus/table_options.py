"""The options of a table: the keywords that every face takes, declared once, with their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypedDict

__all__ = ["DEFAULTS", "TableOptions", "with_defaults"]


class TableOptions(TypedDict, total=False):
    """Keywords of `Table` beside its width; `KvVariable` and the Keras layer of TensorFlow take them too.

    * `optimizer`, `initializer`: a name (`optimizers()`, `initializers()`), with parameters by name beside it; those
      not given have their defaults. A row's first value depends on (`seed`, key) only.
    * `admit_count`: a key becomes a row once it was seen so many times in training; `admit_probability`: each time
      it is seen, with this probability. Until then it reads zeros and takes no update.
    * `max_rows`: at this many rows, training raises `TableFull`, or with `at_limit="evict"` gives up the tenth that
      was not seen for longest. No more keys than that wait for admission: the tenth not seen for longest is forgotten.
    * `shards`: parts of the table, each growing alone; a power of two. `threads` share a batch: where not given all
      processors, at most 8. Results depend on neither.
    """

    optimizer: str
    optimizer_parameters: Mapping[str, float]
    initializer: str
    initializer_parameters: Mapping[str, float]
    seed: int
    admit_count: int | None
    admit_probability: float | None
    max_rows: int | None
    at_limit: Literal["fail", "evict"]
    shards: int
    threads: int | None


DEFAULTS: TableOptions = {
    "optimizer": "adagrad",
    "optimizer_parameters": {},
    "initializer": "zeros",
    "initializer_parameters": {},
    "seed": 0,
    "admit_count": None,
    "admit_probability": None,
    "max_rows": None,
    "at_limit": "fail",
    "shards": 64,
    "threads": None,
}


def with_defaults(given: TableOptions) -> TableOptions:
    """All options. Raises ValueError for one that does not exist."""
    unknown = sorted(given.keys() - DEFAULTS.keys())
    if unknown:
        raise ValueError(f"there is no option {unknown[0]!r}; there are {', '.join(DEFAULTS)}")
    return {**DEFAULTS, **given}
