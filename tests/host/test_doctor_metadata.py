"""What the doctor reads in package metadata: damage, leftovers, hidden copies, editable installs gone stale."""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path

import pytest
from bare_site import add_dist
from hypothesis import HealthCheck, given, settings, strategies as st

from penrose_host.plugins.doctor.installed import installed
from penrose_host.plugins.doctor.metadata import of_metadata
from penrose_host.plugins.doctor.requirements import of_requirements
from penrose_host.plugins.index import scan

GROUP = "penrose.hooks"
HOOKS = {GROUP: {"mine": "mine:Hook"}}


def findings(*folders: Path):
    return list(of_metadata(installed([str(folder) for folder in folders])))


def only(*folders: Path):
    (finding,) = findings(*folders)
    return finding


def required(folder: Path):
    path = [str(folder)]
    return [finding for dist in installed(path) for finding in of_requirements(dist, path)]


# -- what is there ---------------------------------------------------------------------------------


def test_a_whole_installation_has_no_findings(tmp_path):
    add_dist(tmp_path, "penrose-mine", "1.0", HOOKS, files={"mine.py": "", "penrose_more/__init__.py": ""})
    add_dist(tmp_path, "acme-plugin", "1.0", HOOKS)
    add_dist(tmp_path, "requests", "1.0", {"console_scripts": {"x": "y:z"}})

    assert findings(tmp_path) == []
    assert {dist.title for dist in installed([str(tmp_path)])} == {"penrose-mine 1.0", "acme-plugin 1.0"}


def test_a_folder_that_is_on_the_path_twice_or_linked_counts_once(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    add_dist(site, "penrose-mine", "1.0", HOOKS)
    (tmp_path / "link").symlink_to(site)

    assert findings(site, site, tmp_path / "link") == []


def test_files_that_are_gone_are_named_and_compiled_ones_are_not_missed(tmp_path):
    files = {f"mine/{name}": "" for name in ("a.py", "b.py", "c.py", "d.py", "__pycache__/a.cpython-311.pyc")}
    add_dist(tmp_path, "penrose-mine", "1.0", HOOKS, files=files)
    for path in files:
        (tmp_path / path).unlink()

    finding = only(tmp_path)

    assert finding.code == "missing-files"
    assert "mine/a.py, mine/b.py, mine/c.py and 1 more" in finding.message
    assert "pip install --force-reinstall --no-deps penrose-mine" in finding.hint
    assert not finding.note


def test_what_an_interrupted_uninstall_left_is_named_with_the_folder_to_remove(tmp_path):
    info = add_dist(tmp_path, "penrose-mine", "1.0", HOOKS)
    left = info.rename(tmp_path / "~enrose_mine-1.0.dist-info")

    finding = only(tmp_path)

    assert (finding.code, finding.hint) == ("left-behind", f"remove it: rm -r '{left}'")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("METADATA", None),
        ("METADATA", b""),
        ("METADATA", b"\xff\xfe\x00"),
        ("METADATA", b"Metadata-Version: 2.1\nName: penrose-mine\n"),
        ("entry_points.txt", b"[penrose.hooks]\n\xff = a:b\n"),
        ("entry_points.txt", b"[penrose.hooks]\nno target\n"),
        ("direct_url.json", b"{"),
        ("direct_url.json", b"[1]"),
    ],
)
def test_damaged_metadata_is_told_with_the_folder(tmp_path, file, content):
    info = add_dist(tmp_path, "penrose-mine", "1.0", HOOKS)
    if content is None:
        (info / file).unlink()
    else:
        (info / file).write_bytes(content)

    finding = only(tmp_path)

    assert finding.code == "damaged-metadata"
    assert finding.subject == "penrose-mine 1.0"
    assert f"{info}: {file}" in finding.message
    assert f"rm -r {info} && pip install --force-reinstall --no-deps penrose-mine" in finding.hint


@pytest.mark.parametrize("content", [b"[console_scripts]\n\xff = a:b\n", b"[console_scripts]\nno target\n"])
def test_entry_points_that_no_library_can_read_are_told_whosever_they_are(tmp_path, content):
    info = add_dist(tmp_path, "requests", "1.0")
    (info / "entry_points.txt").write_bytes(content)

    finding = only(tmp_path)

    assert (finding.code, finding.subject) == ("damaged-metadata", "requests 1.0")


def test_two_versions_in_one_folder_are_told_with_both(tmp_path):
    old = add_dist(tmp_path, "penrose-mine", "1.0", HOOKS)
    new = add_dist(tmp_path, "penrose-mine", "2.0", HOOKS)

    finding = only(tmp_path)

    assert finding.code == "installed-twice"
    assert str(old) in finding.hint
    assert str(new) in finding.hint


def test_another_version_further_down_the_path_is_told_and_an_equal_one_is_not(tmp_path):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    for folder, version in ((first, "2.0"), (second, "1.0"), (third, "2.0")):
        folder.mkdir()
        add_dist(folder, "penrose-mine", version, HOOKS)

    finding = only(first, second, third)

    assert finding.code == "installed-twice"
    assert f"penrose-mine 1.0 stands in {second}" in finding.message
    assert str(third) not in finding.message


