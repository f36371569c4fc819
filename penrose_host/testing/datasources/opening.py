"""Promises about opening, refusing and closing."""

from __future__ import annotations

from penrose_host.errors import SourceError, WrongStream
from penrose_host.testing.datasources.base import SourceChecks, Whole
from penrose_host.testing.datasources.reading import check_same
from penrose_host.testing.promises import Broken, promise, raised_by, told
from penrose_host.testing.watching import Held

__all__ = ["OpeningPromises"]


class OpeningPromises(SourceChecks):
    """`open`, `stamps`, `expect`, `close`."""

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
        self.needs_seek()
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
        self.needs_seek()
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
                f"{name!r} was changed, and `expect` with `open` {told(error)}.",
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
        sources = [self.make(), self.make()]
        for number, source in enumerate(sources):
            held = Held()
            source.open(dict.fromkeys(source.partitions()))
            source.read(4, 0.1)
            source.close()
            # What stays from the first time belongs to libraries, which are loaded once.
            if number and (left := held.more(self.patience)):
                raise Broken(f"{', '.join(left)} stayed open.", "close it, also when reading was cut short.")

    def _refuses(self, assignment: dict[str, int | None]) -> None:
        source = self.make()
        error = raised_by(lambda: source.open(assignment))
        source.close()
        if not isinstance(error, WrongStream | SourceError):
            raise Broken(
                f"open({assignment}) {told(error)}.", "raise `WrongStream`, saying what the stream has instead."
            )

    def _stamps(self, whole: Whole) -> dict[str, str]:
        """The stamps after everything was read."""
        source = self.make()
        try:
            source.open(dict.fromkeys(whole.names))
            for _ in self.follow(whole, source, {}, 16):
                pass
            return dict(source.stamps())
        finally:
            source.close()
