"""Each promise of datasources is broken by a source that is wrong in one way; a good one keeps them all."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from contract_support import IN_A_PROCESS, Mutants, broken_promises, said_well
from pydantic import BaseModel, ConfigDict, Field, field_serializer

from penrose_host import Capability, Chunk, EndOfStream, Lag, Position, Reject
from penrose_host.errors import SourceError, WrongStream
from penrose_host.testing import DataSourceContract, promises_of
from penrose_host.testing.toys import ToySource

MUTANTS = Mutants()
breaks = MUTANTS.breaks


class Small(DataSourceContract):
    plugin: ClassVar[type[ToySource]]
    rows = 15
    examples = 6
    patience = 0.1

    def make(self) -> ToySource:
        return self.plugin(self.plugin.Options(rows=20))

    def change(self, partition: str) -> None:
        Stamped.content += 1

    def committed(self) -> Mapping[str, int]:
        return dict(CommitsByItself.broker)


class Stamped(ToySource):
    """A good source that stamps what it reads."""

    content: ClassVar[int] = 0

    def stamps(self) -> Mapping[str, str]:
        return dict.fromkeys(self._next, str(self.content))

    def expect(self, stamps: Mapping[str, str]) -> None:
        for name, stamp in stamps.items():
            if stamp != str(self.content):
                raise SourceError(f"partition {name!r} has changed", partition=name)


class Endless(ToySource):
    """A good source that never ends; its third partition stays silent."""

    capabilities = ToySource.capabilities | {Capability.UNBOUNDED}

    def _over(self) -> set[str]:
        return set()

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        paused = self._paused
        self._paused |= {name for name, offset in self._next.items() if name == "p2" or offset >= self.options.rows}
        try:
            return super().read(max_rows, timeout)
        finally:
            self._paused = paused


class OnlyOnePartition(ToySource):
    """A good source that has nothing to pause, and whose `ended` is the inherited one."""

    def partitions(self) -> Sequence[str]:
        return ["p0"]

    def pause(self, partitions: Collection[str]) -> None:
        raise AssertionError("nothing is ever paused")

    def ended(self) -> Collection[str]:
        return ()


class WithRejects(ToySource):
    """A good source some of whose rows are rejected."""

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        chunk = super().read(max_rows, timeout)
        if chunk is None:
            return None
        places = chunk.batch.select(["_partition", "_offset"]).to_pylist()
        bad = [place["_offset"] % 5 == 2 for place in places]
        rejects = (Reject(p["_partition"], p["_offset"], "bad", b"?") for p, b in zip(places, bad, strict=True) if b)
        return Chunk(chunk.batch.filter(pa.array([not b for b in bad])), tuple(rejects))


class EndlessWithRejects(WithRejects, Endless):
    """A good source that never ends, some of whose rows are rejected."""


@pytest.mark.parametrize("good", [ToySource, Stamped, Endless, OnlyOnePartition, WithRejects, EndlessWithRejects])
def test_a_good_source_keeps_every_promise(good: type[ToySource], tmp_path: Path) -> None:
    contract = type("Test", (Small,), {"plugin": good})
    assert broken_promises(contract, tmp_path) == {}


@pytest.mark.parametrize(("mutant", "expected"), MUTANTS)
def test_a_broken_source_breaks_its_promise_and_no_other(mutant: type[Any], expected: set[str], tmp_path: Path) -> None:
    told = broken_promises(type("Test", (Small,), {"plugin": mutant}), tmp_path)
    assert set(told) == expected, told
    assert all(map(said_well, told.values())), told


def test_every_promise_is_broken_by_some_source() -> None:
    assert MUTANTS.broken() == set(promises_of(DataSourceContract)) - {IN_A_PROCESS}


# -- what every plugin promises ----------------------------------------------------------------------


@breaks("api_version_is_one_that_this_host_accepts")
class WrittenForAnotherHost(ToySource):
    api_version = 99


@breaks("options_forbid_what_they_do_not_know")
class TakesAnyOption(ToySource):
    class Options(ToySource.Options):
        model_config = ConfigDict(extra="ignore")


@breaks("options_forbid_what_they_do_not_know")
class HasAnOptionCalledName(ToySource):
    class Options(ToySource.Options):
        name: str = Field("", description="a name")


@breaks("every_option_is_described")
class HidesAnOption(ToySource):
    class Options(ToySource.Options):
        secret: int = 3


@breaks("options_can_be_written_down")
class WritesOptionsItCannotRead(ToySource):
    class Options(ToySource.Options):
        @field_serializer("partitions")
        def _shown(self, value: int) -> str:
            return f"{value} partitions"


@breaks("capabilities_are_known_ones")
class NamesCapabilitiesByText(ToySource):
    capabilities = frozenset({"seek"})  # type: ignore[arg-type]


@breaks("making_one_touches_nothing")
class ListsFilesWhenMade(ToySource):
    def __init__(self, options: BaseModel) -> None:
        super().__init__(options)
        list(Path().iterdir())


@breaks("making_one_touches_nothing")
class StartsAThreadWhenMade(ToySource):
    def __init__(self, options: BaseModel) -> None:
        super().__init__(options)
        threading.Thread(target=threading.Event().wait, args=(0.3,), daemon=True).start()


# -- rows --------------------------------------------------------------------------------------------


@breaks("equal_options_name_the_same_stream")
class RenamesTheStream(ToySource):
    @property
    def source_id(self) -> str:
        return f"toy {len(self._next)}"


@breaks("partitions_are_named_once_each")
class NamesAPartitionTwice(ToySource):
    def partitions(self) -> Sequence[str]:
        return ["p0", "p1", "p2", "p0"]


class Reworked(ToySource):
    """Hands out what `rework` makes of each batch."""

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        chunk = super().read(max_rows, timeout)
        return None if chunk is None else Chunk(self.rework(chunk.batch))

    def rework(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        raise NotImplementedError


@breaks(
    "each_chunk_says_where_its_rows_stand",
    "commit_never_precedes_the_manifest",
    "a_run_stopped_and_resumed_scores_every_row_once",
)
class GivesSmallOffsets(Reworked):
    def rework(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.set_column(1, "_offset", batch.column("_offset").cast(pa.int32()))


@breaks("offsets_ascend_and_stand_once")
class CountsFromBelowZero(Reworked):
    def open(self, assignment: Mapping[str, int | None]) -> None:
        if -1 in assignment.values():
            raise WrongStream("no")
        super().open({name: None if offset is None else offset + 1 for name, offset in assignment.items()})

    def rework(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.set_column(1, "_offset", pc.subtract(batch.column("_offset"), 1))


@breaks("a_chunk_is_no_longer_than_asked_for")
class GivesMoreThanAsked(ToySource):
    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        return super().read(max_rows + 1, timeout)


@breaks("only_assigned_partitions_are_read", "a_larger_assignment_adds_partitions_and_goes_on_with_the_others")
class ReadsEverything(ToySource):
    def open(self, assignment: Mapping[str, int | None]) -> None:
        super().open(dict.fromkeys(self.partitions()) | assignment)


# -- positions ---------------------------------------------------------------------------------------


@breaks("rows_do_not_depend_on_how_many_are_read_at_a_time", "resume_gives_the_next_rows_exactly")
class LosesWhatIsLeftOver(ToySource):
    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        chunk = super().read(max_rows, timeout)
        if chunk is not None and max_rows == 1:
            self._next[chunk.batch.column(0)[0].as_py()] += 1
        return chunk


@breaks(
    "partitions_do_not_depend_on_the_number_of_workers",
    "a_larger_assignment_adds_partitions_and_goes_on_with_the_others",
)
class DependsOnTheAssignment(Reworked):
    def rework(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.append_column("workers", pa.array([len(self._next)] * batch.num_rows))


@breaks("resume_gives_the_next_rows_exactly")
class GoesBackAtOddOffsets(ToySource):
    def open(self, assignment: Mapping[str, int | None]) -> None:
        super().open({name: offset and offset - (0 < offset < 20) * offset % 2 for name, offset in assignment.items()})


@breaks("a_larger_assignment_adds_partitions_and_goes_on_with_the_others")
class StartsOthersAnew(ToySource):
    def open(self, assignment: Mapping[str, int | None]) -> None:
        self._next = {}
        super().open(assignment)


@breaks("a_larger_assignment_adds_partitions_and_goes_on_with_the_others")
class OpensOnce(ToySource):
    def open(self, assignment: Mapping[str, int | None]) -> None:
        if not self._next:
            super().open(assignment)


@breaks("compact_leaves_nothing_out_that_is_still_to_be_read")
class CompactsTooMuch(ToySource):
    def compact(self, position: Position) -> Position:
        return Position(position.source_id, {n: o for n, o in position.offsets.items() if n != "p1"})


@breaks("compact_leaves_nothing_out_that_is_still_to_be_read")
class CompactsToAnotherOffset(ToySource):
    def compact(self, position: Position) -> Position:
        return Position(position.source_id, {n: o + 1 for n, o in position.offsets.items()})


# -- pausing and ending ------------------------------------------------------------------------------


@breaks("paused_partitions_give_no_rows_and_lose_none")
class CannotPause(ToySource):
    def pause(self, partitions: Collection[str]) -> None:
        pass


@breaks("paused_partitions_give_no_rows_and_lose_none")
class LosesRowsOfPaused(ToySource):
    def pause(self, partitions: Collection[str]) -> None:
        super().pause(partitions)
        for name in partitions:
            self._next[name] += 1


@breaks("paused_partitions_give_no_rows_and_lose_none", "a_partition_ends_by_itself")
class EndsWhenPaused(ToySource):
    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        chunk = super().read(max_rows, timeout)
        if chunk is None:
            raise EndOfStream
        return chunk


@breaks("a_partition_ends_by_itself")
class EndsTogether(ToySource):
    def ended(self) -> Collection[str]:
        return self._over() if len(self._over()) == len(self._next) else ()


@breaks("a_partition_ends_by_itself", "the_end_of_the_stream_is_told")
class NeverSaysWhatEnded(ToySource):
    def ended(self) -> Collection[str]:
        return ()


@breaks("the_end_of_the_stream_is_told")
class EndsTooEarly(ToySource):
    def ended(self) -> Collection[str]:
        return {name for name, offset in self._next.items() if offset >= 14}


@breaks("the_end_of_the_stream_is_told")
class EndsOnlyOnce(ToySource):
    _told = False

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        try:
            return super().read(max_rows, timeout)
        except EndOfStream:
            if self._told:
                return None
            self._told = True
            raise


@breaks("lag_counts_down_to_nothing")
class CountsRowsNotLeft(ToySource):
    def lag(self) -> Lag:
        return Lag(rows=sum(self._next.values()))


# -- opening and closing -----------------------------------------------------------------------------


@breaks("an_unknown_partition_is_refused")
class TakesAnyPartition(ToySource):
    def open(self, assignment: Mapping[str, int | None]) -> None:
        super().open({name: offset for name, offset in assignment.items() if name in self.partitions()})


@breaks("an_unknown_partition_is_refused")
class RefusesWithKeyError(ToySource):
    def open(self, assignment: Mapping[str, int | None]) -> None:
        super().open({name: assignment[name] for name in self.partitions() if name in assignment})
        _ = [{"p0": 0, "p1": 1, "p2": 2}[name] for name in assignment]


@breaks("an_impossible_offset_is_refused")
class StartsBelowZero(ToySource):
    def open(self, assignment: Mapping[str, int | None]) -> None:
        super().open({name: offset and max(offset, 0) for name, offset in assignment.items()})


@breaks("an_impossible_offset_is_refused")
class StartsBeyondTheEnd(ToySource):
    def open(self, assignment: Mapping[str, int | None]) -> None:
        super().open({name: offset and min(offset, self.options.rows) for name, offset in assignment.items()})


@breaks("stamps_are_known_again", "a_run_stopped_and_resumed_scores_every_row_once")
class DoesNotKnowItsStamps(Stamped):
    def expect(self, stamps: Mapping[str, str]) -> None:
        super().expect({name: f"{stamp}!" for name, stamp in stamps.items()})


@breaks("stamps_are_known_again")
class StampsWithNumbers(Stamped):
    def stamps(self) -> Mapping[str, Any]:
        return dict.fromkeys(self._next, self.content)

    def expect(self, stamps: Mapping[str, Any]) -> None:
        super().expect({name: str(stamp) for name, stamp in stamps.items()})


@breaks("data_that_changed_is_noticed")
class OverlooksChanges(Stamped):
    def expect(self, stamps: Mapping[str, str]) -> None:
        pass


@breaks(
    "close_can_be_called_twice_and_without_open",
    "commit_never_precedes_the_manifest",
    "a_run_stopped_and_resumed_scores_every_row_once",
)
class ClosesOnce(ToySource):
    closed = False

    def close(self) -> None:
        if self.closed and self._next:
            raise RuntimeError("closed already")
        self.closed = True


@breaks("a_place_for_dead_letters_is_declared")
class PromisesAPlaceForDeadLetters(ToySource):
    capabilities = ToySource.capabilities | {Capability.DEAD_LETTERS}


@breaks("a_place_for_dead_letters_is_declared")
class HidesItsPlaceForDeadLetters(ToySource):
    def dead_letters(self, rejects: Sequence[Reject]) -> None:
        pass


@breaks("close_lets_go_of_files_and_threads")
class LeavesAFileOpen(ToySource):
    def open(self, assignment: Mapping[str, int | None]) -> None:
        super().open(assignment)
        self._left = os.open(os.devnull, os.O_RDONLY)

    def __del__(self) -> None:
        if "_left" in vars(self):
            os.close(self._left)


# -- runs --------------------------------------------------------------------------------------------


@breaks("commit_never_precedes_the_manifest")
class CommitsWhatItReads(ToySource):
    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        chunk = super().read(max_rows, timeout)
        self.commit(Position(self.source_id, self._next))
        return chunk


@breaks("reading_alone_commits_nothing")
class CommitsByItself(ToySource):
    broker: ClassVar[dict[str, int]] = {}

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        chunk = super().read(max_rows, timeout)
        self.broker.update(self._next)
        return chunk


@breaks("a_run_stopped_and_resumed_scores_every_row_once")
class SkipsARowInLargeReads(ToySource):
    reads = 0

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        self.reads += 1
        if max_rows > 10_000 and self.reads == 2:
            self._next["p1"] += 1
        return super().read(max_rows, timeout)
