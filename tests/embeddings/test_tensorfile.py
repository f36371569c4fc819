from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from penrose_host.embeddings.tensorfile import decode, encode

TENSORS = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name != "__metadata__"),
    st.sampled_from([np.float32, np.int32, np.int64]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
    ),
    max_size=4,
)
METADATA = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and left[name].tobytes() == right[name].tobytes()
        for name in left
    )


@given(TENSORS, METADATA)
def test_what_is_written_is_read(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    found, about = decode(b"".join(encode(tensors, metadata)))
    assert same(found, tensors)
    assert about == metadata


@given(TENSORS, METADATA)
def test_the_safetensors_library_reads_what_is_written(
    tensors: dict[str, np.ndarray], metadata: dict[str, str]
) -> None:
    assert same(safetensors.numpy.load(b"".join(encode(tensors, metadata))), tensors)


# (Without any tensor, that library writes no valid JSON.)
@given(TENSORS.filter(bool), METADATA)
def test_what_the_safetensors_library_writes_is_read(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    found, about = decode(safetensors.numpy.save(tensors, metadata))
    assert same(found, tensors)
    assert about == metadata


@given(st.data())
def test_a_damaged_file_raises_value_errors_only(data: Any) -> None:
    whole = bytearray(b"".join(encode({"a": np.arange(3), "b": np.ones((2, 2), np.float32)}, {"k": "v"})))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for damaged in (bytes(whole), bytes(whole[:cut])):
        with contextlib.suppress(ValueError):
            decode(damaged)


def test_every_truncation_is_refused() -> None:
    whole = b"".join(encode({"a": np.arange(3), "b": np.ones((2, 2), np.float32)}, {}))
    for length in range(len(whole)):
        with pytest.raises(ValueError):
            decode(whole[:length])
    with pytest.raises(ValueError, match="the arrays end at byte"):
        decode(whole + b"\0")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dtype": "F16", "shape": [1], "data_offsets": [0, 4]}, "cannot be read"),
        ({"dtype": "F32", "shape": [1]}, "cannot be read"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, "does not lie where"),
        ({"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}, "does not lie where"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}, "does not lie where"),
        ({"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}, "cut off"),
        (7, "cannot be read"),
    ],
)
def test_a_header_that_lies_is_refused(entry: object, message: str) -> None:
    header = json.dumps({"x": entry}).encode()
    with pytest.raises(ValueError, match=message):
        decode(len(header).to_bytes(8, "little") + header + b"\0" * 8)


@pytest.mark.parametrize("header", [b"[]", b"{", b"\xff\xfe", b'{"__metadata__": {"a": 1}}', b'{"__metadata__": 3}'])
def test_a_header_of_another_kind_is_refused(header: bytes) -> None:
    with pytest.raises(ValueError):
        decode(len(header).to_bytes(8, "little") + header)
