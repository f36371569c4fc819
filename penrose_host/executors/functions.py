"""The user's own code: a function that a job names as `module:function`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from penrose_host.contracts.executor import FeatureSpec
from penrose_host.errors import ConfigError

__all__ = ["different_names", "fault", "function", "is_place"]


def is_place(text: str) -> bool:
    """Whether `text` reads `module:function`, dots allowed in the module."""
    module, colon, name = text.partition(":")
    return bool(colon) and name.isidentifier() and all(map(str.isidentifier, module.split(".")))


def function(place: str, named: str) -> Callable[..., Any]:
    """The function that the option `place` names. Raises `ConfigError` where it cannot be imported or is not there."""
    name, _, attribute = named.partition(":")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        hint = "is its folder on the path? PYTHONPATH=FOLDER penrose run …"
        raise fault(place, f"{named}: there is no module {error.name!r}", hint) from error
    except Exception as error:
        raise fault(place, f"{named}: importing {name} raised {error!r}") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise fault(place, f"{named}: the module {name} ({module.__file__}) has no function {attribute!r}")
    return found  # type: ignore[no-any-return]


def different_names(place: str, features: FeatureSpec) -> None:
    """What gets features by name needs them to differ. Raises `ConfigError`."""
    names = [*features.categorical, *(feature.name for feature in features.lists), *features.numeric]
    if len(set(names)) < len(names):
        raise fault(place, f"features of a module of your own need different names: {', '.join(names)}")


def fault(place: str, message: str, hint: str | None = None) -> ConfigError:
    return ConfigError([(place, message)], hint=hint)
