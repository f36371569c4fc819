"""Promises about keys, rows and exports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from penrose_host.embeddings.mixing import buckets
from penrose_host.testing.promises import Broken, promise
from penrose_host.testing.tables.base import STEP, TableChecks, difference, exported

__all__ = ["LookupPromises"]


class LookupPromises(TableChecks):
    """`lookup`, `export_rows`, `stats`."""

    @promise
    def test_lookup_gives_one_row_for_each_key(self) -> None:
        """`lookup` gives float32 [n, width] in the order of its keys, for 0 keys too; equal keys get equal rows."""
        table = self.trained(range(2))
        keys = self.keys(table, 9)
        for asked in (keys[:0], keys[:1], keys, np.concatenate([keys, keys[::-1]])):
            for train in (False, True):
                rows = table.lookup(asked, train=train)
                form = f"{getattr(rows, 'dtype', type(rows).__name__)} {list(np.shape(rows))}"
                if form != f"float32 {[len(asked), self.width]}":
                    raise Broken(f"for {len(asked)} keys it gave {form}.", f"give float32 [n, {self.width}].")
                alone = [table.lookup(asked[i : i + 1], train=False)[0] for i in range(len(asked))]
                if not all(np.array_equal(*pair) for pair in zip(rows, alone, strict=True)):
                    raise Broken("a key asked for among others got another row than alone.", "keep the keys' order.")

    @promise
    def test_lookup_gives_a_new_array(self) -> None:
        """What `lookup` gave belongs to the caller: writing into it changes no row, and no step changes it."""
        table = self.trained(range(2))
        keys = self.keys(table, 9)
        for train in (False, True):
            given = table.lookup(keys, train=train)
            kept = given.copy()
            table.apply(keys, np.ones((9, self.width), np.float32), STEP)
            if not np.array_equal(given, kept):
                raise Broken("a step changed rows that had been handed out.", "give a copy.")
            kept = table.lookup(keys, train=False)
            given = table.lookup(keys, train=train)
            given += 1
            if not np.array_equal(table.lookup(keys, train=False), kept):
                raise Broken("writing into what `lookup` gave changed the table.", "give a copy.")

    @promise
    def test_looking_changes_nothing(self) -> None:
        """`lookup(train=False)` leaves the table as it is, and gives unseen keys the rows that training would find."""
        table = self.trained(range(2))
        fresh = self.keys(table, 100)[60:]
        before, stats = self.content(table), table.stats().rows
        served = table.lookup(fresh, train=False)
        if seen := difference(before, self.content(table)):
            raise Broken(f"after `lookup(train=False)`, {seen}.", "make no rows for keys that are only served.")
        if table.stats().rows != stats:
            raise Broken(f"`lookup(train=False)` made {table.stats().rows - stats} rows.", "make none when serving.")
        if not np.array_equal(served, table.lookup(fresh, train=True)):
            raise Broken("unseen keys get other rows with `train` than without.", "serve them their first value.")

    @promise
    def test_first_values_depend_on_seed_and_key_only(self) -> None:
        """The first row of a key follows from the spec's seed and the key: not from order, company, history or name."""
        table = self.table()
        keys = self.keys(table, 30)
        first = table.lookup(keys, train=True)
        ways = {
            "in another order": self.table().lookup(keys[::-1], train=True)[::-1],
            "after other keys were trained": self._after_training(keys),
            "in a table of another name": self.table(name="other").lookup(keys, train=True),
        }
        for way, rows in ways.items():
            if not np.array_equal(first, rows):
                raise Broken(f"{way}, first rows are others.", "draw each from a counter made of seed and key.")
        if np.array_equal(first, self.table(seed=4).lookup(keys, train=True)):
            raise Broken("another seed gives the same first rows.", "let the seed into what is drawn.")

    @promise
    def test_export_rows_are_complete_and_ascending(self) -> None:
        """`export_rows` gives each row once, as `lookup` does, by ascending `key`; `stats` counts them."""
        table = self.trained(range(4))
        trained = np.unique(np.concatenate([self.some_keys(table, seed) for seed in range(4)]))
        for batch in table.export_rows():
            form = f"{batch.schema.field('key').type}, {batch.schema.field('row').type}"
            expected = f"int64, {pa.list_(pa.float32(), self.width)}"
            if form.replace("element", "item") != expected.replace("element", "item"):
                raise Broken(f"its columns `key` and `row` are {form}.", f"give {expected}.")
        keys, rows = exported(table)
        if not (np.diff(keys.astype(object)) > 0).all():
            raise Broken(f"keys come as {keys[:6].tolist()} …", "give each once, in ascending order over all batches.")
        known = trained if table.hash_rows is None else buckets(trained, table.hash_rows)
        place = {key: number for number, key in enumerate(keys.tolist())}
        if missing := [key for key in known.tolist() if key not in place]:
            raise Broken(f"{len(missing)} trained rows are missing, key {missing[0]} one of them.", "export all rows.")
        if not np.array_equal(rows[[place[key] for key in known.tolist()]], table.lookup(trained, train=False)):
            raise Broken("an exported row is not the row that `lookup` gives.", "export rows as they are served.")
        if (count := table.stats().rows) != len(keys):
            raise Broken(f"`stats` counts {count} rows, {len(keys)} were exported.", "count rows in use.")

    def _after_training(self, keys: Any) -> Any:
        table = self.table()
        others = self.keys(table, 60)[30:]
        table.apply(others, self.gradients(others, 1), STEP)
        return table.lookup(keys, train=True)
