"""Promises about pausing, ending, refusing and closing."""

from __future__ import annotations

import time
from collections.abc import Collection

from penrose_host.errors import SourceError, WrongStream
from penrose_host.interfaces import DataSource, EndOfStream, Lag
from penrose_host.testing.datasources.base import SourceChecks, Whole
from penrose_host.testing.datasources.reading import Rows, check_same, chunks, collect, next_offsets
from penrose_host.testing.promises import Broken, promise, raised_by
from penrose_host.testing.watching import Held

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
                for _, chunk in chunks(source, [3], self.patience):
                    collect(chunk, rows)
                    break
                before = len(rows[name])
                source.pause([name])
                self._drain(source, whole, rows, paused=[name])
                if len(rows[name]) > before:
                    raise Broken(
                        f"while {name!r} was paused it gave {rows[name][before]}.",
                        "hold back what has been read of a paused partition already.",
                    )
                source.pause(())
                for _, chunk in chunks(source, [5], self.patience):
                    collect(chunk, rows)
                    if whole.covered(rows):
                        break
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
        for name in {names[0], names[-1]} if whole.bounded and len(whole.names) > 1 else ():
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
        rows: Rows = {name: [] for name in whole.names}
        try:
            source.open(dict.fromkeys(whole.names))
            for _, chunk in chunks(source, [7], self.patience):
                fresh: Rows = {}
                collect(chunk, fresh)
                if back := sorted(gone & fresh.keys()):
                    raise Broken(f"{back} gave rows after `ended` had named them.", "name only what is over.")
                collect(chunk, rows)
                gone |= set(source.ended())
                if whole.covered(rows):
                    break
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
            rows: Rows = {}
            for _, chunk in chunks(source, [16], self.patience):
                collect(chunk, rows)
                lags.append(source.lag())
                if whole.covered(rows):
                    break
        finally:
            source.close()
        for lag in lags:
            if lag is not None and (not isinstance(lag, Lag) or (lag.rows or 0) < 0 or (lag.seconds or 0) < 0):
                raise Broken(f"`lag` gave {lag!r}.", "give a `Lag` with numbers from 0 up, or None.")
        if whole.bounded and (last := lags[-1]) is not None and last.rows:
            raise Broken(f"after the last row `lag` gave {last!r}.", "count what has been handed over as read.")

    @promise
    def test_an_unknown_partition_is_refused(self) -> None:
        """Opening a partition that the stream does not have raises `WrongStream`."""
        self._refuses({"no such partition": None})
        self._refuses({"no such partition": 3})

    @promise
    def test_an_impossible_offset_is_refused(self) -> None:
        """Opening at an offset that cannot be one raises `WrongStream` or `SourceError`: below 0, or beyond the end."""
        whole = self.whole()
        for name, bound in list(whole.bounds.items())[:3]:
            self._refuses({name: -1})
            if whole.bounded:
                self._refuses({name: bound + 1})
                self._refuses({name: bound + 1_000_000})

    @promise
    def test_stamps_are_known_again(self) -> None:
        """What `stamps` gave is text by partition, and a new source expects it and goes on."""
        whole = self.whole()
        stamps = self._stamps(whole)
        if not all(isinstance(text, str) for pair in stamps.items() for text in pair) or stamps.keys() - whole.names:
            raise Broken(f"`stamps` gave {stamps!r}.", "give partition → text, for partitions that were read.")
        again = self.make()
        if (error := raised_by(lambda: again.expect(stamps))) is not None:
            again.close()
            raise Broken(
                f"`expect` refused what `stamps` gave, though nothing changed: {error}", "compare like with like."
            )
        found = self.read(whole, dict.fromkeys(whole.names) | whole.position(whole.halves()), [16], again)
        check_same(whole.rest(whole.halves()), found, "After `expect`", "`expect` must not move anything.")

    @promise
    def test_data_that_changed_is_noticed(self) -> None:
        """A source that gives stamps refuses data that was changed since, with a `SourceError` naming the partition."""
        whole = self.whole()
        stamps = self._stamps(whole)
        if not stamps:
            return
        name = min(stamps)
        try:
            self.change(name)
        except NotImplementedError:
            raise Broken(
                "the source gives stamps, and the test does not know how to change its data.",
                "write the method `change(partition)` in the test class.",
            ) from None
        source = self.make()
        position = dict.fromkeys(whole.names) | whole.position(whole.halves())
        error = raised_by(lambda: source.expect(stamps)) or raised_by(lambda: source.open(position))
        source.close()
        if not isinstance(error, SourceError) or name not in (error.partition, *str(error).split("'")):
            raise Broken(
                f"{name!r} was changed, and `expect` with `open` {_told(error)}.",
                "raise `SourceError(…, partition=…)`: the model has learned from rows that are not there any more.",
            )

    @promise
    def test_close_can_be_called_twice_and_without_open(self) -> None:
        """`close` can be called without `open`, in the middle of the stream, and twice."""
        unopened, source = self.make(), self.make()
        unopened.close()
        unopened.close()
        source.open(dict.fromkeys(source.partitions()))
        source.read(4, 0.1)
        source.close()
        source.close()

    @promise
    def test_close_lets_go_of_files_and_threads(self) -> None:
        """After `close` no file, no socket and no thread of the source is left."""
        for number in range(2):
            held = Held()
            source = self.make()
            source.open(dict.fromkeys(source.partitions()))
            source.read(4, 0.1)
            source.close()
            # What stays from the first time belongs to libraries, which are loaded once.
            if number and (left := held.more(self.patience)):
                raise Broken(f"{', '.join(left)} stayed open.", "close it, also when reading was cut short.")

    def _drain(self, source: DataSource, whole: Whole, rows: Rows, paused: Collection[str]) -> None:
        """Read until all that is not paused was read, and once more."""
        bounds, quiet = whole.bounds, time.monotonic()
        while True:
            reached = next_offsets(rows)
            done = all(reached.get(name, 0) >= bounds[name] for name in whole.names if name not in paused)
            try:
                chunk = source.read(5, 0.05)
            except EndOfStream:
                raise Broken(
                    f"`EndOfStream` was raised while {sorted(paused)} were paused and not at their end.",
                    "return None from `read` as long as a partition is only paused.",
                ) from None
            if chunk is not None and (chunk.batch.num_rows or chunk.rejects):
                collect(chunk, rows)
                quiet = time.monotonic()
            if done or time.monotonic() - quiet >= self.patience:
                return

    def _refuses(self, assignment: dict[str, int | None]) -> None:
        source = self.make()
        error = raised_by(lambda: source.open(assignment))
        source.close()
        if not isinstance(error, WrongStream | SourceError):
            raise Broken(
                f"open({assignment}) {_told(error)}.", "raise `WrongStream`, saying what the stream has instead."
            )

    def _stamps(self, whole: Whole) -> dict[str, str]:
        """The stamps after everything was read."""
        source = self.make()
        try:
            source.open(dict.fromkeys(whole.names))
            rows: Rows = {}
            for _, chunk in chunks(source, [16], self.patience):
                collect(chunk, rows)
                if whole.covered(rows):
                    break
            return dict(source.stamps())
        finally:
            source.close()


def _check_end(source: DataSource, names: Collection[str]) -> None:
    for _ in range(2):
        error = raised_by(lambda: source.read(5, 0.05))
        if not isinstance(error, EndOfStream):
            raise Broken(f"after the last row `read` {_told(error)}.", "raise `EndOfStream`, or declare UNBOUNDED.")
    ended = set(source.ended())
    if ended != set(names) and (ended or len(names) > 1):
        raise Broken(
            f"at the end `ended` gave {sorted(ended)}, and {sorted(set(names) - ended)} not.",
            "name every partition that is over.",
        )


def _told(error: Exception | None) -> str:
    return "raised nothing" if error is None else f"raised {type(error).__name__}: {error}"
