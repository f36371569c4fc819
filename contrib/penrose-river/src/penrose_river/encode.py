"""Encodes a graph of objects as JSON and arrays: what River's models are made of, and nothing that would be code.

A *value* is `null`, `true`, `1`, `1.5`, `"text"` as they are; `[i]`, which refers to node i; or an object with one key:
`float` (not finite), `scalar` (of NumPy), `bytes`, `name` (a class or function), `random` (a new generator).
Everything that has an identity is a *node*, an object whose first key says what it is, so that what was one object is
one object again. Arrays, and dicts of numbers, stand beside the JSON.
"""

from __future__ import annotations

import copyreg
import functools
import json
import math
import random
from base64 import b64encode
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from types import MethodType
from typing import Any

import numpy as np

from penrose_river.names import FUNCTIONS, Names

__all__ = ["CannotEncode", "Encoder"]

#: Dicts of at least this many numbers become two arrays.
_MANY = 16
_NUMBERS: dict[frozenset[type], type[np.generic]] = {frozenset({int}): np.int64, frozenset({float}): np.float64}
_DICTS: dict[type, str] = {dict: "dict", OrderedDict: "ordered", Counter: "counter", defaultdict: "defaultdict"}
_SEQUENCES: dict[type, str] = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset", deque: "deque"}
#: How objects are made and what is kept of them, where their class has no way of its own.
_NEW: Any = copyreg.__newobj__  # type: ignore[attr-defined]
_GET_STATE: Any = object.__getstate__
#: Of arrays and scalars: what safetensors knows.
_DTYPES = frozenset(map(np.dtype, "?bBhHiIlLefd"))
_PLAIN_KEYS = (str, int, float, bool, type(None))

#: Stands for a random generator that nobody seeded.
_UNSEEDED = object()

Node = dict[str, Any]


