"""What two fingerprints of a job do not have in common, in as few words as it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["difference"]

#: Longer values are not shown as a whole.
_WIDTH = 80
_MISSING = object()


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each dotted place that differs; empty where they are equal. Entries of lists go by their name."""
    return list(_differences(before, now, ""))


def _differences(old: object, new: object, place: str) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _of_mappings(old, new, place)
    elif (left := _by_name(old)) is not None and (right := _by_name(new)) is not None:
        yield from _of_entries(left, right, place)
    elif isinstance(old, list) and isinstance(new, list) and max(len(repr(old)), len(repr(new))) > _WIDTH:
        yield from _of_lists(old, new, place)
    elif (was := _shown(old)) != (now := _shown(new)):
        yield f"{place}: was {was}, is {now}"
    else:
        # Long texts that are alike at both ends: from where they part.
        one, other = repr(old), repr(new)
        parted = (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
        start = next(parted, min(len(one), len(other)))
        yield f"{place}: was … {_shortened(one[start:])}, is … {_shortened(other[start:])}"


def _of_mappings(old: Mapping[str, Any], new: Mapping[str, Any], place: str) -> Iterator[str]:
    # Another plugin, another optimizer: that its options are others is no news.
    other = "name" in old and "name" in new and old["name"] != new["name"]
    for key in ["name"] if other else sorted(old.keys() | new.keys()):
        yield from _differences(old.get(key, _MISSING), new.get(key, _MISSING), f"{place}.{key}" if place else str(key))


def _of_entries(old: Mapping[str, object], new: Mapping[str, object], place: str) -> Iterator[str]:
    yield from (f"{place}: {name!r} is not there any more" for name in old if name not in new)
    yield from (f"{place}: {name!r} is new" for name in new if name not in old)
    common = [name for name in old if name in new]
    if common != (order := [name for name in new if name in old]):
        yield f"{place}: the order was {_shown(common)}, is {_shown(order)}"
    for name in common:
        yield from _differences(old[name], new[name], f"{place}.{name}")


def _of_lists(old: Sequence[object], new: Sequence[object], place: str) -> Iterator[str]:
    """Long lists of plain values: how many there are, and the first that differs."""
    if len(old) != len(new):
        yield f"{place}: had {len(old)} entries, has {len(new)}"
    pairs = enumerate(zip(old, new, strict=False))
    if (first := next((at for at, (one, other) in pairs if one != other), None)) is not None:
        yield from _differences(old[first], new[first], f"{place}.{first}")


def _by_name(value: object) -> dict[str, object] | None:
    """The entries of a list of mappings that all have names of their own; None for everything else."""
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) and "name" in entry for entry in value):
        return None
    named = {str(entry["name"]): entry for entry in value}
    return named if len(named) == len(value) else None


def _shown(value: object) -> str:
    if value is _MISSING:
        return "not set"
    return _shortened(repr(value))


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 20]} … {text[-15:]}"
