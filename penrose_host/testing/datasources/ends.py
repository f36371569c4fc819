"""Promises about pausing, ending, refusing and closing."""

from __future__ import annotations

import time
from collections.abc import Collection

from penrose_host.contracts.datasource import DataSource, EndOfStream, Lag
from penrose_host.testing.datasources.base import SourceChecks, Whole
from penrose_host.testing.datasources.reading import Rows, check_same, collect, next_offsets, rows_of
from penrose_host.testing.promises import Broken, promise, raised_by, told

__all__ = ["EndPromises"]


class EndPromises(SourceChecks):
    """What happens when rows must not come, do not come any more, or cannot come."""

    @promise
    def test_paused_partitions_give_no_rows_and_lose_none(self) -> None:
        """While a partition is paused `read` gives none of its rows, and when it goes on none is missing."""
        whole = self.whole()
        for name in whole.names[:3] if len(whole.names) > 1 else ():
            source = self.make()
            rows: Rows = {other: [] for other in whole.names}
            try:
                source.open(dict.fromkeys(whole.names))
                next(self.follow(whole, source, rows, 3), None)
                before = len(rows[name])
                source.pause([name])
                self._drain(source, whole, rows, paused=[name])
                if len(rows[name]) > before:
                    raise Broken(
                        f"while {name!r} was paused it gave {rows[name][before]}.",
                        "hold back what has been read of a paused partition already.",
                    )
                source.pause(())
                for _ in self.follow(whole, source, rows, 5):
                    pass
            finally:
                source.close()
            check_same(
                whole.rows, whole.cut(rows), f"After {name!r} had been paused", "pausing must not move its offset."
            )

    @promise
    def test_a_partition_ends_by_itself(self) -> None:
        """A partition that has given its last row stands in `ended`, even while all others are paused."""
        whole = self.whole()
        names = [name for name in whole.names if whole.rows[name]]
        for name in dict.fromkeys([names[0], names[-1]]) if whole.bounded and len(whole.names) > 1 else ():
            source = self.make()
            others = [other for other in whole.names if other != name]
            try:
                source.open(dict.fromkeys(whole.names))
                source.pause(others)
                self._drain(source, whole, {other: [] for other in whole.names}, paused=others)
                ended = list(source.ended())
            finally:
                source.close()
            if name not in ended:
                raise Broken(
                    f"all rows of {name!r} were read and {others} paused, but `ended` gave {ended}.",
                    "name it in `ended`: an event-time merge would wait for it for ever.",
                )

    @promise
    def test_the_end_of_the_stream_is_told(self) -> None:
        """`EndOfStream` is raised, each time, once all partitions have ended; what has ended gives no more rows."""
        whole = self.whole()
        source = self.make()
        gone: set[str] = set()
        try:
            source.open(dict.fromkeys(whole.names))
            for chunk in self.follow(whole, source, {}, 7):
                if back := sorted(gone & {name for name, _ in rows_of(chunk)}):
                    raise Broken(f"{back} gave rows after `ended` had named them.", "name only what is over.")
                gone |= set(source.ended())
            if whole.bounded:
                _check_end(source, whole.names)
            if strangers := sorted({*gone, *source.ended()} - set(whole.names)):
                raise Broken(f"`ended` names {strangers}, which were not assigned.", "name assigned partitions only.")
        finally:
            source.close()

    @promise
    def test_lag_counts_down_to_nothing(self) -> None:
        """`lag` is None or counts what is not yet read: never below 0, and 0 rows at the end."""
        whole = self.whole()
        source = self.make()
        try:
            source.open(dict.fromkeys(whole.names))
            lags = [source.lag()]
            lags += [source.lag() for _ in self.follow(whole, source, {}, 16)]
        finally:
            source.close()
        for lag in lags:
            if lag is not None and (not isinstance(lag, Lag) or (lag.rows or 0) < 0 or (lag.seconds or 0) < 0):
                raise Broken(f"`lag` gave {lag!r}.", "give a `Lag` with numbers from 0 up, or None.")
        if whole.bounded and (last := lags[-1]) is not None and last.rows:
            raise Broken(f"after the last row `lag` gave {last!r}.", "count what has been handed over as read.")

    def _drain(self, source: DataSource, whole: Whole, rows: Rows, paused: Collection[str]) -> None:
        """Read until all that is not paused was read, and once more."""
        bounds, quiet = whole.bounds, time.monotonic()
        while True:
            reached = next_offsets(rows)
            done = all(reached.get(name, 0) >= bounds[name] for name in whole.names if name not in paused)
            try:
                chunk = source.read(5, 0.05)
            except EndOfStream:
                if all(reached.get(name, 0) >= bounds[name] for name in paused):
                    return
                raise Broken(
                    f"`EndOfStream` was raised while {sorted(paused)} were paused and not at their end.",
                    "return None from `read` as long as a partition is only paused.",
                ) from None
            if chunk is not None and (chunk.batch.num_rows or chunk.rejects):
                collect(chunk, rows)
                quiet = time.monotonic()
            if done or time.monotonic() - quiet >= self.patience:
                return


def _check_end(source: DataSource, names: Collection[str]) -> None:
    for _ in range(2):
        error = raised_by(lambda: source.read(5, 0.05))
        if not isinstance(error, EndOfStream):
            raise Broken(f"after the last row `read` {told(error)}.", "raise `EndOfStream`, or declare UNBOUNDED.")
    ended = set(source.ended())
    if ended != set(names) and (ended or len(names) > 1):
        raise Broken(
            f"at the end `ended` gave {sorted(ended)}, and {sorted(set(names) - ended)} not.",
            "name every partition that is over.",
        )
