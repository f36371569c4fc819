"""How a table lies in a checkpoint: generations of safetensors files, readable without this package.

Generation 0 holds all rows; each later one, written by a delta, what changed since the one before. A generation is

* `GGGG-head.safetensors`: `deleted` int64 [n], keys that are no longer rows, nor wait for admission; `candidates`
  int64 [m], keys that wait, with `candidate_counts` uint32 [m] and `candidate_times` uint32 [m]. Its metadata says
  how many `rows` follow, and the table's `counters`.
* `GGGG-rows-PPPPP.safetensors`, none to many: `keys` int64 [n], `counts` uint32 [n], `times` uint32 [n] (seconds since
  1970), `weights` float32 [n, width], and each optimizer slot, float32 [n, width] or [n, 1]. Keys come in any order,
  each once in a generation.

Generations are read in order: a head's deletions first, then its candidates, then its rows, which replace what
earlier ones say of their keys. Metadata of every file: `format` ("penrose-tfplus"), `version` ("1"), `file` (its name),
`table` (JSON: name, width, slots, optimizer, initializer, seed), and `crc32` (hexadecimal: of the other metadata as
JSON with sorted keys, then of all arrays in their order).
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from penrose_host import CheckpointDamaged
from penrose_host.embeddings import decode, encode

if TYPE_CHECKING:
    from penrose_host import Buffer, CheckpointReader, FileRef, SnapshotRef
    from penrose_tfplus._native import Float32, Int64, UInt32

__all__ = ["Generation", "Head", "Rows", "head_name", "plan", "read_generations", "rows_name", "write"]

FORMAT, VERSION = "penrose-tfplus", "1"
_NAME = re.compile(r"(\d{4})-(?:head|rows-(\d{5}))\.safetensors")
#: A chain longer than this is written anew: restoring reads it all, and retention keeps every checkpoint it lies in.
_MAX_GENERATIONS = 32


def _no_keys() -> Int64:
    return np.empty(0, np.int64)


def _no_numbers() -> UInt32:
    return np.empty(0, np.uint32)


@dataclass(frozen=True, slots=True)
class Head:
    """What a generation says beside its rows."""

    rows: int
    counters: Mapping[str, int]
    deleted: Int64 = field(default_factory=_no_keys)
    candidates: Int64 = field(default_factory=_no_keys)
    candidate_counts: UInt32 = field(default_factory=_no_numbers)
    candidate_times: UInt32 = field(default_factory=_no_numbers)

    @property
    def tensors(self) -> dict[str, Any]:
        names = ("deleted", "candidates", "candidate_counts", "candidate_times")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table: `arrays` are the weights and the slots, in the order of the table."""

    keys: Int64
    counts: UInt32
    times: UInt32
    arrays: Mapping[str, Float32]

    @property
    def tensors(self) -> dict[str, Any]:
        return {"keys": self.keys, "counts": self.counts, "times": self.times, **self.arrays}


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation on its way back; `rows` reads file by file."""

    head: Head
    rows: Iterator[Rows]


def head_name(generation: int) -> str:
    """The file of a generation that comes first."""
    return f"{generation:04d}-head.safetensors"


def rows_name(generation: int, part: int) -> str:
    """A file of rows."""
    return f"{generation:04d}-rows-{part:05d}.safetensors"


def write(
    name: str, tensors: Mapping[str, Any], identity: Mapping[str, Any], more: Mapping[str, Any]
) -> Iterable[Buffer]:
    """The file of that name, in pieces that share the arrays' memory."""
    metadata = {"format": FORMAT, "version": VERSION, "file": name, "table": json.dumps(identity, sort_keys=True)}
    metadata |= {key: json.dumps(value, sort_keys=True) for key, value in more.items()}
    return encode(tensors, metadata | {"crc32": _checksum(tensors, metadata)})


