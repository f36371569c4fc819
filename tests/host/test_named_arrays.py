from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from penrose_host.core.metrics.named_arrays import arrays_from_ipc, arrays_to_ipc

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int32, np.int64]),
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4),
)


@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4))
def test_arrays_come_back_bit_for_bit(arrays: dict[str, Any]) -> None:
    data = arrays_to_ipc(arrays, {"heads": ["ü"]})
    back, info = arrays_from_ipc(data)
    assert info == {"heads": ["ü"]}
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()
    assert arrays_to_ipc(arrays, {"heads": ["ü"]}) == data


def test_other_arrow_bytes_are_refused() -> None:
    schema = pa.schema([("a", pa.int64())])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema):
        pass
    with pytest.raises(ValueError, match="not named arrays"):
        arrays_from_ipc(sink.getvalue().to_pybytes())
