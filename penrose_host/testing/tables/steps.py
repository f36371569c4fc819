"""Promises about steps, and about tables as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from penrose_host.errors import ConfigError, TrainingError
from penrose_host.testing.promises import Broken, promise, raised_by, told
from penrose_host.testing.tables.base import STEP, TableChecks, difference

__all__ = ["StepPromises"]


class StepPromises(TableChecks):
    """`table` and `apply`."""

    @promise
    def test_any_int64_is_a_legal_key(self) -> None:
        """The smallest and the largest int64, -1 and 0 are keys like all others: each has a row and is trained."""
        table = self.table(optimizer=("sgd", {"learning_rate": 0.5}))
        for key in self.keys(table, 5):
            one = np.array([key])
            before = table.lookup(one, train=True)
            table.apply(one, np.ones((1, self.width), np.float32), STEP)
            moved = before - table.lookup(one, train=False)
            if not np.allclose(moved, 0.5, atol=1e-5):
                raise Broken(
                    f"a step of 0.5 moved the row of key {key} by {moved[0].tolist()}.", "keep no key for yourself."
                )

    @promise
    def test_repeated_keys_are_summed_first(self) -> None:
        """Gradients of a key that stands more than once in a step are added up, and applied once."""
        one, other = self.trained(range(2)), self.trained(range(2))
        keys = self.keys(one, 30)
        gradients = self.gradients(keys, 1)
        one.apply(np.concatenate([keys, keys]), np.concatenate([gradients, gradients / 2]), STEP)
        other.apply(keys, gradients * np.float32(1.5), STEP)
        if seen := difference(self.content(other), self.content(one)):
            raise Broken(f"with each key twice, {seen}.", "sum the gradients of a key before its optimizer sees them.")

    @promise
    def test_the_order_of_keys_does_not_matter(self) -> None:
        """A step with its keys in another order gives the same table, to the bit, where the sums are exact."""
        one, other = self.trained(range(2)), self.trained(range(2))
        keys = np.tile(self.keys(one, 30), 3)
        gradients = self.gradients(keys, 1)
        one.apply(keys, gradients, STEP)
        other.apply(keys[::-1].copy(), gradients[::-1].copy(), STEP)
        if seen := difference(self.content(one), self.content(other)):
            raise Broken(f"with the keys turned round, {seen}.", "let no key's update depend on another's.")

    @promise
    def test_a_step_changes_the_rows_of_its_keys_only(self) -> None:
        """`apply` moves the rows of its keys against their gradients, and leaves all other rows as they are."""
        table = self.table(optimizer=("sgd", {"learning_rate": 0.5}))
        keys = self.keys(table, 40)
        self.step(table, keys, 0)
        before = table.lookup(keys, train=True)
        gradients = self.gradients(keys[:10], 1)
        table.apply(keys[:10], gradients, STEP)
        table.apply(keys[:0], gradients[:0], STEP)
        after = table.lookup(keys, train=False)
        if not np.allclose(after[:10], before[:10] - 0.5 * gradients, atol=1e-6):
            raise Broken(
                "`sgd` with learning rate 0.5 did not give row - 0.5 * gradient.",
                "follow the optimizer of the spec.",
            )
        if not np.array_equal(after[10:], before[10:]):
            raise Broken("rows of other keys changed.", "update only the keys of the step.")

    @promise
    def test_arrays_handed_in_are_never_changed(self) -> None:
        """Neither `lookup` nor `apply` writes into its arrays: they are shared, and may be read-only."""
        table = self.trained(range(1))
        for writable in (False, True):
            keys = np.tile(self.keys(table, 9), 2)
            gradients = self.gradients(keys, 1)
            kept = keys.copy(), gradients.copy()
            keys.flags.writeable = gradients.flags.writeable = writable
            error = raised_by(lambda k=keys, g=gradients: self._use(table, k, g))  # type: ignore[misc]
            if isinstance(error, ValueError) and "read-only" in str(error):
                raise Broken("a read-only array was written into.", "copy it before changing it.") from error
            if error is not None:
                raise error
            if not (np.array_equal(keys, kept[0]) and np.array_equal(gradients, kept[1])):
                raise Broken("keys or gradients were written into.", "copy them before changing them.")

    @promise
    def test_what_does_not_fit_changes_nothing(self) -> None:
        """Keys or gradients of a wrong shape or type raise `TrainingError`, and the table is unchanged."""
        table = self.trained(range(2))
        keys = self.keys(table, 3)
        gradients = self.gradients(keys, 1)
        wrong: dict[str, tuple[Any, Any]] = {
            "a gradient less than keys": (keys, gradients[:2]),
            "gradients too wide": (keys, np.ones((3, self.width + 1), np.float32)),
            "gradients without rows": (keys, gradients[0]),
            "float64 gradients": (keys, gradients.astype(np.float64)),
            "int32 keys": (np.arange(3, dtype=np.int32), gradients),
            "keys in two dimensions": (keys.reshape(3, 1), gradients),
        }
        before = self.content(table)
        for what, (some_keys, some_gradients) in wrong.items():
            error = raised_by(lambda k=some_keys, g=some_gradients: table.apply(k, g, STEP))  # type: ignore[misc]
            if not isinstance(error, TrainingError):
                raise Broken(f"{what} {told(error)}.", "raise `TrainingError`, saying what was expected.")
            if seen := difference(before, self.content(table)):
                raise Broken(f"{what} raised an error, and yet {seen}.", "check all of it before changing anything.")

    @promise
    def test_tables_share_nothing(self) -> None:
        """Two tables of one backend are two tables: training one does not change the other."""
        backend, spec = self.make(), self.table().spec
        one, other = backend.table(spec), backend.table(spec)
        before = self.content(other)
        self.train(one, range(2))
        if seen := difference(before, self.content(other)):
            raise Broken(f"after training another table, {seen}.", "keep rows in the table, not in the backend.")

    @promise
    def test_unknown_optimizers_and_initializers_are_refused(self) -> None:
        """`table` raises `ConfigError` for an optimizer, an initializer or a parameter that it does not know."""
        wrong: tuple[dict[str, Any], ...] = (
            {"optimizer": ("no such optimizer", {})},
            {"optimizer": ("sgd", {"no such parameter": 1.0})},
            {"initializer": ("no such initializer", {})},
        )
        for changes in wrong:
            error = raised_by(lambda c=changes: self.table(**c))  # type: ignore[misc]
            if not isinstance(error, ConfigError):
                raise Broken(f"{changes} {told(error)}.", "raise `ConfigError`, naming what there is.")

    @staticmethod
    def _use(table: Any, keys: Any, gradients: Any) -> None:
        table.lookup(keys, train=False)
        table.lookup(keys, train=True)
        table.apply(keys, gradients, STEP)
