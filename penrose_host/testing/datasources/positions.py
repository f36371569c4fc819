"""Promises about positions: the same rows however they are read, by however many, from wherever."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from penrose_host.contracts.batch import Position
from penrose_host.contracts.plugin import Capability
from penrose_host.testing.datasources.base import SourceChecks, Whole
from penrose_host.testing.datasources.reading import Rows, check_same
from penrose_host.testing.drawing import for_all
from penrose_host.testing.promises import Broken, promise

__all__ = ["PositionPromises"]

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)


class PositionPromises(SourceChecks):
    """Resume, workers, assignments."""

    @promise
    def test_rows_do_not_depend_on_how_many_are_read_at_a_time(self) -> None:
        """The rows of a partition and their order are the same whatever `max_rows` the reads used."""
        whole = self.whole()

        @for_all(self.examples, sizes=SIZES)
        def check(sizes: list[int]) -> None:
            found = self.read(whole, dict.fromkeys(whole.names), sizes)
            check_same(whole.rows, found, f"Read {sizes} rows at a time", "keep what a read left over for the next.")

    @promise
    def test_partitions_do_not_depend_on_the_number_of_workers(self) -> None:
        """However the partitions are split over several sources, each gives the same rows."""
        whole = self.whole()

        @for_all(self.examples, split=st.fixed_dictionaries({name: st.integers(0, 2) for name in whole.names[:16]}))
        def check(split: dict[str, int]) -> None:
            found: Rows = {}
            for worker in sorted({split.get(name, 0) for name in whole.names}):
                own = [name for name in whole.names if split.get(name, 0) == worker]
                found |= self.read(whole, dict.fromkeys(own), [16])
            check_same(whole.rows, found, f"Split over workers as {split}", "never split or join partitions by worker.")

    @promise
    def test_resume_gives_the_next_rows_exactly(self) -> None:
        """Resume reproduces the next rows exactly: a new source, opened at any position, gives what comes after it."""
        self.needs_seek()
        whole = self.whole()

        @for_all(self.examples, counts=_counts(whole), sizes=SIZES)
        def check(counts: dict[str, int], sizes: list[int]) -> None:
            position = whole.position(counts)
            found = self.read(whole, dict.fromkeys(whole.names) | position, sizes)
            check_same(whole.rest(counts), found, f"Opened at {position}", "start each partition at its offset.")

    @promise
    def test_a_larger_assignment_adds_partitions_and_goes_on_with_the_others(self) -> None:
        """Opened again with more partitions, the new ones start where it says and the others go on."""
        whole = self.whole()
        if len(whole.names) == 1:
            return
        seeks = Capability.SEEK in self.make().capabilities
        counts = {name: len(whole.rows[name]) // 2 for name in whole.names[1:]} if seeks else {}
        later = whole.position(counts)
        first: dict[str, int | None] = {whole.names[0]: None}
        source = self.make()
        try:
            source.open(first)
            found: Rows = {name: [] for name in whole.names}
            for number, _ in enumerate(self.follow(whole, source, found, 3)):
                if number == 1:
                    source.open(dict.fromkeys(whole.names) | later | first)
        finally:
            source.close()
        check_same(
            whole.rest(counts),
            whole.cut(found),
            f"Opened with {list(first)}, and after some rows with {whole.names}",
            "open what is new, and leave alone what is open.",
        )

    @promise
    def test_compact_leaves_nothing_out_that_is_still_to_be_read(self) -> None:
        """A compacted position is of the same stream, changes no offset, and resumes with the same rows."""
        self.needs_seek()
        whole = self.whole()
        for counts in (whole.halves(), {name: len(part) for name, part in whole.rows.items()}):
            source = self.make()
            try:
                source.open(dict.fromkeys(whole.names) | whole.position(counts))
                position = Position(source.source_id, whole.position(counts))
                compact = source.compact(position)
            finally:
                source.close()
            if compact.source_id != position.source_id or not compact.offsets.items() <= position.offsets.items():
                raise Broken(f"{position} became {compact}.", "only leave partitions out.")
            start: dict[str, Any] = dict.fromkeys(self.make().partitions()) | dict(compact.offsets)
            found = self.read(whole, start, [16])
            check_same(whole.rest(counts), found, f"From {compact}", "keep partitions that `partitions` still names.")


def _counts(whole: Whole) -> st.SearchStrategy[dict[str, int]]:
    """How many rows of each partition have been read: none, all, or some."""
    return st.fixed_dictionaries(
        {name: st.integers(0, len(part)) | st.sampled_from([0, len(part)]) for name, part in whole.rows.items()}
    )
