"""Each promise of executors is broken by an executor that is wrong in one way; a good one keeps them all."""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from contract_support import IN_A_PROCESS, Mutants, broken_promises, said_well

from penrose_host import (
    CheckpointReader,
    EncodedBatch,
    ExecutorContext,
    FilesSnapshot,
    Ragged,
    Snapshot,
    SnapshotWriter,
    StepInfo,
    StepResult,
)
from penrose_host.contracts.executor import FeatureSpec
from penrose_host.testing import ExecutorContract, promises_of
from penrose_host.testing.plugins import PluginContract
from penrose_host.testing.toys import ToyExecutor

MUTANTS = Mutants()
breaks = MUTANTS.breaks
#: What many mistakes break beside the promise that they are about.
RUN = "a_run_stopped_and_resumed_ends_like_one_that_never_stopped"
GOES_ON = "training_goes_on_as_if_never_interrupted"
RESTORE = "restore_gives_back_the_snapshot"


class Toy(ExecutorContract):
    plugin: ClassVar[type[ToyExecutor]] = ToyExecutor

    def make(self) -> ToyExecutor:
        return self.plugin(self.plugin.Options())


class OneHead(Toy):
    features = FeatureSpec(categorical=("user",), labels=("click",))


@pytest.mark.parametrize("contract", [Toy, OneHead])
def test_a_good_executor_keeps_every_promise(contract: type, tmp_path: Path) -> None:
    assert broken_promises(contract, tmp_path) == {}


@pytest.mark.parametrize(("mutant", "expected"), MUTANTS)
def test_a_broken_executor_breaks_its_promise_and_no_other(
    mutant: type[Any], expected: set[str], tmp_path: Path
) -> None:
    told = broken_promises(type("Test", (Toy,), {"plugin": mutant}), tmp_path)
    assert set(told) == expected, told
    assert all(map(said_well, told.values())), told


def test_every_promise_is_broken_by_some_executor() -> None:
    of_all_plugins = set(promises_of(PluginContract))
    assert MUTANTS.broken() == set(promises_of(ExecutorContract)) - of_all_plugins - {IN_A_PROCESS}


# -- scores ------------------------------------------------------------------------------------------


class Rescored(ToyExecutor):
    """Hands out what `rework` makes of each head's scores."""

    def predict(self, batch: EncodedBatch) -> Mapping[str, Any]:
        return {head: self.rework(scores) for head, scores in super().predict(batch).items()}

    def rework(self, scores: Any) -> Any:
        raise NotImplementedError


@breaks("every_row_gets_a_score_for_every_head")
class ScoresInDoublePrecision(Rescored):
    def rework(self, scores: Any) -> Any:
        return scores.astype(np.float64)


@breaks("every_row_gets_a_score_for_every_head")
class FailsWithoutRows(Rescored):
    def rework(self, scores: Any) -> Any:
        return scores if len(scores) else scores.reshape(0, 1)


@breaks("every_row_gets_a_score_for_every_head")
class ScoresAHeadNobodyAskedFor(ToyExecutor):
    def predict(self, batch: EncodedBatch) -> Mapping[str, Any]:
        return {**super().predict(batch), "other": np.zeros(len(batch), np.float32)}


@breaks("every_row_gets_a_score_for_every_head", "train_returns_the_scores_before_the_update")
class ScoresLogits(Rescored):
    def rework(self, scores: Any) -> Any:
        return np.log(scores / (1 - scores))


@breaks("predict_changes_nothing")
class CountsScoredRows(ToyExecutor):
    def predict(self, batch: EncodedBatch) -> Mapping[str, Any]:
        self.velocity = self.velocity + 1e-9
        return super().predict(batch)


