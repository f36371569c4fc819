"""Promises about scores, and about the arrays that go in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from penrose_host.contracts.batch import EncodedBatch
from penrose_host.testing.batches import arrays, frozen, joined, without_labels
from penrose_host.testing.executors.base import ExecutorChecks
from penrose_host.testing.executors.comparing import apart, copied, difference
from penrose_host.testing.promises import Broken, promise

__all__ = ["ScorePromises"]


class ScorePromises(ExecutorChecks):
    """`predict`, and batches."""

    @promise
    def test_every_row_gets_a_score_for_every_head(self) -> None:
        """`predict` and `train` give each head float32 [rows] from 0 to 1; `predict` also for 0, 1 and 2 rows."""
        with self.lab(3) as lab:
            for rows in (0, 1, 2, 17):
                self._check_scores(lab.executor.predict(self.batch(rows, 50)), rows, "predict")
            for rows in (1, 2, 17):
                self._check_scores(lab.train(self.batch(rows, 60)).scores, rows, "train")

    @promise
    def test_predict_changes_nothing(self) -> None:
        """Scoring leaves the state as it is, to the byte, and gives the same scores again."""
        with self.lab(2) as lab:
            before = lab.save()
            first = copied(lab.executor.predict(self.batch(9, 50)))
            if seen := difference(before, lab.save()):
                raise Broken(
                    f"after `predict` {seen}.", "keep counters, caches and random generators out of `predict`."
                )
            if seen := apart(first, lab.executor.predict(self.batch(9, 50)), 0):
                raise Broken(f"scored twice, {seen}.", "switch off what is random, such as dropout, in `predict`.")

    @promise
    def test_scores_stay_as_they_were_given(self) -> None:
        """Scores that were handed out do not change when more rows are scored or trained."""
        with self.lab(2) as lab:
            batch = self.batch(9, 50)
            given = {"predict": lab.executor.predict(batch), "train": lab.train(batch).scores}
            kept = {method: copied(scores) for method, scores in given.items()}
            lab.executor.predict(self.batch(9, 51))
            lab.train(self.batch(9, 52))
            for method, scores in given.items():
                if seen := apart(kept[method], scores, 0):
                    raise Broken(
                        f"later on, of `{method}`, {seen}.", "give new arrays, not a buffer that is used again."
                    )

    @promise
    def test_a_slice_counts_as_the_rows_it_shows(self) -> None:
        """A slice of a batch, whose lists do not start at 0, is scored and trained like a copy of its rows."""
        whole = self.batch(20, 50)
        part = whole.slice(5, 14)
        with self.lab(2) as lab:
            if seen := apart(lab.executor.predict(joined(part)), lab.executor.predict(part), self.tolerance):
                raise Broken(f"rows 5 to 14 of 20, {seen}.", "read `values[offsets[0]:offsets[-1]]` of a list feature.")
            lab.train(part)
            sliced = lab.executor.predict(whole)
        with self.lab(2) as lab:
            lab.train(joined(part))
            if seen := apart(lab.executor.predict(whole), sliced, self.tolerance):
                raise Broken(f"after training on rows 5 to 14 of 20, {seen}.", "train on the rows of the slice only.")

    @promise
    def test_arrays_handed_in_are_never_changed(self) -> None:
        """Neither `predict` nor `train` writes into the arrays of a batch: they are shared, and may be read-only."""
        with self.lab(1) as lab:
            writable = joined(self.batch(9, 50), without_labels(self.batch(3, 51)))
            for batch in (frozen(writable), writable):
                before = [(what, array.copy()) for what, array in arrays(batch)]
                self._use(lab.executor.predict, batch)
                self._use(lab.train, batch)
                for (what, kept), (_, array) in zip(before, arrays(batch), strict=True):
                    if kept.tobytes() != array.tobytes():
                        raise Broken(f"{what} was written into.", "copy it before changing it.")

    def _use(self, method: Any, batch: EncodedBatch) -> None:
        try:
            method(batch)
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            raise Broken(f"`{method.__name__}` wrote into a read-only array.", "copy it before changing it.") from error

    def _check_scores(self, scores: Mapping[str, Any], rows: int, method: str) -> None:
        if set(scores) != set(self.features.labels):
            raise Broken(f"`{method}` scored {list(scores)}.", f"score the heads {list(self.features.labels)}.")
        for head, score in scores.items():
            if not isinstance(score, np.ndarray) or score.dtype != np.float32 or score.shape != (rows,):
                form = f"{getattr(score, 'dtype', type(score).__name__)} {list(np.shape(score))}"
                raise Broken(f"for {rows} rows `{method}` gave {head!r} as {form}.", f"give float32 [{rows}].")
            if not ((score >= 0) & (score <= 1)).all():
                raise Broken(
                    f"`{method}` gave {head!r} {score[~((score >= 0) & (score <= 1))][0]}.", "give probabilities."
                )