class CannotEncode(Exception):
    """`path` leads to the attribute that cannot be kept; `reason` says why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.path = path
        self.reason = reason


class Encoder:
    """`nodes` and `arrays` grow with every `encode`. All of it is copied: what is encoded may change afterwards."""

    def __init__(self, names: Names) -> None:
        self.nodes: list[Node] = []
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self._names = names
        self._seen: dict[int, int] = {}
        self._objects: list[Any] = []  # by node; also keeps ids from being used again
        self._places: list[tuple[int, str]] = []  # by node: the node that it was found in (-1: the root), and where

    def encode(self, root: object, name: str) -> Any:
        """The value of `root`, which messages call `name`. Raises `CannotEncode`."""
        value = self._value(root, -1, name)
        done = len(self.nodes)
        # Not by recursion: a deep tree is no problem. `_value` adds to both lists.
        while done < len(self._objects):
            self.nodes.append(self._node(self._objects[done], done))
            done += 1
        return value

    def _value(self, thing: Any, parent: int, place: str) -> Any:
        kind = type(thing)
        if thing is None or kind in (bool, int, str):
            return thing
        if kind is float:
            return thing if math.isfinite(thing) else {"float": repr(thing)}
        if isinstance(thing, np.generic) and thing.dtype in _DTYPES:
            return {"scalar": [thing.dtype.str, thing.tobytes().hex()]}
        if kind is bytes:
            return {"bytes": b64encode(thing).decode()}
        if isinstance(thing, (type, *FUNCTIONS)):
            name = self._names.of(thing)
            if name is None:
                raise self._refused(parent, place, f"is {_shown(thing)}: {self._outside(thing)}")
            return {"name": name}
        if thing is _UNSEEDED:
            return {"random": None}
        index = self._seen.get(id(thing))
        if index is None:
            index = self._seen[id(thing)] = len(self._objects)
            self._objects.append(thing)
            self._places.append((parent, place))
        return [index]

    def _node(self, thing: Any, at: int) -> Node:
        kind = type(thing)
        if kind in _DICTS:
            return self._dict(thing, _DICTS[kind], at)
        if kind in _SEQUENCES:
            items = [self._value(item, at, f"[{i}]") for i, item in enumerate(thing)]
            if kind in (set, frozenset):
                # Equal sets may have different orders; what is written of them is equal.
                items.sort(key=json.dumps)
            node: Node = {_SEQUENCES[kind]: items}
            return {**node, "maxlen": thing.maxlen} if kind is deque else node
        if kind is np.ndarray:
            return self._array(thing, at)
        if kind is functools.partial:
            parts = {"function": thing.func, "arguments": thing.args, "keywords": thing.keywords}
            return {"partial": {name: self._value(part, at, f".{name}") for name, part in parts.items()}}
        if kind is MethodType:
            return {"method": thing.__name__, "of": self._value(thing.__self__, at, ".__self__")}
        if kind is random.Random:
            version, numbers, gauss = thing.getstate()
            self.arrays[f"{at}.random"] = np.array(numbers, dtype=np.uint32)
            return {"random": f"{at}.random", "version": version, "gauss": gauss}
        if kind is np.random.RandomState:
            return {"random_state": self._value(thing.get_state(legacy=False), at, ".state")}
        if kind is np.random.Generator:
            return {"generator": self._value(thing.bit_generator.state, at, ".state")}
        return self._object(thing, kind, at)

    def _dict(self, thing: Mapping[Any, Any], word: str, at: int) -> Node:
        factory: Node = {}
        if isinstance(thing, defaultdict):
            factory["factory"] = self._value(thing.default_factory, at, ".default_factory")
        if len(thing) >= _MANY:
            keys = _NUMBERS.get(frozenset(map(type, thing)))
            values = _NUMBERS.get(frozenset(map(type, thing.values())))
            if keys is np.int64 and values is not None:
                try:
                    self.arrays[f"{at}.keys"] = np.fromiter(thing, keys, len(thing))
                    self.arrays[f"{at}.values"] = np.fromiter(thing.values(), values, len(thing))
                    return {word: f"{at}", **factory}
                except OverflowError:
                    pass  # an int of more than 64 bits: one by one, as JSON
        pairs = []
        for key, value in thing.items():
            if not _is_plain(key):
                raise self._refused(at, "", f"has a key {_shown(key)}: keys are text, numbers, or tuples of those")
            pairs.append([self._value(key, at, "key"), self._value(value, at, f"[{key!r}]")])
        return {word: pairs, **factory}

    def _array(self, array: np.ndarray[Any, Any], at: int) -> Node:
        if array.dtype not in _DTYPES:
            raise self._refused(at, "", f"is an array of {array.dtype}")
        # Sums of floats depend on the order in memory: it is kept.
        turned = array.flags.f_contiguous and not array.flags.c_contiguous
        self.arrays[f"{at}"] = np.array(array.T if turned else array, order="C")
        return {"array": f"{at}", "turned": turned}

    def _object(self, thing: Any, kind: type, at: int) -> Node:
        name = self._names.of(kind)
        if name is None:
            raise self._refused(at, "", f"is {_shown(thing)}: {self._outside(kind)}")
        try:
            # What pickle would ask for. It raises where an object has state that Python cannot see.
            function, arguments, state, *items = (*thing.__reduce_ex__(2), None, None, None)[:5]
        except TypeError as error:
            raise self._refused(at, "", f"is {_shown(thing)}, whose state cannot be seen ({error})") from error
        calls = function is kind
        if not (calls or function is _NEW) or items != [None, None]:
            raise self._refused(at, "", f"is {_shown(thing)}, which is made in a way of its own")
        node: Node = {"object": name}
        if calls:
            node["calls"] = True
        if arguments := arguments if calls else arguments[1:]:
            node["arguments"] = self._value(arguments, at, ".arguments")
        if calls or kind.__getstate__ is not _GET_STATE:
            return {**node, "state": self._value(state, at, ".state")} if state is not None else node
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        if name.startswith("river.proba.") and attributes.get("seed", 0) is None:
            # Only samples are drawn from it, no two runs draw alike, and there may be thousands, of 2.5 kB each.
            attributes = {**attributes, "_rng": _UNSEEDED}
        for word, values in (("attributes", attributes), ("slots", slots)):
            if values:
                node[word] = {key: self._value(value, at, f".{key}") for key, value in values.items()}
        return node

    def _outside(self, thing: Any) -> str:
        if not isinstance(thing, type) and "<" in thing.__qualname__:
            return "a function has to have a name, at the top of a module"
        allowed = ", ".join(self._names.modules)
        return f"a state may hold what is defined in {allowed}, and {thing.__module__} is none of them"

    def _refused(self, at: int, place: str, reason: str) -> CannotEncode:
        path = [place]
        while at >= 0:
            at, place = self._places[at]
            path.append(place)
        return CannotEncode("".join(reversed(path)), reason)


def _is_plain(key: object) -> bool:
    if isinstance(key, tuple):
        return type(key) is tuple and all(map(_is_plain, key))
    return type(key) in _PLAIN_KEYS or isinstance(key, np.generic | type)


def _shown(thing: object) -> str:
    kind = thing if isinstance(thing, (type, *FUNCTIONS)) else type(thing)
    article = "the class" if isinstance(thing, type) else "the function" if isinstance(thing, FUNCTIONS) else "a"
    return f"{article} {kind.__module__}.{kind.__qualname__}"