def _checksum(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> str:
    checksum = zlib.crc32(json.dumps(metadata, sort_keys=True).encode())
    for array in tensors.values():
        checksum = zlib.crc32(array.reshape(-1).view(np.uint8).data, checksum)
    return f"{checksum:08x}"


def plan(since: SnapshotRef | None, changed_bytes: int) -> int | None:
    """The number of the generation that may follow those of `since`; None where all rows had better be written anew.

    That is so without an earlier snapshot, and when the changes would grow past half of the base.
    """
    if since is None or not since.files:
        return None
    base = grown = last = 0
    for name, ref in since.files.items():
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        generation = int(found[1])
        last = max(last, generation)
        if generation == 0:
            base += ref.bytes
        else:
            grown += ref.bytes
    return None if last + 1 >= _MAX_GENERATIONS or grown + changed_bytes > base / 2 else last + 1


def read_generations(
    reader: CheckpointReader, identity: Mapping[str, Any], widths: Mapping[str, int]
) -> Iterator[Generation]:
    """The generations of a table in order; `widths`: array → columns. `identity` must be that of the table restored.

    The rows of one must be read before the next is asked for. Raises `CheckpointDamaged`, naming the file.
    """
    parts: dict[int, list[str]] = {}
    for name in sorted(reader.names()):
        found = _NAME.fullmatch(name)
        if found is None:
            raise CheckpointDamaged(f"checkpoint {reader.ref.checkpoint}: {name} is no file of a tfplus table")
        parts.setdefault(int(found[1]), []).append(name)
    if not parts or list(parts) != list(range(len(parts))):
        raise CheckpointDamaged(f"checkpoint {reader.ref.checkpoint}: generations {list(parts)} of a tfplus table")
    for generation, names in parts.items():
        expected = [head_name(generation), *(rows_name(generation, part) for part in range(len(names) - 1))]
        if names != expected:
            raise CheckpointDamaged(f"checkpoint {reader.ref.checkpoint}: {names} is not a whole generation")
        yield _generation(reader, names, identity, widths)


def _generation(
    reader: CheckpointReader, names: Sequence[str], identity: Mapping[str, Any], widths: Mapping[str, int]
) -> Generation:
    head = _checked(reader, names[0], identity, _head)

    def rows() -> Iterator[Rows]:
        count = 0
        for name in names[1:]:
            read = _checked(reader, name, identity, lambda tensors, _: _rows(tensors, widths))
            count += len(read.keys)
            yield read
        if count != head.rows:
            raise CheckpointDamaged(
                f"checkpoint {reader.ref.checkpoint}, file {names[0]}: {head.rows} rows, and {count} there"
            )

    return Generation(head, rows())


def _checked(reader: CheckpointReader, name: str, identity: Mapping[str, Any], parse: Any) -> Any:
    try:
        tensors, metadata = decode(reader.read(name))
        if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
            raise ValueError(f"not written in version {VERSION} of the format {FORMAT}")
        written = json.loads(metadata.get("table", "null"))
        if written != identity:
            raise ValueError(f"it was written by the table {written}, not by {dict(identity)}")
        if metadata.get("file") != name:
            raise ValueError(f"it was written as {metadata.get('file')}")
        if metadata.pop("crc32", None) != _checksum(tensors, metadata):
            raise ValueError("its checksum does not match")
        return parse(tensors, metadata)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise CheckpointDamaged(
            f"checkpoint {reader.ref.checkpoint}, file {name}: {error}",
            hint="resume with the job that wrote the checkpoint, or pick another with --resume-from",
        ) from error


def _head(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> Head:
    _fit(tensors, {"deleted": ("<i8", 1), "candidates": ("<i8", 1)})
    _fit(tensors, {"candidate_counts": ("<u4", 1), "candidate_times": ("<u4", 1)})
    if not len(tensors["candidates"]) == len(tensors["candidate_counts"]) == len(tensors["candidate_times"]):
        raise ValueError("the candidates' arrays have different lengths")
    if len(tensors["candidate_counts"]) and not tensors["candidate_counts"].all():
        raise ValueError("a candidate was never seen")
    counters = json.loads(metadata["counters"])
    if not all(isinstance(count, int) and 0 <= count < 2**64 for count in counters.values()):
        raise ValueError(f"the counters are {counters}")
    return Head(int(json.loads(metadata["rows"])), counters, **tensors)


def _rows(tensors: dict[str, Any], widths: Mapping[str, int]) -> Rows:
    _fit(tensors, {"keys": ("<i8", 1), "counts": ("<u4", 1), "times": ("<u4", 1)})
    _fit(tensors, dict.fromkeys(widths, ("<f4", 2)))
    keys, counts, times = (tensors.pop(name) for name in ("keys", "counts", "times"))
    shapes = {name: array.shape for name, array in tensors.items()}
    if shapes != {name: (len(keys), width) for name, width in widths.items()}:
        raise ValueError(f"it holds {shapes}, not {dict(widths)} columns of {len(keys)} rows")
    if not len(keys) == len(counts) == len(times):
        raise ValueError("the arrays have different lengths")
    return Rows(keys, counts, times, {name: tensors[name] for name in widths})


def _fit(tensors: Mapping[str, Any], expected: Mapping[str, tuple[str, int]]) -> None:
    for name, form in expected.items():
        array = tensors.get(name)
        if array is None or (array.dtype.str, array.ndim) != form:
            raise ValueError(f"there is no {name} of type {form[0]} with {form[1]} dimensions")


def reused(since: SnapshotRef) -> Iterator[tuple[str, FileRef]]:
    """The files of an earlier snapshot, which a delta leaves as they are."""
    yield from sorted(since.files.items())
