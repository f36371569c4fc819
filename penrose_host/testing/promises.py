"""Promises: the sentences that contract classes check, and how a broken one is told."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Broken", "BrokenPromise", "promise", "promises_of", "raised_by", "told"]

Test = TypeVar("Test", bound=Callable[..., None])


class Broken(Exception):
    """Raised inside a check: what was `seen`, and what `todo` about it, each a plain sentence."""

    def __init__(self, seen: str, todo: str) -> None:
        super().__init__(seen, todo)
        self.seen = seen
        self.todo = todo


class BrokenPromise(AssertionError):
    """A plugin does not keep a promise: the promise, what was seen, what to do."""

    def __init__(self, sentence: str, seen: str, todo: str) -> None:
        super().__init__(f"promise: {sentence}\nseen: {seen}\nto do: {todo}")
        self.promise = sentence
        self.seen = seen
        self.todo = todo


def promise(test: Test) -> Test:
    """Mark a test method: its docstring is the promise, and whatever goes wrong in it is told as breaking that.

    What the plugin raises stays what it is, with the promise as a note.
    """
    sentence = _sentence(test)

    @functools.wraps(test)
    def checked(*arguments: Any, **fixtures: Any) -> None:
        __tracebackhide__ = True
        try:
            test(*arguments, **fixtures)
        except Broken as broken:
            raise BrokenPromise(sentence, broken.seen, broken.todo) from None
        except Exception as error:
            seen = f"it {told(error)}."
            error.add_note(f"promise: {sentence}\nseen: {seen}\nto do: see above where; this should not raise.")
            raise

    checked.__promise__ = sentence  # type: ignore[attr-defined]
    return checked  # type: ignore[return-value]


def promises_of(contract: type) -> dict[str, str]:
    """Test method → its promise, for everything that a contract class checks, in order."""
    found: dict[str, str] = {}
    for base in reversed(contract.__mro__):
        for name, attribute in vars(base).items():
            if sentence := getattr(attribute, "__promise__", None):
                found[name] = sentence
    return found


def raised_by(call: Callable[[], object]) -> Exception | None:
    """The exception that a call raises; None where it returns."""
    try:
        call()
    except Exception as error:
        return error
    return None


def told(error: Exception | None) -> str:
    """What a call raised, in words."""
    return "raised nothing" if error is None else f"raised {type(error).__name__}: {error}"


def _sentence(test: Callable[..., None]) -> str:
    return " ".join((test.__doc__ or test.__name__).split())
