"""Trainers that own their loop: each batch trained once and in order, and every way to go wrong an error in time."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from penrose_host.errors import PenroseError, TrainingError
from penrose_host.executors import OwnedLoop

Loop = OwnedLoop[int, int]
#: Long enough for whatever goes well, and for what must not need it.
AMPLE = 30.0
SHORT = 0.3


class Toy:
    """A trainer: its model is the list of batches it was trained on."""

    def __init__(self, model: list[int] | None = None, ahead: int = 0):
        self.model = list(model or [])
        self.ahead = ahead
        self.ended = False

    def __call__(self, loop: Loop) -> None:
        for batch in loop.batches() if not self.ahead else prefetched(loop, self.ahead):
            self.model.append(batch)
            loop.acknowledge(len(self.model), batch=batch)
        self.ended = True


def prefetched(loop: Loop, ahead: int) -> Iterator[int]:
    """What `loop` gives, pulled by another thread, up to `ahead` batches before they are asked for here."""
    buffer: queue.Queue[int | None] = queue.Queue(ahead)

    def pull() -> None:
        for batch in loop.batches():
            buffer.put(batch)
        buffer.put(None)

    thread = threading.Thread(target=pull)
    thread.start()
    while (batch := buffer.get(timeout=AMPLE)) is not None:
        yield batch
    thread.join(AMPLE)


@pytest.fixture
def started() -> Iterator[Callable[..., Loop]]:
    """Makes loops, and closes them however the test ends."""
    loops: list[Loop] = []

    def start(train: Callable[[Loop], object], timeout: float = AMPLE) -> Loop:
        loops.append(OwnedLoop(train, name="toy:fit", timeout=timeout))
        return loops[-1]

    yield start
    for loop in loops:
        with contextlib.suppress(PenroseError):
            loop.close()


@given(ahead=st.integers(0, 4), batches=st.lists(st.integers(), max_size=12), calls=st.sets(st.integers(0, 12)))
@settings(deadline=None, max_examples=60)
def test_each_batch_is_trained_once_in_order_however_far_the_trainer_pulls_ahead(
    ahead: int, batches: list[int], calls: set[int]
) -> None:
    toy = Toy(ahead=ahead)
    loop = Loop(toy, name="toy:fit", timeout=AMPLE)
    for number, batch in enumerate(batches):
        if number in calls:
            assert loop.call(lambda: list(toy.model)) == batches[:number]
        assert loop.submit(batch) == number + 1
        # At rest: what was acknowledged is trained, and nothing else.
        assert toy.model == batches[: number + 1]
    loop.close()
    loop.close()
    assert toy.model == batches
    assert toy.ended == bool(batches)


@given(data=st.data(), batches=st.lists(st.integers(), min_size=1, max_size=12), ahead=st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_each_batch_is_trained_once_across_a_restart_from_a_snapshot(
    data: st.DataObject, batches: list[int], ahead: int
) -> None:
    snapshot_at = data.draw(st.integers(0, len(batches)))
    lost = data.draw(st.integers(0, len(batches) - snapshot_at))
    first = Toy(ahead=ahead)
    loop = Loop(first, name="toy:fit", timeout=AMPLE)
    for batch in batches[:snapshot_at]:
        loop.submit(batch)
    snapshot = loop.call(lambda: list(first.model))
    for batch in batches[snapshot_at : snapshot_at + lost]:
        loop.submit(batch)
    loop.close()

    second = Toy(snapshot, ahead)
    loop = Loop(second, name="toy:fit", timeout=AMPLE)
    for batch in batches[snapshot_at:]:
        loop.submit(batch)
    loop.close()
    assert second.model == batches


def test_calls_run_on_the_trainers_thread_and_directly_before_and_after_it(started: Any) -> None:
    loop = started(Toy())
    here = threading.current_thread()
    assert loop.call(threading.current_thread) is here
    loop.submit(1)
    assert loop.call(threading.current_thread).name == "penrose-owned-loop"
    loop.close()
    assert loop.call(threading.current_thread) is here


def test_what_a_call_raises_is_raised_and_training_goes_on(started: Any) -> None:
    loop = started(Toy())
    loop.submit(1)
    with pytest.raises(ZeroDivisionError):
        loop.call(lambda: 1 // 0)
    assert loop.submit(2) == 2


def test_a_call_after_an_interrupted_submit_waits_until_the_batch_is_trained(started: Any) -> None:
    asked, released = threading.Event(), threading.Event()
    model: list[int] = []

    def train(loop: Loop) -> None:
        for batch in loop.batches():
            asked.set()
            assert released.wait(AMPLE)
            model.append(batch)
            loop.acknowledge(batch)

    loop = started(train)
    waiting = loop._changed.wait_for

    # What a signal does: it ends the wait of `submit`, and not the trainer.
    def interrupted(done: Callable[[], bool], timeout: float | None = None) -> bool:
        if threading.current_thread().name == "penrose-owned-loop":
            return bool(waiting(done, timeout))
        waiting(asked.is_set, 0.01)
        raise KeyboardInterrupt

    loop._changed.wait_for = interrupted
    with pytest.raises(KeyboardInterrupt):
        loop.submit(1)
    loop._changed.wait_for = waiting
    released.set()
    assert loop.call(lambda: list(model)) == [1]


def test_a_batch_may_be_none_and_an_outcome_too(started: Any) -> None:
    def train(loop: OwnedLoop[None, None]) -> None:
        for _ in loop.batches():
            loop.acknowledge(None)

    loop = started(train)
    for _ in range(3):
        assert loop.submit(None) is None


def test_a_trainer_without_a_callback_acknowledges_as_it_asks_for_the_next(started: Any) -> None:
    seen: list[int] = []

    def train(loop: Loop) -> None:
        def batches() -> Iterator[int]:
            for batch in loop.batches():
                yield batch
                loop.acknowledge(len(seen))

        for batch in batches():
            seen.append(batch)

    loop = started(train)
    assert [loop.submit(batch) for batch in (5, 6, 7)] == [1, 2, 3]
    assert seen == [5, 6, 7]


def test_the_trainer_learns_from_the_acknowledgement_whether_there_is_more(started: Any) -> None:
    told: list[bool] = []
    loop = started(lambda loop: told.extend(loop.acknowledge(batch) for batch in loop.batches()))
    for batch in range(3):
        loop.submit(batch)
    loop.close()
    assert told == [True, True, False]


def test_closing_without_a_batch_starts_no_thread(started: Any) -> None:
    before = threading.active_count()
    loop = started(Toy())
    loop.close()
    loop.close()
    assert threading.active_count() == before
    with pytest.raises(TrainingError, match="after it had been closed"):
        loop.submit(1)


# -- what goes wrong -------------------------------------------------------------------------------


def raises(loop: Loop) -> None:
    for batch in loop.batches():
        if batch == 2:
            raise ValueError("no twos")
        loop.acknowledge(batch)


def test_what_the_trainer_raises_is_the_error_of_the_batch_and_of_all_that_come(started: Any) -> None:
    loop = started(raises)
    assert loop.submit(1) == 1
    uses: list[Callable[[], Any]] = [lambda: loop.submit(2), lambda: loop.submit(3), lambda: loop.call(list)]
    for use in uses:
        with pytest.raises(TrainingError, match="toy:fit raised ValueError after 1 batches: no twos") as caught:
            use()
        assert isinstance(caught.value.__cause__, ValueError)
    loop.close()


def test_an_error_of_penroses_is_not_wrapped(started: Any) -> None:
    wrong = TrainingError("scores are not probabilities")

    def train(loop: Loop) -> None:
        for _ in loop.batches():
            raise wrong

    with pytest.raises(TrainingError) as caught:
        started(train).submit(1)
    assert caught.value is wrong


def test_a_trainer_that_returns_early_is_told_with_the_next_batch(started: Any) -> None:
    def train(loop: Loop) -> None:
        for batch in loop.batches():
            loop.acknowledge(batch)
            if batch == 2:
                return

    loop = started(train)
    loop.submit(1)
    loop.submit(2)
    assert loop.call(lambda: 5) == 5
    with pytest.raises(TrainingError, match="toy:fit returned, with batch 3 to be trained: was it stopped early"):
        loop.submit(3)


def collects(loop: Loop) -> None:
    batches = loop.batches()
    while True:
        for batch in sorted([next(batches), next(batches)]):
            loop.acknowledge(batch)


def collects_elsewhere(loop: Loop) -> None:
    batches = prefetched(loop, 2)
    for batch in sorted([next(batches), next(batches)]):
        loop.acknowledge(batch)


def test_a_trainer_that_collects_batches_on_its_own_thread_is_told_at_once(started: Any) -> None:
    with pytest.raises(TrainingError, match="asked for another batch before it had acknowledged batch 1"):
        started(collects).submit(1)


def test_a_trainer_that_collects_batches_by_another_thread_is_told_in_time(started: Any) -> None:
    loop = started(collects_elsewhere, SHORT)
    with pytest.raises(TrainingError) as caught:
        loop.submit(1)
    # Its buffer gives nothing more: what it makes of that is the error.
    assert "toy:fit" in str(caught.value)
    loop.close()


def shuffles(loop: Loop) -> None:
    held = []
    for batch in prefetched(loop, 1):
        held.append(batch)
        if len(held) == 3:
            loop.acknowledge(held.pop())


def never_acknowledges(loop: Loop) -> None:
    for _ in prefetched(loop, 1):
        pass


@pytest.mark.parametrize("train", [shuffles, never_acknowledges])
def test_a_trainer_that_asks_on_and_acknowledges_nothing_is_told_in_time(started: Any, train: Any) -> None:
    loop = started(train, SHORT)
    with pytest.raises(TrainingError, match=r"not acknowledged batch 1 within 0\.3 seconds, and asks for another one"):
        loop.submit(1)
    loop.close()


def test_errors_say_what_the_author_says_to_do() -> None:
    loop = Loop(lambda _: None, name="toy:fit", hint="give fit its callbacks")
    with pytest.raises(TrainingError, match=r"\n  give fit its callbacks"):
        loop.submit(1)


def test_a_trainer_that_asks_for_nothing_is_told_in_time(started: Any) -> None:
    released = threading.Event()
    loop = started(lambda _: released.wait(AMPLE), SHORT)
    with pytest.raises(TrainingError, match="and did not ask for it"):
        loop.submit(1)
    released.set()


def test_a_trainer_that_is_not_done_with_a_batch_is_told_in_time(started: Any) -> None:
    released = threading.Event()

    def train(loop: Loop) -> None:
        for _ in loop.batches():
            released.wait(AMPLE)

    loop = started(train, SHORT)
    with pytest.raises(TrainingError, match=r"within 0\.3 seconds, and is not done with it"):
        loop.submit(1)
    released.set()


def test_who_closes_a_loop_that_is_stuck_is_not_held_up_again(started: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penrose_host.executors.owned_loop.GRACE", SHORT)
    released = threading.Event()
    loop = started(lambda _: released.wait(AMPLE * 100), SHORT)
    with pytest.raises(TrainingError, match="did not ask for it"):
        loop.submit(1)
    loop.timeout = AMPLE * 100  # the test itself has less time
    loop.close()
    released.set()


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_batch_that_is_acknowledged_twice_is_an_error(started: Any, ahead: int) -> None:
    def train(loop: Loop) -> None:
        for batch in prefetched(loop, ahead) if ahead else loop.batches():
            loop.acknowledge(batch, batch=batch)
            loop.acknowledge(batch, batch=batch)

    loop = started(train, SHORT)
    loop.submit(1000)
    with pytest.raises(TrainingError, match="toy:fit acknowledged batch 1 twice"):
        loop.submit(1001)


def test_a_batch_acknowledged_twice_is_told_at_the_end_at_the_latest(started: Any) -> None:
    def train(loop: Loop) -> None:
        for batch in loop.batches():
            loop.acknowledge(batch)
        loop.acknowledge(0)

    loop = started(train)
    loop.submit(1)
    with pytest.raises(TrainingError, match="acknowledged batch 1 twice"):
        loop.close()
    loop.close()


def test_acknowledging_before_there_is_a_batch_is_an_error(started: Any) -> None:
    with pytest.raises(TrainingError, match="acknowledged a batch before it had one"):
        started(lambda loop: loop.acknowledge(1)).submit(1)


def test_acknowledging_on_another_thread_is_an_error_there(started: Any) -> None:
    loop = started(Toy())
    with pytest.raises(TrainingError, match="acknowledged a batch on thread 'MainThread'"):
        loop.acknowledge(1)


def test_what_the_trainer_raises_at_its_end_is_raised_by_close(started: Any) -> None:
    def train(loop: Loop) -> None:
        for batch in loop.batches():
            loop.acknowledge(batch)
        raise OSError("disk full")

    loop = started(train)
    loop.submit(1)
    with pytest.raises(TrainingError, match="raised OSError after 1 batches: disk full"):
        loop.close()


def test_a_trainer_that_hangs_at_its_end_is_told_in_time(started: Any) -> None:
    released = threading.Event()

    def train(loop: Loop) -> None:
        for batch in loop.batches():
            loop.acknowledge(batch)
        released.wait(AMPLE)

    loop = started(train, SHORT)
    loop.submit(1)
    with pytest.raises(TrainingError, match=r"has not returned 0\.3 seconds after its last batch"):
        loop.close()
    loop.close()
    released.set()
