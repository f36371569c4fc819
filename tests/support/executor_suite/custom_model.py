"""A model of the user's: the README's example, and everything that can be wrong with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from penrose_host import ConfigError, EncodedBatch, FeatureSpec

Module = Callable[[str], None]


def shapes_of_inputs(rows: int, width: int) -> dict[str, list[int]]:
    """What a model gets of `lab.rich`."""
    embedded = ("user", "item", "user x item", "tags", "history")
    return {name: [rows, width] for name in embedded} | {"price": [rows], "age": [rows]}


class CustomModel:
    """`my_models.py` is written by the fixture `module`."""

    #: The class that a function has to return an instance of, as errors name it.
    kind: ClassVar[str]
    #: What errors say of a key that is not in the inputs.
    no_key: ClassVar[str]
    #: A line of a constructor: a layer with variables that nothing calls.
    unused_layer: ClassVar[str]
    #: Logits [rows] of `x['x']` and `self.weight` by layers that keep averages; and the line that makes those layers.
    averaging: ClassVar[tuple[str, str]]

    def returning(self, expression: str, more: str = "") -> str:
        """A module whose `build` returns a model, which returns `expression` of its input x.

        It may use `self.weight`, a variable that is 0, and the functions `rows`, which adds up what each row of a
        tensor [rows, …] holds; `number`, the sum of all; `integers`, which rounds. `more` stands in the constructor.
        """
        raise NotImplementedError

    @pytest.mark.parametrize("rows", [1000, None], ids=["table", "layer"])
    def test_the_example_of_the_readme_learns(self, lab: Any, module: Module, rows: int | None) -> None:
        module(lab.example("my_models.py"))
        executor = lab.executor(lab.rich, rows=rows, model="my_models:towers", model_options={"units": 16})
        batch = lab.batch(lab.rich, 64, labelled=1.0)
        first = executor.train(batch, lab.step()).losses
        for number in range(100):
            last = executor.train(batch, lab.step(number)).losses
        assert all(last[head] < 0.5 * first[head] for head in lab.rich.labels)

    @pytest.mark.parametrize(
        "expression",
        ["rows(x['user'])", "rows(x['user'])[:, None]", "{'click': rows(x['user']) + rows(x['item'])}"],
        ids=["rows", "rows x heads", "by head"],
    )
    def test_logits_come_in_three_shapes(self, lab: Any, module: Module, expression: str) -> None:
        module(self.returning(expression))
        executor = lab.executor(lab.plain, model="my_models:build")
        for count in (0, 1, 5):
            batch = lab.batch(lab.plain, count, labelled=1.0)
            assert executor.predict(batch)["click"].shape == (count,)
            assert executor.train(batch, lab.step()).applied

    def test_a_model_that_uses_no_embedding_and_not_all_parameters_trains(self, lab: Any, module: Module) -> None:
        features = FeatureSpec(categorical=("a",), numeric=("x",), labels=("y",))
        module(self.returning("x['x'] * self.weight", self.unused_layer))
        executor = lab.executor(features, model="my_models:build")
        ones = np.ones(4, np.float32)
        batch = EncodedBatch(np.zeros((4, 1), np.int64), {}, {"x": ones}, {"y": ones})
        before = executor.predict(batch)["y"]
        assert executor.train(batch, lab.step()).applied
        assert (executor.predict(batch)["y"] > before).all()

    def test_a_step_that_is_not_finite_leaves_averages_and_generators_too(self, lab: Any, module: Module) -> None:
        features = FeatureSpec(numeric=("x",), labels=("y",))
        module(self.returning(*self.averaging))
        executor = lab.executor(features, model="my_models:build")
        labels = {"y": np.ones(4, np.float32)}
        saved = lab.save(executor)
        bad = EncodedBatch(np.empty((4, 0), np.int64), {}, {"x": np.array([1, 2, np.nan, 3], np.float32)}, labels)
        assert not executor.train(bad, lab.step()).applied
        assert lab.save(executor) == saved
        good = EncodedBatch(np.empty((4, 0), np.int64), {}, {"x": np.arange(4, dtype=np.float32)}, labels)
        assert executor.train(good, lab.step()).applied
        assert lab.save(executor) != saved

    @pytest.mark.parametrize(
        ("text", "model", "message"),
        [
            ("", "no_such_module:build", "no_such_module:build: there is no module 'no_such_module'"),
            ("import no_such_dependency", "my_models:build", "there is no module 'no_such_dependency'"),
            ("1 / 0", "my_models:build", "importing my_models raised ZeroDivisionError"),
            ("", "my_models:build", r"the module my_models \(.*my_models.py\) has no function 'build'"),
            ("build = 3", "my_models:build", "has no function 'build'"),
            ("def build(features): pass", "my_models:build", "my_models:build raised TypeError"),
            ("def build(features, width): return 3", "my_models:build", "returned a int, not a {kind}"),
        ],
    )
    def test_what_is_wrong_with_a_function_is_told_before_the_run(
        self, lab: Any, module: Module, text: str, model: str, message: str
    ) -> None:
        self._assert_told(lab, module, text, message.replace("{kind}", self.kind), model)

    @pytest.mark.parametrize(
        ("expression", "message"),
        [
            ("x['usr']", "raised {no_key} for 3 rows"),
            ("3", r"returned a int for 3 rows; expected are logits: floats \[3, 1\] or \[3\]"),
            ("x['user']", r"returned float32 \[3, 8\] for 3 rows"),
            ("number(x['user'])", r"returned float32 \[\] for 3 rows"),
            ("integers(rows(x['user']))", r"returned int64 \[3\] for 3 rows"),
            ("{'clack': rows(x['user'])}", r"returned {clack: float32 \[3\]}.*dict of click"),
            ("{'click': x['user']}", r"returned {click: float32 \[3, 8\]} for 3 rows"),
        ],
    )
    def test_what_is_wrong_with_what_a_model_returns_is_told_before_the_run(
        self, lab: Any, module: Module, expression: str, message: str
    ) -> None:
        self._assert_told(lab, module, self.returning(expression), message.replace("{no_key}", self.no_key))

    def _assert_told(self, lab: Any, module: Module, text: str, message: str, model: str = "my_models:build") -> None:
        module(text)
        with pytest.raises(ConfigError, match=message) as caught:
            lab.executor(lab.plain, model=model)
        assert caught.value.faults[0][0] == "executor.model"

    def test_two_features_of_one_name_are_refused(self, lab: Any, module: Module) -> None:
        module(self.returning("rows(x['a'])"))
        with pytest.raises(ConfigError, match="different names: a, a"):
            lab.executor(FeatureSpec(categorical=("a",), numeric=("a",), labels=("y",)), model="my_models:build")
