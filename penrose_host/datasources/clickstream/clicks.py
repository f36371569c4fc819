"""Synthetic clicks: every value is a function of the seed, the partition and the offset, so any row can be made alone.

The true model: users click on items of the category they like, on popular and on cheap ones, at some hours more than
at others. The tastes of items, users and hours turn with event time. New users and items keep appearing: ids grow
with the stream, old ones stay popular by Zipf's law, and the newest have a share of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import numpy.typing as npt

    from penrose_host.contracts.batch import Float64, Int64

    UInt64 = npt.NDArray[np.uint64]

__all__ = ["ClickModel"]

#: Event time starts in 2024.
START = 1_704_067_200_000_000
HOUR = 3_600_000_000
DAY = 24 * HOUR
CATEGORIES = 24
HISTORY = 8
#: This share of rows is of users, or items, that are popular because they are new.
NEW_SHARE = 0.2
#: A label comes at the latest after this many mean delays.
LATEST = 20.0

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_NAMES = pa.array([f"c{number:02}" for number in range(CATEGORIES)])


@dataclass(frozen=True, slots=True)
class ClickModel:
    """What the rows of a stream follow from. `label_delay` in microseconds; `drift` in turns of the tastes a day."""

    seed: int
    partitions: int
    rows_per_second: float
    users: int
    items: int
    births: float
    label_delay: int
    null_share: float
    drift: float

    def rows(self, partition: int, offset: int, count: int) -> pa.RecordBatch:
        """The rows offset..offset + count of a partition."""
        index = np.arange(offset, offset + count, dtype=np.int64)
        draw = _Draws(self.seed, partition, index)
        time = START + ((index + draw()) * (self.partitions * 1e6 / self.rows_per_second)).astype(np.int64)
        born = (index * self.partitions + partition) * self.births
        user = _zipf_or_new(self.users + born.astype(np.int64), draw(), draw())
        item = _zipf_or_new(self.items + (born / 10).astype(np.int64), draw(), draw())
        hour = (time // HOUR) % 24
        price = np.exp(2.5 + 1.5 * self._constant(3, item) + 0.2 * draw()).astype(np.float32)
        favourite = (_hash(self.seed, 4, user) % np.uint64(CATEGORIES)).astype(np.int64)

        turned = self.drift * (time - START) / DAY
        logit = (
            -1.0
            + 1.3 * self._taste(5, item, turned)
            + 0.8 * self._taste(6, user, turned)
            + 0.5 * self._taste(7, hour, turned)
            + 1.2 * (item % CATEGORIES == favourite)
            - 0.4 * (np.log(price) - 2.5)
        )
        click = draw() < 1 / (1 + np.exp(-logit))
        unknown = draw() < self.null_share
        delay = np.minimum(-np.log1p(-draw()), LATEST) * self.label_delay
        return pa.RecordBatch.from_pydict(
            {
                "event_time": pa.array(time).cast(pa.timestamp("us", "UTC")),
                "user": user,
                "item": item,
                "category": _NAMES.take(pa.array(item % CATEGORIES)),
                "hour": hour.astype(np.int8),
                "price": price,
                "history": self._history(user, favourite, time // HOUR),
                "click": pa.array(click.astype(np.int8), mask=unknown),
                "click_known_at": pa.array(time + delay.astype(np.int64)).cast(pa.timestamp("us", "UTC")),
            }
        )

    def _history(self, user: Int64, favourite: Int64, hours: Int64) -> pa.ListArray:
        """What a user saw before this hour: popular items, most of them of the favourite category."""
        moment = _hash(self.seed, 8, user) + hours.astype(np.uint64)
        lengths = (_uniform(_hash(self.seed, 9, moment)) * (HISTORY + 1)).astype(np.int64)
        offsets = np.zeros(len(user) + 1, dtype=np.int32)
        np.cumsum(lengths, out=offsets[1:])
        place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        each = _hash(self.seed, 10, np.repeat(moment, lengths) * np.uint64(HISTORY) + place.astype(np.uint64))
        kind = np.where(
            each % np.uint64(4) == 0,  # the low bits are not used below
            (each >> np.uint64(2)) % np.uint64(CATEGORIES),
            np.repeat(favourite, lengths).astype(np.uint64),
        )
        rank = _zipf(max(1, self.items // CATEGORIES), _uniform(each))
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rank * CATEGORIES + kind.astype(np.int64)))

    def _constant(self, stream: int, ids: Int64) -> Float64:
        """A number in -1..1 that belongs to each id."""
        return 2 * _uniform(_hash(self.seed, stream, ids)) - 1

    def _taste(self, stream: int, ids: Int64, turned: Float64) -> Float64:
        """A number in -1..1 that belongs to each id at a time: each id's phase of the same slow wave."""
        return np.sin(2 * np.pi * (_uniform(_hash(self.seed, stream, ids)) + turned))


class _Draws:
    """Uniform numbers in 0..1 for the rows at `index` of a partition; each call gives independent ones."""

    def __init__(self, seed: int, partition: int, index: Int64) -> None:
        self._key = (seed, partition)
        self._index = index
        self._stream = 100

    def __call__(self) -> Float64:
        self._stream += 1
        seed, partition = self._key
        return _uniform(_hash(seed, self._stream + (partition << 10), self._index))


def _hash(seed: int, stream: int, values: Int64 | UInt64) -> UInt64:
    """64 random-looking bits of (seed, stream, value): SplitMix64's finalizer over a stream of its own."""
    start = _mix(np.array([seed], dtype=np.uint64) * _GOLDEN + np.uint64(stream))
    return _mix((values.astype(np.uint64) + _mix(start + _GOLDEN)) * _GOLDEN)


def _mix(values: UInt64) -> UInt64:
    values = values ^ (values >> np.uint64(30))
    values *= _M1
    values ^= values >> np.uint64(27)
    values *= _M2
    values ^= values >> np.uint64(31)
    return values


def _uniform(bits: UInt64) -> Float64:
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _zipf(count: Int64 | int, draws: Float64) -> Int64:
    """Ranks 0..count - 1, drawn with probabilities in proportion to log(1 + 1 / (rank + 1)), nearly 1 / (rank + 1)."""
    ranks = np.power(count + 1.0, draws).astype(np.int64) - 1
    return np.minimum(ranks, np.asarray(count, dtype=np.int64) - 1)


def _zipf_or_new(count: Int64, which: Float64, draws: Float64) -> Int64:
    """Ids 0..count - 1: Zipf by age, and for a share of the rows by youth."""
    rank = _zipf(count, draws)
    return np.where(which < NEW_SHARE, count - 1 - rank, rank)
