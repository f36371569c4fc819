"""Makes objects again of what `encode` wrote. Nothing is imported or called that `Names` does not allow."""

from __future__ import annotations

import functools
import random
from base64 import b64decode
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from penrose_river.names import Names

__all__ = ["Decoder"]

_EMPTY: dict[str, type] = {
    "dict": dict,
    "ordered": OrderedDict,
    "counter": Counter,
    "defaultdict": defaultdict,
    "list": list,
    "set": set,
}
_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
_MALFORMED = (AttributeError, IndexError, KeyError, OverflowError, RecursionError, StopIteration, TypeError)


class Decoder:
    """The nodes and arrays of an `Encoder`; each node becomes one object, however often it is referred to."""

    def __init__(
        self, nodes: Sequence[Mapping[str, Any]], arrays: Mapping[str, np.ndarray[Any, Any]], names: Names
    ) -> None:
        self._nodes = nodes
        self._arrays = arrays
        self._names = names
        self._made: dict[int, Any] = {}
        self._making: set[int] = set()
        # Made, but still empty: what refers to itself, and deep trees, are filled from here.
        self._empty: list[tuple[Any, Mapping[str, Any]]] = []

    def decode(self, value: Any) -> Any:
        """The object that this value was. Raises ValueError for what `Encoder` cannot have written."""
        try:
            return self._whole(value)
        except _MALFORMED as error:
            raise ValueError(f"not a state of this kind: {error!r}") from error

    def _whole(self, value: Any) -> Any:
        """The object, with everything in it that was not made before."""
        outer, self._empty = self._empty, []
        thing = self._value(value)
        while self._empty:
            self._fill(*self._empty.pop())
        self._empty = outer
        return thing

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            (index,) = value
            return self._thing(index)
        if not isinstance(value, dict):
            return value
        ((word, content),) = value.items()
        if word == "float":
            return float(content)
        if word == "name":
            return self._names.find(content)
        if word == "bytes":
            return b64decode(content)
        if word == "scalar":
            dtype, data = content
            return np.frombuffer(bytes.fromhex(data), np.dtype(dtype))[0]
        if word == "random":
            return random.Random()
        raise ValueError(f"there is no value of the kind {word!r}")

    def _thing(self, index: int) -> Any:
        if index not in self._made:
            if index in self._making:
                raise ValueError(f"node {index} is needed to make itself")
            self._making.add(index)
            self._made[index] = self._make(self._nodes[index])
            self._making.remove(index)
        return self._made[index]

    def _make(self, node: Mapping[str, Any]) -> Any:
        word = next(iter(node))
        content = node[word]
        match word:
            case "tuple":
                return tuple(map(self._value, content))
            case "frozenset":
                return frozenset(map(self._value, content))
            case "array":
                array = self._arrays[content].copy()
                return array.T if node["turned"] else array
            case "partial":
                parts = {name: self._whole(part) for name, part in content.items()}
                return functools.partial(parts["function"], *parts["arguments"], **parts["keywords"])
            case "method":
                owner = self._value(node["of"])
                function = getattr(type(owner), content)
                if not isinstance(function, FunctionType):
                    raise ValueError(f"{content} is not a method of {type(owner).__qualname__}")
                return MethodType(function, owner)
            case "random":
                generator = random.Random()
                generator.setstate((node["version"], tuple(self._arrays[content].tolist()), node["gauss"]))
                return generator
            case "random_state":
                legacy = np.random.RandomState()
                legacy.set_state(self._whole(content))
                return legacy
            case "generator":
                state = self._whole(content)
                if state["bit_generator"] not in _GENERATORS:
                    raise ValueError(f"there is no bit generator {state['bit_generator']!r}")
                bits = getattr(np.random, state["bit_generator"])()
                bits.state = state
                return np.random.Generator(bits)
        thing = self._object(node) if word == "object" else self._container(word, node)
        self._empty.append((thing, node))
        return thing

    def _container(self, word: str, node: Mapping[str, Any]) -> Any:
        return deque(maxlen=node["maxlen"]) if word == "deque" else _EMPTY[word]()

    def _object(self, node: Mapping[str, Any]) -> Any:
        kind = self._names.find(node["object"])
        if not isinstance(kind, type):
            raise ValueError(f"{node['object']} is not a class")
        arguments = self._whole(node.get("arguments", [])) if "arguments" in node else ()
        return kind(*arguments) if node.get("calls") else kind.__new__(kind, *arguments)

    def _fill(self, thing: Any, node: Mapping[str, Any]) -> None:
        word = next(iter(node))
        content = node[word]
        if word == "object":
            if "state" in node:
                thing.__setstate__(self._whole(node["state"]))
            if "attributes" in node:
                thing.__dict__.update({key: self._value(value) for key, value in node["attributes"].items()})
            for key, value in node.get("slots", {}).items():
                object.__setattr__(thing, key, self._value(value))
        elif word == "set":
            thing.update(map(self._value, content))
        elif word in ("list", "deque"):
            thing.extend(map(self._value, content))
        else:
            if "factory" in node:
                thing.default_factory = self._value(node["factory"])
            for key, value in self._pairs(content):
                thing[key] = value

    def _pairs(self, content: Any) -> Iterable[tuple[Any, Any]]:
        if isinstance(content, str):
            keys, values = (self._arrays[f"{content}.{part}"].tolist() for part in ("keys", "values"))
            return zip(keys, values, strict=True)
        return [(self._value(key), self._value(value)) for key, value in content]
