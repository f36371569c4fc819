"""A role's variables, which plugins give, in the environment of its process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["variables_set"]


@contextmanager
def variables_set(variables: Mapping[str, str]) -> Iterator[None]:
    """Meanwhile they are set; what was there before comes back."""
    before = {name: os.environ.get(name) for name in variables}
    try:
        os.environ.update(variables)
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
