"""Finding, choosing and loading plugins, with distributions as pip leaves them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from penrose_host import EmbeddingBackend
from penrose_host.contracts import plugin as contract
from penrose_host.errors import (
    ConfigError,
    PluginBlocked,
    PluginBroken,
    PluginConflict,
    PluginIncompatible,
    PluginNotFound,
    SourceError,
    described,
)
from penrose_host.plugins.index import Index, Kind, Record, scan
from penrose_host.plugins.loading import create, load
from penrose_host.plugins.selection import SelectionPolicy, known_packages, known_schema

BACKEND = """
from pydantic import BaseModel, ConfigDict
from penrose_host import EmbeddingBackend

class Backend(EmbeddingBackend):
    api_version = 1
    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
        rows: int = 8
        path: str
    def table(self, spec):
        raise NotImplementedError
"""
GROUP = "penrose.embeddings"


def fake_index(site, *dists: str, name: str = "fake") -> Index:
    for dist in dists:
        site.add(dist, {GROUP: {name: "fake_backend:Backend"}}, {"fake_backend": BACKEND})
    return scan([str(site.path)])


def select(index: Index, kind: Kind, name: str, **policy: Any) -> Record:
    return SelectionPolicy(index=index, **policy).select(kind, name)


def only_record(site) -> Record:
    (record,) = scan([str(site.path)]).records
    return record


# -- what plugins raise ----------------------------------------------------------------------------


def test_what_a_plugin_says_is_told_on_one_line_without_control_characters():
    assert described(ValueError()) == described(ValueError("\n ")) == "ValueError"
    assert described(KeyError("a")) == "KeyError: 'a'"
    assert described(ValueError("a\n  b\x1b[31m \u202e ünï\udcff")) == r"ValueError: a b\x1b[31m \u202e ünï\udcff"
    assert described(ValueError("x" * 500)) == "ValueError: " + "x" * 500
    assert described(ValueError("x" * 2501)) == "ValueError: " + "x" * 500 + " … (2,001 more characters)"


@given(st.text())
def test_whatever_is_raised_is_told_in_one_line_that_can_be_printed(text):
    shown = described(RuntimeError(text))
    assert shown.isprintable()
    assert shown.encode()


# -- the scan --------------------------------------------------------------------------------------


def test_no_distribution_gives_an_empty_index(site):
    assert scan([str(site.path)]) == Index(())


def test_the_scan_imports_nothing_and_records_where_a_plugin_is_from(site):
    site.add(
        "penrose-loud",
        {GROUP: {"loud": "loud:Backend"}, "other.group": {"x": "loud:x"}},
        {"loud": "raise SystemExit(3)"},
    )

    assert scan([str(site.path)]).records == (Record(Kind.EMBEDDING, "loud", "penrose-loud", "1.0", "loud:Backend"),)


def test_the_hosts_own_plugins_are_found_like_any_other():
    records = {(record.kind, record.name): record.dist for record in scan().records}
    assert records[Kind.ENVIRONMENT, "local"] == "penrose-host"
    assert records[Kind.DATASOURCE, "files"] == "penrose-host"


def test_a_distribution_listed_twice_counts_once_and_the_first_on_the_path_wins(site, tmp_path):
    first, second = site, type(site)(tmp_path / "second")
    first.add("Penrose_Fake", {GROUP: {"fake": "fake_backend:Backend"}}, version="2.0")
    second.add("penrose-fake", {GROUP: {"fake": "fake_backend:Backend", "gone": "fake_backend:Gone"}})

    records = scan([str(first.path), str(second.path), str(first.path)]).records

    assert [(record.name, record.version) for record in records] == [("fake", "2.0")]


def test_a_first_distribution_without_plugins_hides_an_older_one_that_had_some(site, tmp_path):
    old = type(site)(tmp_path / "old")
    site.add("penrose-fake", {"console_scripts": {"fake": "fake:main"}}, version="2.0")
    old.add("penrose-fake", {GROUP: {"fake": "fake_backend:Backend"}})

    assert scan([str(site.path), str(old.path)]).records == ()


@pytest.mark.parametrize(
    "metadata", [None, b"", b"\xff\xfe\x00broken", "no header at all\n\nName: x", "Metadata-Version: 2.1\nName:\n"]
)
def test_broken_metadata_is_recorded_and_stops_nothing(site, metadata):
    site.add("penrose-odd", {GROUP: {"odd": "odd:Backend"}}, metadata=metadata)
    index = fake_index(site, "penrose-fake")

    odd = next(record for record in index.records if record.name == "odd")
    assert odd.fault is not None
    assert "penrose_odd-1.0.dist-info" in odd.fault
    assert select(index, Kind.EMBEDDING, "fake").fault is None
    with pytest.raises(PluginBroken, match="METADATA"):
        load(odd)


def test_an_entry_points_file_that_is_not_utf8_is_reported_and_stops_nothing(site):
    info = site.add("penrose-odd", "")
    (info / "entry_points.txt").write_bytes(b"[penrose.embeddings]\nodd = \xff:x\n")
    index = fake_index(site, "penrose-fake")

    assert [record.name for record in index.records] == ["fake"]
    assert "penrose_odd-1.0.dist-info" in index.unreadable[0]
    with pytest.raises(PluginNotFound, match=r"not readable: .*penrose_odd"):
        select(index, Kind.EMBEDDING, "odd")


@pytest.mark.parametrize("target", ["", "module", "module:", ":attr", "a b:c", "mod:attr:more", "mod.:x"])
def test_an_entry_point_that_is_not_module_and_attribute_is_broken(site, target):
    site.add("penrose-odd", {GROUP: {"odd": target}})

    with pytest.raises(PluginBroken, match="module:attribute"):
        load(only_record(site))


def test_a_folder_of_metadata_that_is_a_file_or_a_dangling_link_is_passed_over(site):
    (site.path / "a-1.dist-info").write_text("not a folder")
    (site.path / "b-1.dist-info").symlink_to(site.path / "nowhere")

    assert [record.name for record in fake_index(site, "penrose-fake").records] == ["fake"]


# -- choosing --------------------------------------------------------------------------------------


def test_one_plugin_is_chosen_by_its_name(site):
    assert select(fake_index(site, "penrose-fake"), Kind.EMBEDDING, "fake").dist == "penrose-fake"


def test_two_distributions_with_one_name_are_an_error_that_names_both(site):
    index = fake_index(site, "penrose-one", "penrose-two")

    with pytest.raises(PluginConflict) as raised:
        select(index, Kind.EMBEDDING, "fake")

    assert "penrose-one 1.0" in str(raised.value)
    assert "penrose-two 1.0" in str(raised.value)
    assert select(index, Kind.EMBEDDING, "Penrose_Two:fake").dist == "penrose-two"
    assert select(index, Kind.EMBEDDING, "fake", block=["penrose-one:fake"]).dist == "penrose-two"
    assert select(index, Kind.EMBEDDING, "fake", allow_dists=["penrose-one"]).dist == "penrose-one"


def test_conflicts_that_do_not_stand_side_by_side_are_found(site):
    site.add("a-one", {GROUP: {"fake": "m:A", "other": "m:O"}})
    site.add("b-two", {GROUP: {"zeta": "m:Z"}})
    site.add("c-three", {GROUP: {"fake": "n:A"}})

    with pytest.raises(PluginConflict, match=r"a-one 1\.0.* and c-three 1\.0"):
        select(scan([str(site.path)]), Kind.EMBEDDING, "fake")


def test_one_name_in_two_kinds_is_no_conflict(site):
    site.add("penrose-both", {GROUP: {"both": "m:A"}, "penrose.executors": {"both": "m:B"}})
    index = scan([str(site.path)])

    assert select(index, Kind.EXECUTOR, "both").target == "m:B"
    assert [record.target for record in SelectionPolicy(index=index).select_any("both")] == ["m:B", "m:A"]


def test_only_packages_that_there_are_are_recommended():
    root = Path(__file__).parents[2]
    there = set()
    for project in [root / "pyproject.toml", *root.glob("*/*/pyproject.toml"), *root.glob("*/pyproject.toml")]:
        described = tomllib.loads(project.read_text("utf-8"))["project"]
        groups = described.get("entry-points", {})
        there |= {(kind, name, described["name"]) for kind in Kind for name in groups.get(kind.group, ())}
    known = known_packages()
    assert {(kind, name, dist) for kind, names in known.items() for name, dist in names.items()} <= there


def test_known_schemas_of_options_are_those_that_the_plugins_of_this_repository_declare():
    index = scan()
    for kind, names in known_packages().items():
        for name in names if kind != Kind.COMMAND else ():
            if index.find(Kind(kind), name):
                assert known_schema(Kind(kind), name) == load(select(index, Kind(kind), name)).options_schema
    assert known_schema(Kind.EXECUTOR, "penrose-torch:torch") == known_schema(Kind.EXECUTOR, "tensorflow") is not None


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        (Kind.EXECUTOR, "torch", "pip install penrose-torch"),
        (Kind.DATASOURCE, "flights", "pip install penrose-flights"),
        (Kind.HOOK, "tensorboard", "pip install penrose-tensorboard"),
        (Kind.EMBEDDING, "fak", "did you mean 'fake'?"),
        (Kind.EMBEDDING, "FAKE", "did you mean 'fake'?"),
        (Kind.EXECUTOR, "fake", "'fake' is installed as: embedding"),
        (Kind.EXECUTOR, "penrose-x:river", "pip install penrose-river"),
        (Kind.EMBEDDING, "penrose-x:fake", "choose penrose-fake:fake"),
        (Kind.EMBEDDING, "", "installed embedding plugins: fake"),
    ],
)
def test_a_missing_plugin_says_what_to_type_next(site, kind, name, hint):
    index = fake_index(site, "penrose-fake")

    with pytest.raises(PluginNotFound) as raised:
        select(index, kind, name)

    assert hint in str(raised.value)
    assert (raised.value.kind, raised.value.plugin) == (kind, name)


@pytest.mark.parametrize("block", ["fake", "penrose-fake:fake", "Penrose.Fake:fake"])
def test_a_blocked_plugin_is_refused_with_the_entry_that_blocks_it(site, block):
    with pytest.raises(PluginBlocked, match=f"--block {block}"):
        select(fake_index(site, "penrose-fake"), Kind.EMBEDDING, "fake", block=["other", block])


def test_an_allow_list_refuses_other_distributions_and_never_the_hosts_own(site):
    index = fake_index(site, "penrose-fake")

    with pytest.raises(PluginBlocked, match="--allow-dist penrose-fake"):
        select(index, Kind.EMBEDDING, "fake", allow_dists=["penrose-else"])
    assert select(index, Kind.EMBEDDING, "fake", allow_dists=["penrose_FAKE"])
    assert select(scan(), Kind.ENVIRONMENT, "local", allow_dists=[])


# -- loading ---------------------------------------------------------------------------------------


def test_a_plugin_is_loaded_and_made_with_complete_options(site):
    record = fake_index(site, "penrose-fake").records[0]

    plugin = create(record, {"path": "x"}, "embedding")

    assert isinstance(plugin, EmbeddingBackend)
    assert (plugin.options.rows, plugin.options.path) == (8, "x")


def test_every_fault_of_the_options_is_reported_with_its_place(site):
    record = fake_index(site, "penrose-fake").records[0]

    with pytest.raises(ConfigError) as raised:
        create(record, {"rows": "many", "pth": "x"}, "embedding")

    assert [place for place, _ in raised.value.faults] == ["embedding.rows", "embedding.path", "embedding.pth"]
    assert "did you mean `path`?" in str(raised.value)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_module_of_penrose", "ModuleNotFoundError: No module named 'no_such_module_of_penrose'"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise SystemExit", "SystemExit"),
        ("class Panic(BaseException): pass\nraise Panic('native code')", "Panic: native code"),
        ("def broken(:", "SyntaxError"),
        ("Other = 1", "AttributeError"),
        ("raise AssertionError('no')", "AssertionError: no"),
    ],
)
def test_a_plugin_whose_import_fails_is_broken_and_named(site, source, cause):
    site.add("penrose-bad", {GROUP: {"bad": "bad_backend:Backend"}}, {"bad_backend": source}, version="3.1")

    with pytest.raises(PluginBroken) as raised:
        load(only_record(site))

    error = raised.value
    assert (error.plugin, error.kind, error.dist, error.version) == ("bad", "embedding", "penrose-bad", "3.1")
    assert cause in str(error)
    assert "pip install --force-reinstall penrose-bad" in str(error)
    assert error.__cause__ is not None


def test_a_broken_editable_plugin_is_installed_again_from_its_folder(site, tmp_path):
    info = site.add("penrose-bad", {GROUP: {"bad": "bad_backend:Backend"}}, {"bad_backend": "raise OSError"})
    folder = tmp_path / "my plugins" / "penrose-bad"
    (info / "direct_url.json").write_text(json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}}))
    with pytest.raises(PluginBroken) as raised:
        load(only_record(site))
    assert f"try: pip install -e '{folder}'" in str(raised.value)


def test_an_editable_plugin_that_lacks_something_is_changed_in_its_folder(site, tmp_path):
    source = "from penrose_host import Executor\nclass Mine(Executor): api_version = 1\n"
    info = site.add("penrose-bad", {"penrose.executors": {"bad": "bad_executor:Mine"}}, {"bad_executor": source})
    folder = tmp_path / "my plugins" / "penrose-bad"
    (info / "direct_url.json").write_text(json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}}))
    with pytest.raises(PluginIncompatible, match="lacks close, export") as raised:
        load(only_record(site))
    assert f"change it in {folder}; its contract tests say more: pytest '{folder}'" in str(raised.value)


@pytest.mark.parametrize(
    "damage", ["", "{", "[1]", '{"url": 3, "dir_info": {"editable": true}}', '{"url": "file:///x"}']
)
def test_what_is_not_editable_or_cannot_be_read_is_installed_again_by_name(site, damage):
    info = site.add("penrose-bad", {GROUP: {"bad": "bad_backend:Backend"}}, {"bad_backend": "raise OSError"})
    (info / "direct_url.json").write_text(damage)
    with pytest.raises(PluginBroken, match="try: pip install --force-reinstall penrose-bad "):
        load(only_record(site))


def test_an_interrupt_while_importing_is_not_taken_for_a_broken_plugin(site):
    site.add("penrose-bad", {GROUP: {"bad": "bad_backend:Backend"}}, {"bad_backend": "raise KeyboardInterrupt"})

    with pytest.raises(KeyboardInterrupt):
        load(only_record(site))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("api_version = 1", "api_version = 99"), "plugin API 99; this host accepts 1"),
        (("api_version = 1", "api_version = True"), "plugin API True"),
        (("    api_version = 1\n", ""), "declares no api_version"),
        (("(EmbeddingBackend)", "(object)"), "does not derive from penrose_host.EmbeddingBackend"),
        (("class Backend(", "class Base("), "not a class but function"),
        (("def table", "def tables"), "lacks table"),
        (("class Options(BaseModel)", "class Options"), "pydantic model"),
        (('ConfigDict(extra="forbid")', "ConfigDict()"), "misspelt"),
        (("path: str", "name: str"), "an option called `name`"),
    ],
)
def test_a_plugin_that_is_not_what_its_group_asks_for_is_incompatible(site, change, reason):
    source = BACKEND.replace(*change) + ("\ndef Backend(options): pass\n" if "not a class" in reason else "")
    site.add("penrose-old", {GROUP: {"old": "old_backend:Backend"}}, {"old_backend": source})

    with pytest.raises(PluginIncompatible) as raised:
        load(only_record(site))

    assert reason in str(raised.value)
    assert raised.value.dist == "penrose-old"


def test_the_previous_plugin_api_is_still_accepted(site, monkeypatch):
    record = fake_index(site, "penrose-fake").records[0]
    monkeypatch.setattr(contract, "API_VERSION", 2)
    assert load(record).api_version == 1

    monkeypatch.setattr(contract, "API_VERSION", 3)
    with pytest.raises(PluginIncompatible, match="accepts 3 and 2"):
        load(record)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [("ValueError('boom')", PluginBroken), ("penrose_host.errors.SourceError('gone')", SourceError)],
)
def test_a_constructor_that_raises_breaks_the_plugin_unless_it_raises_an_error_of_penrose(site, raised, expected):
    source = BACKEND + f"    def __init__(self, options):\n        import penrose_host.errors\n        raise {raised}\n"
    site.add("penrose-bad", {GROUP: {"bad": "bad_backend:Backend"}}, {"bad_backend": source})

    with pytest.raises(expected, match=r"boom|gone"):
        create(only_record(site), {"path": "x"}, "embedding")


def test_a_validator_of_options_that_fails_breaks_the_plugin(site):
    source = BACKEND.replace("BaseModel, ConfigDict", "BaseModel, ConfigDict, field_validator").replace(
        "        path: str\n",
        "        path: str\n        @field_validator('path')\n        def check(cls, value): raise KeyError(value)\n",
    )
    site.add("penrose-bad", {GROUP: {"bad": "bad_backend:Backend"}}, {"bad_backend": source})

    with pytest.raises(PluginBroken, match="validating its options raised KeyError: 'x'"):
        create(only_record(site), {"path": "x"}, "embedding")


def test_a_broken_plugin_harms_nothing_until_it_is_selected(site):
    site.add("penrose-bad", {GROUP: {"bad": "bad_backend:Backend"}}, {"bad_backend": "raise SystemExit(1)"})
    index = fake_index(site, "penrose-fake")

    assert {record.name for record in index.records} == {"bad", "fake"}
    assert load(select(index, Kind.EMBEDDING, "fake"))


def test_three_hundred_distributions_are_scanned_without_parsing_those_that_have_no_plugins(site, monkeypatch):
    for number in range(300):
        site.add(f"dist-{number}", {"console_scripts": {f"tool{number}": "x:main"}})
    fake_index(site, "penrose-fake")
    parsed: list[Path] = []
    original = Path.read_text

    def counting(path: Path, *arguments: object, **options: object) -> str:
        if path.name == "METADATA":
            parsed.append(path)
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", counting)

    assert len(scan([str(site.path)]).records) == 1
    assert {path.parent.name for path in parsed} == {"penrose_fake-1.0.dist-info"}
