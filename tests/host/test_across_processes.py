"""Errors and results come out of another process as they went in."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest

from penrose_host import Position, errors
from penrose_host.contracts.environment import RunResult

#: A value for each argument that a class of error has.
GIVEN: dict[str, Any] = {
    "message": "it failed",
    "hint": "type this",
    "faults": [("executor", "no such thing")],
    "reasons": [("guard", "worse than before")],
    "plugin": "files",
    "kind": "datasource",
    "dist": "penrose-host",
    "version": "1.0",
    "partition": "a.csv",
    "offset": 7,
    "reason": "too few fields",
    "sequence": 3,
    "losses": {"click": float("inf")},
    "offsets": {"a.csv": 7},
    "path": Path("runs/x"),
}


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_crosses(name: str) -> None:
    kind = getattr(errors, name)
    error = kind(**{argument: GIVEN[argument] for argument in inspect.signature(kind).parameters})
    error.add_note("said by the caller")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is kind
        assert str(other) == str(error)
        assert other.args == error.args
        assert vars(other) == vars(error)


def test_errors_of_a_user_s_own_cross() -> None:
    other = pickle.loads(pickle.dumps(Own(2)))
    assert (type(other), str(other), other.count) == (Own, "2 too many", 2)


class Own(errors.TrainingError):
    """Made from something else than its message."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} too many")
        self.count = count


def test_results_cross() -> None:
    position = Position("files:x", {"b": 2, "a": 1})
    result = RunResult("until", 3, 2, position, "00000001-e1", {"rows": 3}, Path("runs/x"))
    other = pickle.loads(pickle.dumps(result))
    assert other == result
    assert copy.deepcopy(position) == position
    assert list(other.position.offsets) == ["a", "b"]
    with pytest.raises(TypeError):
        other.position.offsets["a"] = 5
