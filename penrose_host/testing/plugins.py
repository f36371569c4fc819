"""What every plugin promises, whatever its kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, ClassVar

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from penrose_host.contracts.plugin import API_VERSION, Capability, Plugin
from penrose_host.testing.promises import Broken, promise
from penrose_host.testing.watching import Held, touched

__all__ = ["FRAMEWORKS", "PluginContract"]

#: What an entry module must not import: it takes long, and `penrose plugins show` would wait for it.
FRAMEWORKS = (
    "apache_beam",
    "fsspec",
    "jax",
    "lightgbm",
    "pandas",
    "polars",
    "pyarrow",
    "pyspark",
    "ray",
    "rich",
    "river",
    "scipy",
    "sklearn",
    "tensorflow",
    "torch",
    "xgboost",
)


class PluginContract:
    """The base of all contract classes. Derive a test class from one of them and write `make`."""

    #: Modules that the plugin's entry module must not import; add your own framework.
    frameworks: ClassVar[Iterable[str]] = FRAMEWORKS

    def make(self) -> Any:
        """A new plugin; calls of one test give equal options, so that two plugins see the same world."""
        raise NotImplementedError(
            f"{type(self).__name__} needs a method `make` that returns a new plugin, "
            "such as `return MySource(MySource.Options(path=…))`"
        )

    @promise
    def test_api_version_is_one_that_this_host_accepts(self) -> None:
        """The class declares an `api_version` that this host accepts."""
        plugin = type(self.make())
        version = getattr(plugin, "api_version", None)
        if type(version) is not int or version not in (API_VERSION, max(API_VERSION - 1, 1)):
            raise Broken(
                f"{plugin.__name__}.api_version is {version!r}.", f"write `api_version = {API_VERSION}` in the class."
            )

    @promise
    def test_options_forbid_what_they_do_not_know(self) -> None:
        """`Options` is a pydantic model that refuses unknown options, and none of them is called `name`."""
        plugin = type(self.make())
        options = getattr(plugin, "Options", None)
        if not (isinstance(options, type) and issubclass(options, BaseModel)):
            raise Broken(f"{plugin.__name__}.Options is {options!r}.", "make it a pydantic model.")
        if options.model_config.get("extra") != "forbid":
            raise Broken(
                "the model takes options that it does not know.",
                'write `model_config = ConfigDict(extra="forbid")` in it: a misspelt option must not pass in silence.',
            )
        if "name" in options.model_fields:
            raise Broken(
                "there is an option called `name`, which in a job is the name of the plugin.", "give it another name."
            )

    @promise
    def test_every_option_is_described(self) -> None:
        """Every option says what it is: `penrose plugins show` and the documentation print that."""
        bare = [name for name, field in type(self.make().options).model_fields.items() if not _described(field)]
        if bare:
            raise Broken(
                f"{', '.join(bare)}: no description.", 'write `Field(default, description="…")`, a line for the user.'
            )

    @promise
    def test_options_can_be_written_down(self) -> None:
        """Options become JSON types and come back equal: a run keeps its job, and a checkpoint names its options."""
        options = self.make().options
        written = json.loads(json.dumps(options.model_dump(mode="json")))
        # What is secret is masked on purpose, and does not come back.
        if "**********" not in json.dumps(written) and type(options).model_validate(written) != options:
            raise Broken(
                f"{options!r} was written as {written}, which reads as {type(options).model_validate(written)!r}.",
                "give such a type a serializer that its validator takes back.",
            )

    @promise
    def test_capabilities_are_known_ones(self) -> None:
        """`capabilities` is a frozenset of `Capability`."""
        found = self.make().capabilities
        if not (isinstance(found, frozenset) and all(isinstance(capability, Capability) for capability in found)):
            raise Broken(f"it is {found!r}.", "write `capabilities = frozenset({Capability.…})`.")

    @promise
    def test_making_one_touches_nothing(self) -> None:
        """The constructor only keeps its options: no file, no connection, no process, no thread."""
        made: Plugin = self.make()
        kind, options = type(made), made.options
        held = Held()
        with touched() as seen:
            kind(options)
        if seen := [*seen, *held.more()]:
            raise Broken(f"{kind.__name__}(options) left or did: {'; '.join(seen[:5])}.", "wait until it is opened.")

    @promise
    def test_the_entry_module_imports_no_framework(self) -> None:
        """Importing the module of the class imports no framework: that waits until the plugin is used."""
        module = type(self.make()).__module__
        script = (
            "import importlib, sys\n"
            f"importlib.import_module({module!r})\n"
            f"print(*[name for name in {tuple(self.frameworks)!r} if name in sys.modules])"
        )
        path = os.pathsep.join(filter(None, sys.path))
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise Broken(f"importing {module} alone failed: {last}", "make it importable by itself.")
        if found := done.stdout.split():
            raise Broken(
                f"{module} imports {', '.join(found)}.",
                "import it inside the methods that need it, and under `if TYPE_CHECKING:` for annotations.",
            )


def _described(field: FieldInfo) -> bool:
    """It has a description, or is a section whose own docstring is one."""
    section = field.annotation
    own = section.__dict__.get("__doc__") if isinstance(section, type) and issubclass(section, BaseModel) else None
    return bool(field.description or own)
