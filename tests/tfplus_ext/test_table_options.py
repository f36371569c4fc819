"""The options of tables: declared once, with defaults, and back from what they were resolved to."""

from __future__ import annotations

import json
from typing import get_type_hints

import pytest

from penrose_tfplus import TableOptions, initializers, optimizers
from penrose_tfplus.resolved_options import resolve
from penrose_tfplus.table_options import DEFAULTS

CASES: list[TableOptions] = [
    {},
    *(TableOptions(optimizer=name) for name in optimizers()),
    *(TableOptions(initializer=name) for name in initializers()),
    {"optimizer_parameters": {"learning_rate": 0.25}, "seed": -1, "shards": 8},
    {"admit_count": 3, "max_rows": 10, "at_limit": "evict"},
    {"admit_probability": 0.25},
]


def test_every_option_has_a_default() -> None:
    assert list(DEFAULTS) == list(get_type_hints(TableOptions))
    assert resolve(3, {}) == resolve(3, DEFAULTS)


@pytest.mark.parametrize("given", CASES, ids=range(len(CASES)))
def test_resolved_options_come_back_as_options_that_json_can_hold(given: TableOptions) -> None:
    resolved = resolve(3, {**given, "threads": 2})
    kept = resolved.table_options
    assert list(kept) == [name for name in DEFAULTS if name != "threads"]
    read: TableOptions = json.loads(json.dumps(kept))
    assert resolve(3, {**read, "threads": 2}) == resolved
