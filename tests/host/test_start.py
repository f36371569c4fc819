"""What `penrose --help` and `penrose plugins` import: nothing that costs time."""

from __future__ import annotations

import json

import pytest

FRAMEWORKS = ("torch", "tensorflow", "ray", "apache_beam", "river", "pandas")
HEAVY = ("numpy", "pyarrow", "rich", "fsspec", "pydantic", "pluggy", "stevedore", "yaml", "asyncio")
CODE = """
import json, sys
from penrose_host.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


def imported(site, *arguments: str) -> set[str]:
    result = site.python(CODE, *arguments)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stderr.splitlines()[-1]))


@pytest.fixture
def loud(site):
    """Every framework is installed and says so when it is imported; plugins import them at once."""
    for module in FRAMEWORKS:
        (site.path / f"{module}.py").write_text("")
    source = "".join(f"import {module}\n" for module in FRAMEWORKS)
    groups = {"penrose.executors": {"loud": "loud_plugin:Loud"}, "penrose.commands": {"shout": "loud_plugin:Loud"}}
    site.add("penrose-loud", groups, {"loud_plugin": source})
    return site


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("plugins",),
        ("plugins", "--json"),
        ("run", "--help"),
        ("replay", "--help"),
        ("checkpoints", "--help"),
        (),
    ],
)
def test_help_and_the_list_of_plugins_import_no_framework_and_nothing_heavy(loud, arguments):
    modules = imported(loud, *arguments)
    assert modules.isdisjoint(FRAMEWORKS)
    assert modules.isdisjoint(HEAVY)
    assert "penrose_host" in modules


def test_a_plugin_is_imported_once_it_is_asked_for(loud):
    assert imported(loud, "plugins", "show", "loud") >= set(FRAMEWORKS)


@pytest.mark.parametrize(
    "module",
    ["penrose_host", "penrose_host.contracts.executor", "penrose_host.config.job", "penrose_host.environments.local"],
)
def test_what_plugins_and_programs_import_first_needs_no_framework_and_no_arrow(loud, module):
    code = f"import sys, json, {module}\nprint(json.dumps([n.partition('.')[0] for n in sys.modules]))"
    modules = set(json.loads(loud.python(code).stdout))
    assert modules.isdisjoint({*FRAMEWORKS, "pyarrow", "rich", "fsspec"})


def test_every_public_name_can_be_imported_from_the_top():
    import penrose_host

    for name in penrose_host.__all__:
        assert getattr(penrose_host, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        penrose_host.no_such_name  # noqa: B018
