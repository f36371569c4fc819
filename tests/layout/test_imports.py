"""The plan of the house, read from its imports: no circles, and which folder may import which."""

from __future__ import annotations

from collections import defaultdict
from graphlib import CycleError, TopologicalSorter

import pytest
from import_graph import ROOT, graph, modules

#: Folder of `penrose_host` → the folders it may import. `errors` and `contracts` are the ground, and open to all.
MAY_IMPORT = {
    "errors": set(),
    "contracts": set(),
    "options": set(),
    "formats": {"options"},
    "storage": set(),
    "decoding": {"formats"},
    "core": {"options"},
    "features": {"core", "options"},
    "embeddings": set(),
    "executors": set(),
    "checkpoints": {"storage"},
    "outputs": {"core", "storage"},
    "ingest": {"core", "outputs"},
    "config": {"core", "features", "options", "plugins"},
    "plugins": {"options", "storage"},
    "monitoring": {"options", "plugins", "config", "checkpoints", "storage"},
    "delivery": {"plugins", "storage"},
    "datasources": {"formats", "options"},
    "environments": set(),
    "hooks": {"storage"},
    "training": {
        "checkpoints",
        "config",
        "core",
        "delivery",
        "features",
        "ingest",
        "monitoring",
        "outputs",
        "plugins",
        "storage",
    },
    "replays": {"config", "core", "features", "ingest", "monitoring", "options", "plugins", "training"},
    "testing": {
        "checkpoints",
        "config",
        "datasources",
        "embeddings",
        "environments",
        "monitoring",
        "plugins",
        "training",
    },
    "cli": {"checkpoints", "config", "monitoring", "options", "plugins", "replays", "training"},
}
PUBLIC = {"penrose_host", *(f"penrose_host.{name}" for name in ("decoding", "embeddings", "executors", "features"))}
PUBLIC |= {"penrose_host.options", "penrose_host.testing"}


def test_nothing_in_the_repository_imports_in_a_circle():
    try:
        tuple(TopologicalSorter(graph()).static_order())
    except CycleError as error:
        pytest.fail("modules import each other in a circle: " + " → ".join(error.args[1]))


def test_folders_of_the_host_import_what_the_plan_allows():
    wrong = []
    for module, targets in graph().items():
        here = _folder(module)
        if here is None:
            continue
        allowed = MAY_IMPORT[here] | {here, "errors", "contracts"}
        wrong += [f"{module} → {target}" for target in targets if (there := _folder(target)) and there not in allowed]
    assert not wrong


def test_the_plan_allows_nothing_that_no_module_needs():
    needed = defaultdict(set)
    for module, targets in graph().items():
        if (here := _folder(module)) is not None:
            needed[here] |= {there for target in targets if (there := _folder(target)) is not None}
    spare = {here: sorted(allowed - needed[here]) for here, allowed in MAY_IMPORT.items() if allowed - needed[here]}
    assert not spare


def test_nobody_inside_the_host_imports_the_public_surface():
    wrong = [
        f"{module} → {target}"
        for module, targets in graph().items()
        for target in targets & PUBLIC
        if module.startswith("penrose_host") and module != target
    ]
    # What the contract kit gives to authors says so itself.
    assert [line for line in wrong if not line.startswith("penrose_host.testing")] == []


def test_plugins_import_the_declared_surface_only():
    wrong = [
        f"{module} → {target}"
        for module, targets in graph().items()
        for target in targets
        if target.startswith("penrose_host") and not module.startswith("penrose_host") and target not in PUBLIC
    ]
    assert not wrong


def test_the_host_imports_no_plugin():
    wrong = [
        f"{m} → {t}"
        for m, targets in graph().items()
        for t in targets
        if m.startswith("penrose_host") and not t.startswith("penrose_host")
    ]
    assert not wrong


def test_the_root_of_the_host_has_three_modules_at_most():
    assert sorted(path.name for path in (ROOT / "penrose_host").glob("*.py")) == ["__init__.py", "errors.py"]


def test_every_folder_stands_in_the_plan():
    folders = {_folder(module) for module in modules()} - {None}
    assert folders == set(MAY_IMPORT)


def _folder(module: str) -> str | None:
    """The folder (or the module at the root) of the host that this module is in; None for others, and the root."""
    parts = module.split(".")
    return parts[1] if parts[0] == "penrose_host" and len(parts) > 1 else None
