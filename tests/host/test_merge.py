"""The merge of partitions: its order, and what it costs where there are many."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from rows_support import make_rows

from penrose_host.core import merge as module
from penrose_host.core.merge import Merge
from penrose_host.core.partition_names import Names

ARRIVALS = st.lists(st.tuples(st.sampled_from("abcd"), st.lists(st.integers(0, 6), max_size=4)), max_size=30)


@given(ARRIVALS, st.data())
def test_rows_come_out_by_clock_and_partition_whenever_they_are_asked_for(
    arrivals: list[tuple[str, list[int]]], data: st.DataObject
) -> None:
    merge = Merge("event_time", Names())
    merge.assign("abcd")
    clocks: dict[str, int] = dict.fromkeys("abcd", -1)
    offsets = dict.fromkeys("abcd", 0)
    expected, found = [], []

    def take(*, everything: bool = False) -> None:
        if (taken := merge.take(everything=everything)) is not None:
            rows, when = taken
            codes = [rows.names[code] for code in rows.partition]
            found.extend(zip(when.tolist(), codes, rows.offset.tolist(), strict=True))

    for name, times in arrivals:
        if times:
            start = offsets[name]
            offsets[name] += len(times)
            rows = make_rows(times, partition=[name] * len(times), offset=list(range(start, offsets[name])))
            merge.add(rows)
            for place, time in enumerate(times, start=start):
                clocks[name] = max(clocks[name], time)
                expected.append((clocks[name], name, place))
        if data.draw(st.booleans()):
            take()
            # What came out is all that is certain: nothing that waits could go on.
            if -1 not in clocks.values():
                bound = min((clock, name) for name, clock in clocks.items())
                assert len(found) == sum((clock, name) <= bound for clock, name, _ in expected)
            else:
                assert not found
    take(everything=True)
    assert found == sorted(expected)


def test_partitions_that_cannot_go_on_are_not_looked_at_for_each_new_row(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    cut = module._certain

    def counted(*arguments: object) -> object:
        nonlocal looked
        looked += 1
        return cut(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_certain", counted)
    count = 500
    names = [f"p{number:04d}" for number in range(count)]
    merge = Merge("event_time", Names())
    merge.assign(names)
    for time, name in enumerate(names):
        merge.add(make_rows([time], partition=[name]))
        merge.end([name])
        merge.take()
    merge.take(everything=True)
    assert merge.pending() == []
    assert looked <= 2 * count


def test_a_partition_that_is_far_ahead_is_told_until_the_others_have_caught_up() -> None:
    merge = Merge("event_time", Names())
    merge.assign("ab")
    merge.add(make_rows(list(range(module.AHEAD)), partition=["a"] * module.AHEAD))
    assert merge.take() is None
    assert merge.ahead() == {"a"}
    merge.add(make_rows([5], partition=["b"]))
    assert merge.take() is not None
    assert merge.ahead() == frozenset()
