"""Builds the models of a job: River's by name, or the user's own by `module:function`."""

from __future__ import annotations

import copy
import functools
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penrose_host import ConfigError
from penrose_river.learner import Learner
from penrose_river.names import Names
from penrose_river.options import MODELS, OptimizerOptions, RiverOptions
from penrose_river.state import copy_of
from penrose_river.trial import model_fault, try_out

if TYPE_CHECKING:
    from penrose_host import ExecutorContext, FeatureSpec

__all__ = ["build"]

_OPTIMIZERS = {"sgd": "SGD", "adagrad": "AdaGrad", "adam": "Adam", "ftrl": "FTRLProximal"}
#: Leaves that count classes give probabilities; naive Bayes in the leaves, River's default, is too sure of itself.
_TREE = {"leaf_prediction": "mc"}


def build(options: RiverOptions, context: ExecutorContext) -> Learner:
    """A model for each label, tried out. Raises `ConfigError`."""
    features = context.features
    faults = []
    if not features.labels:
        faults.append(("features.labels", "a model needs at least one label"))
    if not (features.categorical or features.lists or features.numeric):
        faults.append(("features", "a model needs at least one feature"))
    if context.parameters is not None:
        faults.append(("executor", "river keeps its model in its own process: it cannot train with parameter servers"))
    if options.model == "hoeffding-tree" and features.lists:
        faults.append(("features.lists", "hoeffding-tree takes one value of each feature: leave lists out"))
    if faults:
        raise ConfigError(faults)
    make = _maker(options, features)
    own = () if options.model in MODELS else (options.model.partition(":")[0],)
    names = Names((*own, *options.modules))
    inputs = options.inputs
    if inputs == "auto":
        inputs = "sparse" if options.model == "logistic" else "named"
    try_out(Learner(options.model, {head: make() for head in features.labels}, inputs, features, names))
    learner = Learner(options.model, {head: make() for head in features.labels}, inputs, features, names)
    # Made again at once: sets then have the order that they will have after a checkpoint.
    learner.models = copy_of(learner)
    return learner


def _maker(options: RiverOptions, features: FeatureSpec) -> Callable[[], Any]:
    """Makes one model; everything that raises in there is a fault of the job."""
    function: Callable[..., Any]
    if options.model == "logistic":
        from river.linear_model import LogisticRegression

        function, given = LogisticRegression, {"optimizer": _optimizer(options.optimizer), **options.model_options}
    elif options.model == "hoeffding-tree":
        from penrose_river.trees import HoeffdingTree

        nominal = list(features.categorical)
        function, given = HoeffdingTree, {**_TREE, "nominal_attributes": nominal, **options.model_options}
    else:
        function, given = functools.partial(_function(options.model), features), options.model_options

    made: list[Any] = []

    def make() -> Any:
        try:
            # A copy each time: heads must not share an optimizer.
            model = function(**copy.deepcopy(given))
        except Exception as error:
            raise model_fault(f"{options.model} raised {error!r} with {dict(options.model_options)}") from error
        if any(model is other for other in made):
            raise model_fault(f"{options.model} returned the same model twice: each label has its own")
        made.append(model)
        return model

    return make


def _optimizer(options: OptimizerOptions) -> Any:
    import river.optim

    kind = getattr(river.optim, _OPTIMIZERS[options.name])
    rate = "alpha" if options.name == "ftrl" else "lr"
    try:
        return kind(**{rate: options.learning_rate}, **options.parameters)
    except TypeError as error:
        raise ConfigError([("executor.optimizer", f"{options.name}: {error}")]) from error


def _function(model: str) -> Callable[..., Any]:
    name, _, attribute = model.partition(":")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        hint = "is its folder on the path? PYTHONPATH=FOLDER penrose run …"
        raise model_fault(f"{model}: there is no module {error.name!r}", hint) from error
    except Exception as error:
        raise model_fault(f"{model}: importing {name} raised {error!r}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise model_fault(f"{model}: the module {name} ({module.__file__}) has no function {attribute!r}")
    return function  # type: ignore[no-any-return]
