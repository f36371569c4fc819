"""Promises about training steps."""

from __future__ import annotations

import math

import numpy as np

from penrose_host.testing.batches import joined, random_batch, without_labels
from penrose_host.testing.executors.base import ExecutorChecks
from penrose_host.testing.executors.comparing import apart, copied, difference
from penrose_host.testing.promises import Broken, promise

__all__ = ["TrainingPromises"]


class TrainingPromises(ExecutorChecks):
    """`train`."""

    @promise
    def test_training_changes_the_model(self) -> None:
        """A step on labelled rows changes what the executor, or its tables, would save."""
        with self.lab() as lab:
            before = lab.save()
            self.train(lab, range(1))
            if difference(before, lab.save()) is None:
                raise Broken(
                    "after a step the snapshot is the same.",
                    "put everything that training changes into the snapshot, or into tables of `context.tables`.",
                )

    @promise
    def test_train_returns_the_scores_before_the_update(self) -> None:
        """`StepResult.scores` are those that `predict` would have given before the step."""
        with self.lab(2) as lab:
            batch = self.batch(12, 50)
            before = copied(lab.executor.predict(batch))
            if seen := apart(before, lab.train(batch).scores, self.tolerance):
                raise Broken(f"in the step {seen}.", "score first, then update: metrics must not see trained rows.")

    @promise
    def test_losses_are_means_over_labelled_rows(self) -> None:
        """`losses` are means over labelled rows: neither twice the rows nor rows without a label change them."""
        batch = self.batch(12, 50)
        unlabelled = without_labels(self.batch(12, 51))
        losses = {}
        for how, rows in {
            "once": joined(batch),
            "twice": joined(batch, batch),
            "beside as many without a label": joined(batch, unlabelled),
        }.items():
            with self.lab(2) as lab:
                losses[how] = dict(lab.train(rows).losses)
        for how, found in losses.items():
            for head in self.features.labels:
                loss, wanted = found.get(head, math.nan), losses["once"].get(head, math.nan)
                if not math.isclose(loss, wanted, rel_tol=1e-3, abs_tol=self.tolerance):
                    raise Broken(
                        f"with 12 rows {how} the loss of {head!r} is {loss}, with the rows alone {wanted}.",
                        "divide the sum of the losses by the number of labelled rows, whatever is minimised.",
                    )

    @promise
    def test_rows_without_a_label_train_nothing(self) -> None:
        """Rows whose label is NaN are scored in the step, and leave the model as if they had not been there."""
        batch = self.batch(12, 50)
        unlabelled = without_labels(random_batch(self.features, 12, 51))
        # Other ids: nothing but what all rows share could carry over.
        for ids in (unlabelled.ids, *(ragged.values for ragged in unlabelled.lists.values())):
            ids ^= 1 << 40
        probe = joined(batch, unlabelled)
        scores = []
        for rows in (batch, probe):
            with self.lab(2) as lab:
                lab.train(rows)
                scores.append(copied(lab.executor.predict(probe)))
        if seen := apart(scores[0], scores[1], self.tolerance):
            raise Broken(
                f"with 12 rows without a label in the step, {seen}.", "give NaN labels no loss and no gradient."
            )

    @promise
    def test_a_head_without_any_label_stops_no_other(self) -> None:
        """A step in which one head has no label at all is applied, and the losses of the others are finite."""
        for empty in self.features.labels if len(self.features.labels) > 1 else ():
            batch = joined(self.batch(12, 50))
            batch.labels[empty][:] = np.nan
            with self.lab(2) as lab:
                result = lab.train(batch)
            others = {head: result.losses.get(head, math.nan) for head in self.features.labels if head != empty}
            if not result.applied or not all(map(math.isfinite, others.values())):
                raise Broken(
                    f"without labels of {empty!r}, applied is {result.applied} and the losses are {others}.",
                    "take the mean over no rows as no loss at all.",
                )

    @promise
    def test_a_step_that_is_not_finite_applies_nothing_and_says_so(self) -> None:
        """Where a loss or a gradient is not finite the step changes nothing and returns `applied=False`."""
        batch = self.non_finite_batch()
        if batch is None:
            return
        with self.lab(2) as lab:
            before = lab.save()
            result = lab.train(batch)
            if result.applied:
                raise Broken(
                    f"losses {dict(result.losses)}, and `applied` is True.",
                    "look at losses and gradients before applying them; return `applied=False`.",
                )
            if seen := difference(before, lab.save()):
                raise Broken(f"`applied` is False, and yet {seen}.", "check first, then change.")

    @promise
    def test_equal_seeds_and_steps_give_equal_bytes(self) -> None:
        """Two executors with equal options, seed and batches save equal bytes."""
        saved = []
        for _ in range(2):
            with self.lab(3) as lab:
                saved.append(lab.save())
        if seen := difference(*saved):
            raise Broken(
                f"after three equal steps {seen}.",
                "draw random numbers from the seed in the context only, and write names in a fixed order.",
            )
