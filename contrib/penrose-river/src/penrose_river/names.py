"""Which classes and functions the state of a model may name. Nothing else is ever looked up."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType
from typing import Any

__all__ = ["FUNCTIONS", "Names"]

#: Of Python, and of compiled code.
FUNCTIONS = (FunctionType, BuiltinFunctionType)

#: Of Python's own, what River's models use to make the values of their default dicts.
_BUILTIN = frozenset(
    {f"builtins:{name}" for name in ("bool", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple")}
    | {f"collections:{name}" for name in ("Counter", "OrderedDict", "defaultdict", "deque")}
    | {"copy:deepcopy"}
)


class Names:
    """Names are `module:qualified.name`, of River, of `modules` and what is inside them."""

    def __init__(self, modules: Iterable[str]) -> None:
        self.modules = ("river", "penrose_river.trees", *modules)
        self._known: dict[Any, str] = {}

    def of(self, thing: Any) -> str | None:
        """The name of a class or function; None where it has none, or none that is allowed."""
        name = self._known.get(thing)
        if name is None:
            name = f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', '')}"
            try:
                if self.find(name) is not thing:
                    return None
            except ValueError:
                return None
            self._known[thing] = name
        return name

    def find(self, name: str) -> Any:
        """The class or function of this name, where it was defined. Raises ValueError for any other name."""
        module, _, path = str(name).partition(":")
        own = any(module == allowed or module.startswith(f"{allowed}.") for allowed in self.modules)
        if name not in _BUILTIN and not own:
            raise ValueError(f"{name} is not of {', '.join(self.modules)}")
        try:
            found: Any = importlib.import_module(module)
            for part in path.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"there is no {name}") from error
        # What a module only imported from elsewhere does not count as its own.
        where = (getattr(found, "__module__", None), getattr(found, "__qualname__", None))
        if own and not (isinstance(found, (type, *FUNCTIONS)) and where == (module, path)):
            raise ValueError(f"{name} is not a class or function of {module}")
        return found