@breaks("predict_changes_nothing", RESTORE)
class ScoresAtRandom(Rescored):
    def rework(self, scores: Any) -> Any:
        self.calls = getattr(self, "calls", 0) + 1
        return np.nextafter(scores, np.float32(self.calls // 2 % 2))


@breaks("scores_stay_as_they_were_given")
class ReusesItsBuffer(ToyExecutor):
    buffer: ClassVar[dict[str, Any]] = {}

    def predict(self, batch: EncodedBatch) -> Mapping[str, Any]:
        for head, scores in super().predict(batch).items():
            self.buffer.setdefault(head, np.empty(100, np.float32))[: len(scores)] = scores
        return {head: buffer[: len(batch)] for head, buffer in self.buffer.items()}


@breaks("a_slice_counts_as_the_rows_it_shows", RUN)
class ReadsListsFromTheirStart(ToyExecutor):
    def _inputs(self, batch: EncodedBatch) -> Any:
        lists = {name: Ragged(x.values, x.offsets - x.offsets[0]) for name, x in batch.lists.items()}
        labels = {head: np.zeros(len(batch), np.float32) for head in self.features.labels}
        return super()._inputs(EncodedBatch(batch.ids, lists, batch.numeric, labels))


@breaks("arrays_handed_in_are_never_changed")
class FillsInLabels(ToyExecutor):
    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        result = super().train(batch, step)
        for label in batch.labels.values():
            label[np.isnan(label)] = 0
        return result


@breaks("arrays_handed_in_are_never_changed")
class FillsInLabelsWhereItCan(ToyExecutor):
    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        result = super().train(batch, step)
        for label in batch.labels.values():
            if label.flags.writeable:
                label[np.isnan(label)] = 0
        return result


# -- training ----------------------------------------------------------------------------------------


@breaks("training_changes_the_model")
class LearnsNothing(ToyExecutor):
    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        weights = self.weights
        result = super().train(batch, step)
        self.weights, self.velocity = weights, np.zeros_like(weights)
        return result


class Retold(ToyExecutor):
    """Returns what `retold` makes of each step's result."""

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        return self.retold(batch, super().train(batch, step))

    def retold(self, batch: EncodedBatch, result: StepResult) -> StepResult:
        raise NotImplementedError


@breaks("train_returns_the_scores_before_the_update")
class ScoresAfterTheUpdate(Retold):
    def retold(self, batch: EncodedBatch, result: StepResult) -> StepResult:
        return StepResult(result.losses, self.predict(batch), result.applied)


@breaks("losses_are_means_over_labelled_rows")
class TellsSums(Retold):
    def retold(self, batch: EncodedBatch, result: StepResult) -> StepResult:
        return StepResult({h: v * len(batch) for h, v in result.losses.items()}, result.scores, result.applied)


@breaks("losses_are_means_over_labelled_rows")
class CountsUnlabelledRows(Retold):
    def retold(self, batch: EncodedBatch, result: StepResult) -> StepResult:
        shares = {head: 1 - np.isnan(label).mean() for head, label in batch.labels.items()}
        return StepResult({h: v * shares[h] for h, v in result.losses.items()}, result.scores, result.applied)


@breaks("rows_without_a_label_train_nothing")
class TakesNoLabelForZero(ToyExecutor):
    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        result = super().train(batch, step)
        unknown = {head: np.where(np.isnan(label), 0, np.nan) for head, label in batch.labels.items()}
        super().train(EncodedBatch(batch.ids, batch.lists, batch.numeric, unknown), step)
        return result


@breaks("a_head_without_any_label_stops_no_other")
class NeedsEveryHead(Retold):
    def retold(self, batch: EncodedBatch, result: StepResult) -> StepResult:
        empty = any(np.isnan(label).all() for label in batch.labels.values())
        return StepResult(result.losses, result.scores, result.applied and not empty)


@breaks("a_step_that_is_not_finite_applies_nothing_and_says_so")
class AppliesAnything(Retold):
    def retold(self, batch: EncodedBatch, result: StepResult) -> StepResult:
        return StepResult(result.losses, result.scores, True)


@breaks("a_step_that_is_not_finite_applies_nothing_and_says_so")
class ChecksTooLate(Retold):
    def retold(self, batch: EncodedBatch, result: StepResult) -> StepResult:
        if not result.applied:
            self.velocity = self.velocity * 0.5
        return result


@breaks("equal_seeds_and_steps_give_equal_bytes", RUN)
class DrawsFromTheClock(ToyExecutor):
    def setup(self, context: ExecutorContext) -> None:
        super().setup(context)
        self.weights = self.weights + time.perf_counter_ns() % 1000 * 1e-13


# -- state -------------------------------------------------------------------------------------------


@breaks(RESTORE, GOES_ON, RUN)
class RestoresWithoutMomentum(ToyExecutor):
    def restore(self, reader: CheckpointReader) -> None:
        super().restore(reader)
        self.velocity = np.zeros_like(self.velocity)


@breaks(GOES_ON, RUN)
class SavesNoMomentum(ToyExecutor):
    def snapshot(self) -> Snapshot:
        return FilesSnapshot({"weights": self.weights.tobytes()})

    def restore(self, reader: CheckpointReader) -> None:
        self.weights = np.frombuffer(reader.read("weights"), np.float64).reshape(self.weights.shape)


class Late(Snapshot):
    def __init__(self, executor: ToyExecutor) -> None:
        self.executor = executor

    def write(self, writer: SnapshotWriter) -> None:
        ToyExecutor.snapshot(self.executor).write(writer)


@breaks("a_snapshot_keeps_its_instant")
class CopiesTooLate(ToyExecutor):
    def snapshot(self) -> Snapshot:
        return Late(self)


@breaks("a_checkpoint_that_lacks_a_file_is_refused")
class MakesDoWithLess(ToyExecutor):
    def restore(self, reader: CheckpointReader) -> None:
        if {"weights", "velocity"} <= set(reader.names()):
            super().restore(reader)


@breaks("nothing_is_pickled")
class SavesPickles(ToyExecutor):
    def snapshot(self) -> Snapshot:
        return FilesSnapshot({"state": pickle.dumps([self.weights.tolist(), self.velocity.tolist()])})

    def restore(self, reader: CheckpointReader) -> None:
        self.weights, self.velocity = map(np.array, pickle.loads(reader.read("state")))


@breaks("nothing_is_pickled")
class HidesItsPickles(ToyExecutor):
    def snapshot(self) -> Snapshot:
        return FilesSnapshot(
            {"state": b"v1" + pickle.dumps([self.features, self.weights.tolist(), self.velocity.tolist()])}
        )

    def restore(self, reader: CheckpointReader) -> None:
        self.weights, self.velocity = map(np.array, pickle.loads(reader.read("state")[2:])[1:])


@breaks("export_writes_files_and_changes_nothing")
class ExportsNothing(ToyExecutor):
    def export(self, directory: Path) -> None:
        (directory / "model").touch()


@breaks("export_writes_files_and_changes_nothing")
class ExportsBeside(ToyExecutor):
    def export(self, directory: Path) -> None:
        super().export(directory)
        (directory.parent / "model.json").write_text("{}")


@breaks("export_writes_files_and_changes_nothing")
class ExportsHalfPrecision(ToyExecutor):
    def export(self, directory: Path) -> None:
        self.weights = self.weights.astype(np.float16).astype(np.float64)
        super().export(directory)


@breaks("close_can_be_called_twice_and_without_setup")
class ClosesWhatItSetUp(ToyExecutor):
    def close(self) -> None:
        self.weights.sum()


@breaks(RUN)
class CountsItsLives(ToyExecutor):
    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        result = super().train(batch, step)
        self.weights = self.weights + 1e-6 * step.incarnation * result.applied
        return result
