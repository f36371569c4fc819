"""Encodes chunks: columns in, ids, numbers, labels and times out, and the rows that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from penrose_host.contracts.batch import EncodedBatch, Ragged
from penrose_host.core.rows import Rows
from penrose_host.errors import DataError
from penrose_host.features.column_check import check_columns, input_uses, target_uses
from penrose_host.features.hashing import hash_words
from penrose_host.features.ids import FeatureHash, ids_of_columns
from penrose_host.features.lists import ragged_of
from penrose_host.features.numbers import labels_of, numbers_of
from penrose_host.features.rejects import Faults
from penrose_host.features.row_origin import PLACE_USES, event_times_of, offsets_of, partitions_of
from penrose_host.features.times import local_time, time_part, times_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from penrose_host.contracts.batch import Chunk, Float32, Int64, Reject
    from penrose_host.contracts.executor import FeatureSpec
    from penrose_host.features.config import FeaturesConfig
    from penrose_host.features.ids import Bool

__all__ = ["FeatureEncoder"]


class _Crosses(NamedTuple):
    """All crosses of as many members: their columns among the ids, their members (by place), their seeds."""

    columns: npt.NDArray[np.intp]
    members: tuple[npt.NDArray[np.intp], ...]
    seeds: npt.NDArray[np.uint64]


class _Inputs(NamedTuple):
    ids: Int64
    lists: dict[str, Ragged]
    numeric: dict[str, Float32]


class FeatureEncoder:
    """Turns chunks into `Rows`. A pure function of the chunk: any thread may call it."""

    def __init__(self, config: FeaturesConfig) -> None:
        self.config = config
        self.spec: FeatureSpec = config.spec()
        self.columns: list[str] = config.columns()
        self.labels_on_arrival: bool = config.labels_on_arrival
        self._members = config.members()
        self._derived = any(member.event_time is not None for member in self._members)
        self._hashes = [FeatureHash.of(member.name) for member in self._members]
        self._list_hashes = [FeatureHash.of(feature.name) for feature in config.lists]
        self._crosses = _crosses_by_size(config)
        self._input_uses = input_uses(config)
        self._target_uses = target_uses(config)
        self._checked: pa.Schema | None = None

    def encode(self, chunk: Chunk) -> tuple[Rows, tuple[Reject, ...]]:
        """The rows that can be used, in order, and the rejects: the chunk's own, then the encoder's.

        Raises DataError where a column is missing or has a type that does not fit.
        """
        batch = chunk.batch
        if self._checked is None or not self._checked.equals(batch.schema):
            check_columns(batch.schema, [*PLACE_USES, *self._target_uses, *self._input_uses])
            self._checked = batch.schema
        faults = Faults()
        names, partition = partitions_of(batch)
        labels = self._labels(batch, faults)
        event_time = event_times_of(batch, self.config.event_time, faults)
        known_at = self._known_at(batch, event_time, labels, faults)
        inputs = self._inputs(batch, event_time, faults)
        rows = Rows(names, partition, offsets_of(batch), event_time, known_at, *inputs, labels)
        if not faults.reasons:
            return rows, chunk.rejects
        return rows.take(faults.kept(len(rows))), (*chunk.rejects, *faults.rejects(batch, chunk.raw))

    def encode_columns(self, columns: Mapping[str, Any]) -> EncodedBatch:
        """Rows to score, given as column → list, NumPy array or Arrow array; labels and times are not needed
        (the event time is, where a feature is made of it). The batch has no labels.

        Raises DataError for columns that do not fit, and for a row that cannot be used.
        """
        arrays = {name: _as_arrow(name, values) for name, values in columns.items()}
        if len({len(array) for array in arrays.values()}) > 1:
            lengths = ", ".join(f"{name}: {len(array)}" for name, array in arrays.items())
            raise DataError(f"the columns differ in length ({lengths})")
        batch = pa.record_batch(arrays)
        check_columns(batch.schema, self._input_uses)
        faults = Faults()
        event_time = np.zeros(batch.num_rows, dtype=np.int64)
        if self._derived:
            event_time = event_times_of(batch, self.config.event_time, faults)
        inputs = self._inputs(batch, event_time, faults)
        if faults.reasons:
            row, reason = min(faults.reasons.items())
            raise DataError(f"row {row} of the columns cannot be scored: {reason}")
        return EncodedBatch(*inputs, {})

    def _inputs(self, batch: pa.RecordBatch, event_time: Int64, faults: Faults) -> _Inputs:
        numeric = {}
        for number in self.config.numeric:
            numeric[number.name], bad = numbers_of(batch.column(number.column), number)
            domain = "infinite, or has no log1p" if number.transform else "infinite (as a float32)"
            faults.add(bad, f"numeric feature {number.name!r}: column {number.column!r} is {domain}")
        lists = {
            feature.name: ragged_of(batch.column(feature.column), hash_, feature.max_length)
            for feature, hash_ in zip(self.config.lists, self._list_hashes, strict=True)
        }
        return _Inputs(self._ids(batch, event_time), lists, numeric)

    def _ids(self, batch: pa.RecordBatch, event_time: Int64) -> Int64:
        zone = self.config.time_zone
        local = local_time(event_time, zone) if zone is not None and self._derived else event_time
        columns = [
            pa.array(time_part(local, member)) if member.column is None else batch.column(member.column)
            for member in self._members
        ]
        of_members = ids_of_columns(columns, self._hashes, batch.num_rows)
        if not self._crosses:
            return of_members
        ids = np.empty((batch.num_rows, len(self.spec.categorical)), dtype=np.int64)
        single = len(self.config.categorical)
        ids[:, :single] = of_members[:, :single]
        words = of_members.view(np.uint64)
        for crosses in self._crosses:
            ids[:, crosses.columns] = hash_words([words[:, place] for place in crosses.members], crosses.seeds)
        return ids

    def _known_at(
        self, batch: pa.RecordBatch, event_time: Int64, labels: Mapping[str, Float32], faults: Faults
    ) -> Int64:
        """When each row's labels are known: never before the row itself, whatever the column says."""
        if self.config.label_delay is not None:
            delay = self.config.label_delay
            late = event_time > np.iinfo(np.int64).max - delay
            faults.add(late if late.any() else None, "the event time plus `label_delay` is out of range")
            return event_time + delay
        source = self.config.known_at
        if source is None:
            return event_time
        times = times_of(batch.column(source.column), source)
        faults.add(times.unusable, f"known_at, column {source.column!r}, is not a time, or out of range")
        if times.null is not None:
            labelled = _any_label(labels, len(event_time))
            faults.add(times.null & labelled, f"there is a label, but known_at, column {source.column!r}, is null")
        known_at = times.micros if times.null is None else np.where(times.null, event_time, times.micros)
        return known_at if (known_at >= event_time).all() else np.maximum(known_at, event_time)

    def _labels(self, batch: pa.RecordBatch, faults: Faults) -> dict[str, Float32]:
        labels = {}
        for label in self.config.labels:
            labels[label.name], bad = labels_of(batch.column(label.column), label)
            wrong = "not between 0 and 1" if label.at_least is None else "infinite"
            faults.add(bad, f"label {label.name!r}: column {label.column!r} is {wrong}")
        return labels


def _crosses_by_size(config: FeaturesConfig) -> list[_Crosses]:
    places = {member.name: place for place, member in enumerate(config.members())}
    single = len(config.categorical)
    groups = []
    for size in sorted({len(cross.of) for cross in config.crosses}):
        chosen = [index for index, cross in enumerate(config.crosses) if len(cross.of) == size]
        members = [[places[name] for name in config.crosses[index].of] for index in chosen]
        seeds = np.concatenate([FeatureHash.of(config.crosses[index].name).seed for index in chosen])
        by_position = tuple(np.array(position) for position in zip(*members, strict=True))
        groups.append(_Crosses(single + np.array(chosen), by_position, seeds))
    return groups


def _as_arrow(name: str, values: Any) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise DataError(f"column {name!r} is not a list of values of one type: {error}") from error


def _any_label(labels: Mapping[str, Float32], rows: int) -> Bool:
    known = np.zeros(rows, dtype=np.bool_)
    for label in labels.values():
        known |= ~np.isnan(label)
    return known
