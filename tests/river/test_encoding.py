from __future__ import annotations

import copy
import functools
import json
import math
import os
import random
import subprocess
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from river import stats, utils
from river_models import Calibrated, bracket

from penrose_river.decode import Decoder
from penrose_river.encode import CannotEncode, Encoder
from penrose_river.names import Names

NAMES = Names(["river_models"])


def again(thing: object) -> Any:
    """What it is after it was written down, as JSON and safetensors, and made again."""
    encoder = Encoder(NAMES)
    value = encoder.encode(thing, "model")
    text = json.dumps([value, encoder.nodes], allow_nan=False)
    value, nodes = json.loads(text)
    return Decoder(nodes, safetensors.numpy.load(safetensors.numpy.save(encoder.arrays)), NAMES).decode(value)


def same(one: Any, other: Any) -> bool:
    """Equal in value and type all the way down, NaN equal to itself, dicts in the same order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        factories = getattr(one, "default_factory", None), getattr(other, "default_factory", None)
        return factories[0] is factories[1] and same(list(one.items()), list(other.items()))
    if isinstance(one, list | tuple | deque):
        same_length = len(one) == len(other) and getattr(one, "maxlen", 0) == getattr(other, "maxlen", 0)
        return same_length and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, set | frozenset):
        return bool(one == other)
    if isinstance(one, np.ndarray):
        return bool(
            (one.dtype, one.shape, one.flags.f_contiguous, one.tobytes())
            == (other.dtype, other.shape, other.flags.f_contiguous, other.tobytes())
        )
    if isinstance(one, np.generic):
        return bool(one.tobytes() == other.tobytes())
    if isinstance(one, float):
        return bool(np.float64(one).tobytes() == np.float64(other).tobytes()) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


dtypes = st.sampled_from([np.dtype(code) for code in "?bBhHiIlLefd"])
numbers = st.integers() | st.floats() | st.integers(-(2**63), 2**63 - 1)
plain = st.none() | st.booleans() | numbers | st.text(st.characters(exclude_categories=[])) | st.binary()
words = st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
keys = st.recursive(words, lambda key: st.tuples(key, key), max_leaves=3)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4))
graphs = st.recursive(
    plain | arrays | dtypes.flatmap(hnp.from_dtype),
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.sets(keys),
        st.frozensets(keys),
        st.dictionaries(keys, inner),
        st.dictionaries(keys, inner).map(OrderedDict),
        st.dictionaries(st.text(), st.integers()).map(Counter),
        st.dictionaries(keys, inner).map(lambda pairs: defaultdict(list, pairs)),
        st.tuples(st.lists(inner), st.none() | st.integers(0, 5)).map(lambda found: deque(*found)),
        st.dictionaries(st.integers(-(2**64), 2**64), st.floats(), min_size=16),
        st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1), min_size=16),
    ),
    max_leaves=8,
)


@given(graphs)
def test_what_models_are_made_of_comes_back_equal(graph: Any) -> None:
    assert same(graph, again(graph))


@given(st.sets(st.integers()), st.sets(st.text()))
def test_equal_sets_are_written_alike(numbers: set[int], texts: set[str]) -> None:
    def written(things: list[Any]) -> str:
        encoder = Encoder(NAMES)
        encoder.encode([set(part) for part in things], "model")
        return json.dumps(encoder.nodes)

    assert written([sorted(numbers), sorted(texts)]) == written([sorted(numbers)[::-1], sorted(texts)[::-1]])


def test_what_was_one_object_is_one_object_again() -> None:
    shared = [1.0]
    made = again({"a": shared, "b": [shared, (shared,)], "c": [1.0]})
    assert made["a"] is made["b"][0] is made["b"][1][0]
    assert made["a"] is not made["c"]


def test_what_holds_itself_comes_back() -> None:
    loop: list[Any] = [1]
    loop.append({"me": loop, "pair": (loop, 2)})
    made = again(loop)
    assert made[1]["me"] is made
    assert made[1]["pair"][0] is made


def test_depth_is_no_limit() -> None:
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    encoder = Encoder(NAMES)
    value = encoder.encode(deep, "model")
    made = Decoder(encoder.nodes, {}, NAMES).decode(value)
    for _ in range(50_000):
        (made,) = made
    assert made == []


@pytest.mark.parametrize("generator", [random.Random(3), np.random.RandomState(3), np.random.default_rng(3)])
def test_random_generators_go_on_with_the_same_numbers(generator: Any) -> None:
    def draw(source: Any) -> list[float]:
        return [source.gauss(0, 1) if isinstance(source, random.Random) else source.normal() for _ in range(5)]

    draw(generator)
    made = again(generator)
    assert draw(generator) == draw(made)


def test_objects_functions_and_what_makes_values_come_back() -> None:
    model = Calibrated()
    factory = functools.partial(utils.Rolling, stats.Mean, window_size=3)
    made = again({"model": model, "function": bracket, "values": defaultdict(factory), "get": model.mean.get})
    assert type(made["model"]) is Calibrated
    assert made["function"] is bracket
    assert made["get"].__self__ is made["model"].mean
    made["values"]["x"].update(2.0)
    assert made["values"]["x"].get() == 2.0
    assert not model.rows


class Stranger:
    pass


class Slotted:
    __slots__ = ("__hidden", "shown")


class Fancy(dict[str, int]):
    pass


class Own:
    def __getstate__(self) -> int:
        return 0

    def __reduce__(self) -> Any:
        return copy.copy, (1,)


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (lambda x: x, r"model\[0\]\['key'\] is the function .*<lambda>: a function has to have a name"),
        (Stranger(), r"model\[0\]\['key'\] is a .*Stranger: a state may hold what is defined in river, "),
        (Stranger, r"is the class .*Stranger"),
        (os.system, r"is the function posix.system"),
        (subprocess.run, r"is the function subprocess.run"),
        ([].append, r"is the function None.list.append"),
        (iter([]), r"is a builtins.list_iterator"),
        (1j, r"is a builtins.complex"),
        (np.array([None]), r"is an array of object"),
        (np.array(["text"]), r"is an array of <U4"),
        (np.zeros(2, ">f8"), r"is an array of >f8"),
        (np.datetime64("2020-01-01"), r"is a numpy.datetime64"),
        (np.str_("text"), r"is a numpy.str_"),
        ({Stranger(): 1}, r"has a key a .*Stranger"),
        ({(1, (2, Stranger())): 1}, r"has a key a builtins.tuple"),
        (functools.partial(os.system, "true"), r"\.function is the function posix.system"),
        (defaultdict(os.getcwd), r"\.default_factory is the function posix.getcwd"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_place(thing: Any, message: str) -> None:
    with pytest.raises(CannotEncode, match=message):
        again([{"key": thing}])


@pytest.mark.parametrize(("thing", "message"), [(Fancy(), "in a way of its own"), (Own(), "in a way of its own")])
def test_classes_that_are_made_in_their_own_way_are_refused(thing: Any, message: str) -> None:
    with pytest.raises(CannotEncode, match=message):
        Encoder(Names([__name__])).encode(thing, "model")


def test_private_slots_are_kept() -> None:
    slotted = Slotted()
    slotted.shown = 1
    slotted._Slotted__hidden = [2]
    names = Names([__name__])
    encoder = Encoder(names)
    made = Decoder(encoder.nodes, encoder.arrays, names).decode(encoder.encode(slotted, "model"))
    assert (made.shown, made._Slotted__hidden) == (1, [2])


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "builtins:eval",
        "builtins:getattr",
        "riverside:boat",
        "river.stats:os",
        "river.base.base:inspect",
        "river.compose.pipeline:functools.partial",
        "river.stats.mean:Mean.__init__.__globals__",
        "river.stats.mean:Mean.__class__",
        "river.nothing:here",
        "river.stats.mean:Nothing",
        "river.stats.mean:",
        "river.stats.mean",
        ":system",
        "",
        "river_models:KEPT",
        "river_models:tree",
    ],
)
def test_a_state_that_names_anything_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not of river|is not a class or function|there is no|Empty module name"):
        NAMES.find(name)
    for node in ({"object": name}, {"list": [{"name": name}]}, {"partial": {"function": {"name": name}}}):
        with pytest.raises(ValueError, match=r"."):
            Decoder([node], {}, NAMES).decode([0])


@pytest.mark.parametrize(
    "node",
    [
        {},
        {"pickle": "gASVHgAAAA=="},
        {"object": "river.stats.mean:Mean", "attributes": 3},
        {"object": "river_models:bracket"},
        {"tuple": [[0]]},
        {"frozenset": [[0]]},
        {"list": [[1]]},
        {"list": [[0, 0]]},
        {"list": [{"float": "much"}]},
        {"list": [{"scalar": ["O", "00"]}]},
        {"list": [{"float": "1", "name": "x"}]},
        {"array": "nothing", "turned": False},
        {"dict": "nothing"},
        {"dict": [[1]]},
        {"generator": [1]},
        {"method": "__class__", "of": [0]},
        {"random": "nothing", "version": 3, "gauss": None},
        None,
        "list",
    ],
)
def test_what_is_no_state_is_refused(node: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        Decoder([node], {}, NAMES).decode([0])


def test_a_method_from_a_state_is_a_method_of_its_class() -> None:
    nodes = [{"method": "__class__", "of": [1]}, {"object": "river.stats.mean:Mean"}]
    with pytest.raises(ValueError, match="__class__ is not a method of Mean"):
        Decoder(nodes, {}, NAMES).decode([0])
