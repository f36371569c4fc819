"""The one pull loop: silent partitions, bounds, what is unread."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping

import pytest
from run_support import FEATURES, MemoryOptions, MemorySource, batch, make_job

from penrose_host import Capability, Chunk, EndOfStream, Lag
from penrose_host.config.resolve import Resolved
from penrose_host.core.merge import Merge
from penrose_host.core.partition_names import Names
from penrose_host.features import FeatureEncoder, FeaturesConfig
from penrose_host.ingest.feed import Feed
from penrose_host.ingest.reader import Delivery
from penrose_host.training.runtime import run


class Steps(MemorySource):
    """An endless source that gives only what a test lets it give: `steps` are chunks by partition, or a wait."""

    capabilities = frozenset({Capability.SEEK, Capability.UNBOUNDED})

    def __init__(self, steps: Iterable[tuple[str, int] | threading.Event], *, end: bool = False) -> None:
        super().__init__(MemoryOptions())
        self.steps = iter(steps)
        self.end = end
        self.done = threading.Event()

    def read(self, max_rows: int, timeout: float):

        step = next(self.steps, None)
        if step is None:
            self.done.set()
            if self.end:
                raise EndOfStream
            threading.Event().wait(timeout)
            return None
        if isinstance(step, threading.Event):
            assert step.wait(20)
            return None
        name, rows = step
        start, self._next[name] = self._next[name], self._next[name] + rows
        return Chunk(batch(name, list(range(start, start + rows))))

    def ended(self) -> Collection[str]:
        return ()


class Collector:
    """A consumer that keeps rows as they come out of the merge, and stops at `rows`."""

    def __init__(self, rows: int) -> None:
        self.merge = Merge("event_time", Names())
        self.rows = rows
        self.seen: list[int] = []
        self.over = False
        self.before_work: list[object] = []

    def work(self) -> str | None:
        for call in self.before_work:
            call()  # type: ignore[operator]
        if taken := self.merge.take(everything=self.over):
            self.seen += taken[0].event_time.tolist()
        return "rows" if len(self.seen) >= self.rows else None

    def accept(self, delivery: Delivery) -> None:
        if delivery.rows is not None:
            self.merge.add(delivery.rows)

    def end(self, partitions: Iterable[str] | None = None) -> None:
        if partitions is None:
            self.over = True
        else:
            self.merge.end(partitions)

    def idle(self, seconds: float, silent: Collection[str] = ()) -> bool:
        return self.merge.idle(seconds, silent)

    def paused(self) -> Collection[str]:
        return self.merge.ahead()


def feed(source: MemorySource, consumer: Collector, **more: object) -> Feed:
    encoder = FeatureEncoder(FeaturesConfig.model_validate(FEATURES))
    return Feed(source, encoder, {"p0": None, "p1": None}, consumer, **more)  # type: ignore[arg-type]


def test_rows_of_a_partition_that_are_queued_are_not_overtaken_because_it_seems_silent():
    # Both partitions were read long before the consumer looked: while their rows are queued, nobody is silent.
    source, consumer = Steps([("p0", 5), ("p0", 5), ("p0", 5), ("p1", 15)], end=True), Collector(30)
    with feed(source, consumer, idle=1) as pulled:  # a microsecond
        assert source.done.wait(20)
        assert pulled.run() in {"rows", "end-of-stream"}
    assert consumer.seen == sorted(consumer.seen)
    assert len(consumer.seen) == 30


def test_a_partition_is_not_silent_while_nobody_listened():
    # Working took longer than `idle`; what comes after that is still in order.
    slept = threading.Event()
    source, consumer = Steps([("p0", 5), slept, ("p1", 5)], end=True), Collector(10)
    beats = iter([None])

    def work_long() -> None:
        if consumer.merge.pending() and next(beats, 1) is None:
            threading.Event().wait(0.5)
            slept.set()

    consumer.before_work.append(work_long)
    with feed(source, consumer, idle=300_000) as pulled:
        assert pulled.run() in {"rows", "end-of-stream"}
    assert consumer.seen == sorted(consumer.seen)


def test_a_silent_partition_is_let_go_of_though_others_give_rows_all_the_time():
    source, consumer = Steps([("p0", 1)] * 5), Collector(5)
    with feed(source, consumer, idle=100_000) as pulled:
        assert pulled.run() == "rows"
    assert len(consumer.seen) == 5


def test_a_bounded_feed_is_drained_once_nothing_more_can_become_certain():
    class Bounded(Steps):
        def ended(self) -> Collection[str]:
            return ["p0", "p1"] if self.done.is_set() else []

    source, consumer = Bounded([("p0", 5), ("p1", 9)]), Collector(1000)
    with feed(source, consumer, bounded=True) as pulled:
        assert pulled.run() == "drained"
    # Not all: what the other partition may still give in the next run belongs between.
    assert consumer.seen == sorted(consumer.seen)
    assert 0 < len(consumer.seen) < 14


# -- lag --------------------------------------------------------------------------------------------


class Behind(MemorySource):
    """A source that knows exactly what is unread, and counts how often it was asked."""

    def lag(self) -> Lag:
        unread = {name: self.options.rows - offset for name, offset in self._next.items()}
        return Lag(rows=sum(unread.values()), partitions=unread)


def last_lag(job: Resolved) -> Mapping[str, object]:
    lag = run(job).metrics["lag"]
    assert isinstance(lag, Mapping)
    return lag


@pytest.mark.parametrize("bad", [(), (3, 4, 499)])
def test_nothing_is_unread_at_the_end_of_a_stream(tmp_path, bad):
    job = make_job(tmp_path, datasource=Behind, source={"bad": bad, "chunk": 500}, bad_rows="skip")
    assert last_lag(job) == {"rows": 0, "partitions": {"p0": 0, "p1": 0}}


def test_what_is_unread_counts_the_chunk_that_was_just_given(tmp_path):
    job = make_job(tmp_path, datasource=Behind, source={"partitions": 1, "chunk": 500}, until={"rows": 100})
    # Whole micro-batches of 16 rows: 112 were scored.
    assert last_lag(job) == {"rows": 388, "partitions": {"p0": 0}}
