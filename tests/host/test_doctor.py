"""`penrose doctor`, in processes of its own: plugins that fail in every way are told and harm nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from bare_site import CLI, BareSite, lay_foundation

HOOK = """
from penrose_host import HookPlugin, hookimpl

class Hook(HookPlugin):
    api_version = 1

    @hookimpl
    def reported(self, metrics):
        pass
"""


@pytest.fixture(scope="session")
def foundation(tmp_path_factory):
    return lay_foundation(tmp_path_factory.mktemp("foundation") / "site")


@pytest.fixture
def bare(tmp_path, foundation):
    return BareSite(tmp_path, foundation)


def add_hook(bare: BareSite, name: str, source: str = HOOK, **more: object) -> Path:
    module = f"{name}_hook"
    return bare.add(
        f"penrose-{name}", "1.0", {"penrose.hooks": {name: f"{module}:Hook"}}, files={f"{module}.py": source}, **more
    )


#: Only what a test adds is imported: the host's own plugins cost time each time.
QUICK = (
    "doctor",
    *(f"--block=penrose-host:{name}" for name in ("local", "files", "clickstream", "hashing", "auc-guard")),
)


def examined(bare: BareSite, *arguments: str, **variables: str) -> tuple[int, dict]:
    result = bare.penrose(*QUICK, "--json", *arguments, **variables)
    assert result.stderr == ""
    return result.returncode, json.loads(result.stdout)


def test_a_healthy_installation_exits_with_0_and_shows_what_was_looked_at(bare):
    add_hook(bare, "mine", "import csv, pluggy, yaml\n" + HOOK)

    result, as_json = bare.penrose("doctor"), bare.penrose("doctor", "--json")
    report = json.loads(as_json.stdout)

    assert (result.returncode, result.stderr, as_json.returncode) == (0, "", 0)
    assert result.stdout.endswith("nothing is wrong\n")
    for word in ("python", "platform", "plugin API 1", "IMPORTED IN"):
        assert word in result.stdout
    (mine,) = (plugin for plugin in report["plugins"] if plugin["name"] == "mine")
    assert (mine["status"], mine["api_version"], mine["imports"]) == ("ok", 1, ["yaml"])
    assert 0 <= mine["seconds"] < 30
    assert (report["healthy"], report["findings"]) == (True, [])
    assert {plugin["name"] for plugin in report["plugins"]} >= {"local", "files", "hashing"}


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("raise ValueError('no luck')", "broken-plugin", "raised ValueError: no luck"),
        ("import sys; sys.exit(3)", "broken-plugin", "raised SystemExit: 3"),
        ("raise KeyboardInterrupt", "ended", "SIGINT"),
        ("import os; os._exit(3)", "ended", "exit status 3"),
        ("import os; os._exit(0)", "ended", "exit status 0"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended", "SIGSEGV"),
        ("import os; os.closerange(0, 256); raise OSError('closed')", "broken-plugin", "raised OSError: closed"),
        (HOOK.replace("api_version = 1", "api_version = 7"), "incompatible-plugin", "plugin API 7"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_told_and_the_others_are_examined(bare, source, code, said):
    add_hook(bare, "aaa", source)
    add_hook(bare, "zzz")

    status, report = examined(bare)

    (finding,) = report["findings"]
    assert (status, finding["code"], finding["subject"]) == (1, code, "hook aaa")
    assert said in finding["message"]
    assert finding["hint"]
    (zzz,) = (plugin for plugin in report["plugins"] if plugin["name"] == "zzz")
    assert zzz["status"] == "ok"


@pytest.mark.parametrize(
    "source",
    [
        "print('noise ' * 100_000)\nimport sys; print('more', file=sys.stderr)\n",
        "import threading; threading.Thread(target=threading.Event().wait).start()\n",
        "import atexit, threading; atexit.register(threading.Event().wait)\n",
        "import sys; sys.stdout.close(); sys.stderr.close()\n",
        "import os; os.chdir('/')\n",
        "import subprocess; process = subprocess.Popen(['sleep', '3'])\nimport gc; process.returncode = 0\n",
    ],
)
def test_what_an_import_leaves_running_is_not_waited_for_and_its_output_not_shown(bare, source):
    add_hook(bare, "odd", source + HOOK)

    status, report = examined(bare)

    assert (status, report["findings"]) == (0, [])


@pytest.mark.slow
def test_a_plugin_that_hangs_is_ended_with_all_it_started(bare):
    pids = bare.work / "pids"
    add_hook(
        bare,
        "stuck",
        "import os, subprocess, threading\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "threading.Event().wait()\n",
    )

    status, report = examined(bare, "--time-limit", "6")

    (finding,) = report["findings"]
    assert (status, finding["code"]) == (1, "time-limit")
    assert "longer than 6 s" in finding["message"]
    assert "import stuck_hook" in finding["hint"]
    assert_gone(pids)


def test_a_slow_plugin_is_a_note_and_no_problem(bare):
    add_hook(bare, "slow", "import time, yaml; time.sleep(1.2)\n" + HOOK)

    status, report = examined(bare)
    shown = bare.penrose(*QUICK).stdout

    (finding,) = report["findings"]
    assert (status, finding["code"], finding["note"]) == (0, "slow-plugin", True)
    assert "slow_hook:Hook of penrose-slow took " in finding["message"]
    assert "yaml" in finding["message"]
    assert "note (slow-plugin): hook slow" in shown
    assert shown.endswith("nothing is wrong\n")


def test_an_interrupt_ends_the_imports_too(bare):
    pids = bare.work / "pids"
    add_hook(
        bare,
        "stuck",
        "import os, threading\n"
        f"open({str(pids)!r} + '.tmp', 'w').write(str(os.getpid())); os.rename({str(pids)!r} + '.tmp', {str(pids)!r})\n"
        "threading.Event().wait()\n",
    )
    process = subprocess.Popen(
        bare.command(CLI, *QUICK), env=bare.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(pids.exists)

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert (process.returncode, errors) == (130, "interrupted\n")
    assert_gone(pids)


@pytest.mark.slow
def test_forbidden_plugins_are_not_imported(bare):
    touched = bare.work / "touched"
    add_hook(bare, "spy", f"open({str(touched)!r}, 'w').close()\n" + HOOK)

    for arguments, variables, word in (
        (("--block", "spy"), {}, "blocked by --block spy"),
        ((), {"PENROSE_BLOCK": "penrose-spy:spy"}, "blocked by --block penrose-spy:spy"),
        (("--allow-dist", "penrose-mine"), {}, "not of an allowed distribution (penrose-mine)"),
        ((), {"PENROSE_ALLOW_DIST": "penrose-mine"}, "not of an allowed distribution (penrose-mine)"),
    ):
        status, report = examined(bare, *arguments, **variables)
        (spy,) = (plugin for plugin in report["plugins"] if plugin["name"] == "spy")
        assert (status, spy["status"]) == (0, word)
        listed = json.loads(bare.penrose("plugins", "--load", "--json", *arguments, **variables).stdout)
        assert word in [plugin["status"] for plugin in listed]
        assert bare.penrose("plugins", "show", "spy", *arguments, **variables).returncode == 3

    assert not touched.exists()
    assert bare.penrose("plugins", "show", "spy").returncode == 0
    assert touched.exists()


def test_a_name_that_two_distributions_have_is_a_problem_until_one_is_blocked(bare):
    add_hook(bare, "mine")
    bare.add("penrose-other", "2.0", {"penrose.hooks": {"mine": "mine_hook:Hook"}})

    status, report = examined(bare)

    (finding,) = report["findings"]
    assert (status, finding["code"], finding["subject"]) == (1, "name-twice", "hook mine")
    assert "penrose-mine 1.0 (mine_hook:Hook) and penrose-other 2.0 (mine_hook:Hook)" in finding["message"]
    assert "penrose-mine:mine or penrose-other:mine" in finding["hint"]
    assert examined(bare, "--block", "penrose-other:mine")[0] == 0


def test_a_broken_editable_plugin_is_installed_again_from_its_folder(bare, tmp_path):
    project = tmp_path / "penrose-sick"
    project.mkdir()
    (project / "pyproject.toml").write_text('[project.entry-points."penrose.hooks"]\nsick = "sick_hook:Hook"\n')
    url = json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}})
    add_hook(bare, "sick", "raise OSError", direct_url__json=url)
    (finding,) = examined(bare)[1]["findings"]
    assert finding["code"] == "broken-plugin"
    assert f"try: pip install -e {project} " in finding["hint"]


def test_metadata_that_is_wrong_is_a_problem_with_what_to_type(bare):
    (add_hook(bare, "lost") / "METADATA").unlink()
    add_hook(bare, "old", requires=["penrose-host>=9"])

    result = bare.penrose(*QUICK)

    assert result.returncode == 1
    assert "problem (damaged-metadata): penrose-lost 1.0" in result.stdout
    assert "problem (broken-plugin): hook lost" in result.stdout
    assert "problem (version-conflict): penrose-old 1.0: it requires penrose-host>=9" in result.stdout
    assert "  pip install 'penrose-host>=9'" in result.stdout
    assert result.stdout.endswith("3 problems found\n")


def test_a_traceback_is_shown_on_request(bare):
    add_hook(bare, "bad", "def explode():\n    1 / 0\nexplode()\n")

    assert "in explode" not in bare.penrose(*QUICK).stdout
    assert "in explode" in bare.penrose(*QUICK, "--traceback").stdout


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "x"])
def test_a_time_limit_that_is_none_is_wrong_usage(bare, seconds):
    assert bare.penrose("doctor", f"--time-limit={seconds}").returncode == 2


def wait_for(condition):
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def assert_gone(pids: Path) -> None:
    """None of these processes lives any more."""

    def alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        # Dead and not yet waited for by whoever inherited it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"

    for pid in map(int, pids.read_text().split()):
        wait_for(lambda pid=pid: not alive(pid))
