"""For trainers that own their loop (a Keras `fit`, an Estimator-style `train`): batches go to them one by one.

The trainer runs in a thread of its own and pulls batches from `batches()`; it calls `acknowledge` when one is trained.
`Executor.train` calls `submit`, which returns once that batch was acknowledged. Only one batch is under way, so

* whatever threads of the trainer's pull ahead (prefetching) find nothing to pull: what they ask for does not count;
* between two `submit` the trainer's own thread stands inside `acknowledge`, whoever pulls: the model is at rest. It
  waits there for the next batch to be *submitted*; waiting for it to be pulled would take for granted that a thread
  that does not stand there pulls. What needs a model at rest is a `call`, and runs on that thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, cast

from penrose_host.errors import PenroseError, TrainingError

__all__ = ["OwnedLoop"]

B = TypeVar("B")
R = TypeVar("R")
T = TypeVar("T")

#: Seconds in which a trainer that was stuck may still tell what held it up, once it gets no more batches.
GRACE = 5.0


class OwnedLoop(Generic[B, R]):
    """Hands batches of type B to a trainer, which acknowledges each with an outcome of type R.

    `train` is the trainer: it gets this object, uses `batches` and `acknowledge`, and returns when there are no more.
    `name` is what errors call it; `hint` is what they say to do where it ends early or is stuck. `timeout`: seconds
    that it may take to acknowledge a batch, or to return at the end.
    """

    def __init__(
        self,
        train: Callable[[OwnedLoop[B, R]], object],
        *,
        name: str,
        timeout: float = 120.0,
        hint: str = "every batch has to be acknowledged before the next one comes, until there are no more",
    ) -> None:
        self.name = name
        self.timeout = timeout
        self._hint = hint
        self._train = train
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._batch: B | None = None
        self._submitted = self._pulled = self._acknowledged = self._asking = 0
        self._outcome: R | None = None
        self._call: Callable[[], None] | None = None
        self._over = self._returned = self._closed = False
        self._error: BaseException | None = None
        self._failure: PenroseError | None = None

    # -- the host's side --------------------------------------------------------------------------

    def submit(self, batch: B) -> R:
        """Have a batch trained; what it was acknowledged with. Raises `TrainingError`, or a `PenroseError` of the
        trainer's, where that does not happen within `timeout` seconds; from then on so does every `submit` and `call`.
        """
        with self._changed:
            if self._failure is not None:
                raise self._failure
            if self._over:
                raise TrainingError(f"{self.name} was given a batch after it had been closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="penrose-owned-loop", daemon=True)
                self._thread.start()
            self._batch = batch
            self._submitted += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._returned or self._acknowledged == self._submitted, self.timeout)
            if self._acknowledged < self._submitted:
                self._failure = self._stopped() if self._returned else self._stuck()
                raise self._failure from self._cause()
            outcome, self._outcome = self._outcome, None
            return cast("R", outcome)

    def call(self, function: Callable[[], T]) -> T:
        """Run a function while the model is at rest, on the trainer's thread; before its first batch and once it has
        ended, on this one. Returns, or raises, what the function does."""
        given: list[T] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                given.append(function())
            except BaseException as error:  # raised below, on the thread that called
                raised.append(error)

        with self._changed:
            if self._failure is not None:
                raise self._failure
            if self._thread is not None and not self._over:
                self._call = run
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(given or raised) or self._returned)
                if raised:
                    raise raised[0]
                if given:
                    return given[0]
        return function()

    def close(self) -> None:
        """There are no more batches: wait until the trainer has returned. May be called twice, and without a batch.

        Raises `TrainingError` where the trainer raises at its end, or does not return within `timeout` seconds; an
        error that `submit` raised comes no second time.
        """
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._thread is None or self._closed:
            return
        self._closed = True
        # A trainer that failed has had its time: who waits is told soon.
        self._thread.join(self.timeout if self._failure is None else min(self.timeout, GRACE))
        if self._failure is not None:
            return
        if self._thread.is_alive():
            raise TrainingError(
                f"{self.name} has not returned {self.timeout:g} seconds after its last batch",
                hint="it has to return when there are no more batches; all of them were trained",
            )
        if self._error is not None:
            raise self._raised() from self._cause()

    # -- the trainer's side -----------------------------------------------------------------------

    def batches(self) -> Iterator[B]:
        """The batches, as they come; ends when there are no more. Any thread may pull, each batch comes once."""
        while (found := self._pull()) is not None:
            yield found[0]

    def acknowledge(self, outcome: R, *, batch: B | None = None) -> bool:
        """The batch is trained. To be called by the trainer's own thread, which stays here until it can go on.

        Returns whether there is another batch; False: `batches` ends now. `batch`: which one it was, for trainers that
        know. Raises `TrainingError` where it is not the one under way.
        """
        if threading.current_thread() is not self._thread:
            raise TrainingError(
                f"{self.name} acknowledged a batch on thread {threading.current_thread().name!r}",
                hint="acknowledge on the thread that the trainer was called on: it waits there while the model is used",
            )
        with self._changed:
            if self._acknowledged == self._pulled or (batch is not None and batch is not self._batch):
                which = f"batch {self._acknowledged} twice" if self._acknowledged else "a batch before it had one"
                raise TrainingError(f"{self.name} acknowledged {which}", hint="acknowledge each batch once, in order")
            self._outcome = outcome
            self._batch = None
            self._acknowledged += 1
            self._changed.notify_all()
            while not self._over and self._acknowledged == self._submitted:
                if self._call is None:
                    self._changed.wait()
                    continue
                call, self._call = self._call, None
                # The lock is kept: nobody but the caller, who waits, could do anything meanwhile.
                call()
                self._changed.notify_all()
            return not self._over

    # -- inside -----------------------------------------------------------------------------------

    def _pull(self) -> tuple[B] | None:
        with self._changed:
            if threading.current_thread() is self._thread and self._pulled > self._acknowledged:
                raise TrainingError(
                    f"{self.name} asked for another batch before it had acknowledged batch {self._pulled}",
                    hint="the next batch comes when this one was trained: leave out what collects several of them",
                )
            self._asking += 1
            self._changed.wait_for(lambda: self._over or self._returned or self._submitted > self._pulled)
            self._asking -= 1
            if self._over or self._submitted == self._pulled:
                return None
            self._pulled += 1
            return (cast("B", self._batch),)

    def _run(self) -> None:
        try:
            self._train(self)
        except BaseException as error:  # reported by `submit` or `close`
            self._error = error
        with self._changed:
            self._returned = True
            self._changed.notify_all()

    def _stopped(self) -> PenroseError:
        """The trainer is at its end, and the batch is not trained."""
        self._over = True
        if self._error is not None:
            return self._raised()
        return TrainingError(
            f"{self.name} returned, with batch {self._submitted} to be trained: was it stopped early, or told how many "
            "batches to train?",
            hint=self._hint,
        )

    def _stuck(self) -> PenroseError:
        """The trainer has had its time. What held it up may be an error that only comes out once pulling ends."""
        pulled, asking = self._pulled == self._submitted, self._asking > 0
        self._over = True
        self._changed.notify_all()
        self._changed.wait_for(lambda: self._returned, min(self.timeout, GRACE))
        if self._error is not None:
            return self._raised()
        if not pulled:
            what = "did not ask for it: is the trainer busy with something else?"
        elif asking:
            what = "asks for another one: it collects or reorders batches (shuffle, batch), or never acknowledges them"
        else:
            what = "is not done with it: either it takes longer, or it never acknowledges batches"
        return TrainingError(
            f"{self.name} has not acknowledged batch {self._submitted} within {self.timeout:g} seconds, and {what}",
            hint=self._hint,
        )

    def _raised(self) -> PenroseError:
        if isinstance(self._error, PenroseError):
            return self._error
        return TrainingError(
            f"{self.name} raised {type(self._error).__name__} after {self._acknowledged} batches: {self._error}"
        )

    def _cause(self) -> Any:
        return None if isinstance(self._error, PenroseError) else self._error