def test_a_group_that_means_nothing_is_a_note_with_the_group_that_was_meant(tmp_path):
    add_dist(tmp_path, "acme", "1.0", {"penrose.executor": {"x": "y:z"}, "acme.things": {"a": "b:c"}})

    finding = only(tmp_path)

    assert (finding.code, finding.note) == ("unknown-group", True)
    assert "did you mean 'penrose.executors'?" in finding.hint


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from(["METADATA", "RECORD", "entry_points.txt", "direct_url.json"]),
    content=st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.text(alphabet="[]penrose.hks=:ab \n", max_size=80).map(lambda text: f"[penrose.hooks]\n{text}".encode()),
)
def test_whatever_a_metadata_file_holds_is_read_without_an_exception(tmp_path, file, content):
    folder = tmp_path / "penrose_mine-1.0.dist-info"
    if not folder.exists():
        add_dist(tmp_path, "penrose-mine", "1.0", HOOKS, direct_url__json="{}", RECORD="")
    kept = (folder / file).read_bytes()
    (folder / file).write_bytes(content)
    try:
        scan([str(tmp_path)])
        for finding in findings(tmp_path) + required(tmp_path):
            assert finding.hint
    finally:
        (folder / file).write_bytes(kept)


def test_an_installation_in_a_zip_file_is_read(tmp_path):
    add_dist(tmp_path, "penrose-mine", "1.0", HOOKS)
    archive = shutil.make_archive(str(tmp_path.parent / "zipped"), "zip", tmp_path)

    (dist,) = installed([archive])

    assert (dist.title, dist.fault) == ("penrose-mine 1.0", None)
    assert findings(Path(archive)) == []


# -- editable installs -----------------------------------------------------------------------------


def editable(tmp_path: Path, project: str | None) -> Path:
    site, folder = tmp_path / "site", tmp_path / "a project"
    site.mkdir()
    url = json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}})
    add_dist(site, "penrose-mine", "1.0", {**HOOKS, "console_scripts": {"x": "y:z"}}, direct_url__json=url)
    if project is not None:
        folder.mkdir()
        (folder / "pyproject.toml").write_text(project)
    return site


@pytest.mark.parametrize(
    "project",
    [
        '[project]\n[project.entry-points."penrose.hooks"]\nmine = "mine:Hook"\n',
        '[project]\n[project.entry-points."penrose.hooks"]\nmine = "mine : Hook"\n[project.scripts]\nother = "y:z"\n',
        '[project]\ndynamic = ["entry-points"]\n',
        "[build-system]\n",
    ],
)
def test_an_editable_install_that_its_project_agrees_with_has_no_findings(tmp_path, project):
    assert findings(editable(tmp_path, project)) == []


def test_a_project_without_pyproject_cannot_be_compared(tmp_path):
    site = editable(tmp_path, "")
    (tmp_path / "a project" / "pyproject.toml").unlink()
    assert findings(site) == []


@pytest.mark.parametrize(
    ("project", "change"),
    [
        ('[project.entry-points."penrose.hooks"]\nmine = "mine:Other"\n', "mine was mine:Hook, is mine:Other"),
        ("[project]\n", "penrose.hooks: mine is gone"),
        (
            '[project.entry-points."penrose.hooks"]\nmine = "mine:Hook"\n'
            '[project.entry-points."penrose.executors"]\nnew = "mine:Executor"\n',
            "penrose.executors: new is new",
        ),
    ],
)
def test_entry_points_that_changed_since_the_installation_are_told(tmp_path, project, change):
    finding = only(editable(tmp_path, project))

    assert finding.code == "entry-points-changed"
    assert change in finding.message
    assert finding.hint == f"install it again: pip install -e '{tmp_path / 'a project'}'"


def test_a_project_that_is_gone_or_cannot_be_read_is_told(tmp_path):
    gone, broken = tmp_path / "gone", tmp_path / "broken"
    gone.mkdir()
    broken.mkdir()

    assert only(editable(gone, None)).code == "project-gone"
    assert only(editable(broken, "[project")).code == "project-unreadable"


@pytest.mark.parametrize(
    "project", ["project = 3", "[project]\nentry-points = 3", '[project.entry-points]\n"penrose.hooks" = 1']
)
def test_a_project_of_another_shape_cannot_be_read(tmp_path, project):
    assert only(editable(tmp_path, project)).code == "project-unreadable"


# -- versions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requirement", "code"),
    [
        ("numpy>=1.26", None),
        ("NumPy >=1.26 ; python_version >= '3.11'", None),
        ("numpy>=3", "version-conflict"),
        ("numpy==2.0.*", "version-conflict"),
        ("numpy>=3; python_version < '3'", None),
        ("numpy>=3; extra == 'fast'", None),
        ("penrose-host<0.1", "version-conflict"),
        ("no-such-distribution", "missing-requirement"),
        ("odd", None),
        ("odd>=1", "version-conflict"),
        ("nameless>=1", "version-conflict"),
        ("not a requirement", "damaged-metadata"),
        ("numpy; python_version ~= 'x'", "damaged-metadata"),
    ],
)
def test_requirements_are_held_against_what_is_installed(tmp_path, requirement, code):
    add_dist(tmp_path, "numpy", "2.4.0rc1")
    add_dist(tmp_path, "penrose-host", "0.1.0")
    add_dist(tmp_path, "odd", "not-a-version")
    (add_dist(tmp_path, "nameless", "1.0") / "METADATA").write_bytes(b"\xff")
    add_dist(tmp_path, "penrose-mine", "1.0", HOOKS, requires=[requirement])

    found = required(tmp_path)

    assert [finding.code for finding in found] == ([code] if code else [])
    if code in ("version-conflict", "missing-requirement"):
        assert found[0].subject == "penrose-mine 1.0"
        assert "pip install" in found[0].hint


def test_a_python_that_a_distribution_does_not_take_is_told(tmp_path):
    info = add_dist(tmp_path, "penrose-mine", "1.0", HOOKS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: penrose-mine\nVersion: 1.0\nRequires-Python: <3\n")

    (finding,) = required(tmp_path)

    assert finding.code == "wrong-python"
    assert platform.python_version() in finding.message
