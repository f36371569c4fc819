"""The command line, in processes of its own: output, exit statuses, errors with what to type next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from penrose_host.checkpoints import CheckpointStore
from penrose_host.cli.table import table
from penrose_host.contracts.batch import Position
from penrose_host.contracts.cluster import Role

CLI = "import sys; from penrose_host.cli import main; sys.exit(main())"
JOB = """\
name: test
datasource: nothing
executor: {name: idle, rate: 0.5}
features: {event_time: ts, labels: [y]}
"""
EXECUTOR = """
from typing import Literal
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from penrose_host import Capability, DataSource, EndOfStream, Executor
from penrose_host.options.durations import Duration

class Nested(BaseModel):
    \"\"\"What nests.\"\"\"
    model_config = ConfigDict(extra="forbid")
    depth: int = Field(2, ge=1, description="how deep")

class Idle(Executor):
    \"\"\"Does nothing at all.

    And says so at length.
    \"\"\"
    api_version = 1
    capabilities = frozenset({Capability.SINGLE_WORKER})
    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
        rate: float = Field(gt=0, description="steps per row")
        mode: Literal["fast", "slow"] = "fast"
        nested: Nested = Nested()
        pause: Duration | None = 5_000_000
        password: SecretStr = SecretStr("hunter2")
    def setup(self, context): pass
    def predict(self, batch): pass
    def train(self, batch, step): pass
    def snapshot(self): pass
    def restore(self, reader): pass
    def export(self, directory): pass
    def close(self): pass

class Nothing(DataSource):
    api_version = 1
    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
    source_id = "nothing"
    def partitions(self): return []
    def open(self, assignment): pass
    def read(self, max_rows, timeout): raise EndOfStream
    def close(self): pass
"""


@pytest.fixture
def idle(site):
    groups = {
        "penrose.executors": {"idle": "idle_executor:Idle"},
        "penrose.datasources": {"nothing": "idle_executor:Nothing"},
    }
    site.add("penrose-idle", groups, {"idle_executor": EXECUTOR})
    (site.path.parent / "job.yaml").write_text(JOB)
    return site


# -- penrose ---------------------------------------------------------------------------------------


def test_help_lists_the_commands_and_the_version_is_the_distributions(site):
    helped = site.penrose("--help")
    assert helped.returncode == 0
    assert all(command in helped.stdout for command in ("run", "plugins", "checkpoints"))
    assert site.penrose("--version").stdout.startswith("penrose ")


@pytest.mark.parametrize("arguments", [(), ("trian",), ("run", "--no-such-flag"), ("checkpoints",), ("run", "--fres")])
def test_wrong_usage_exits_with_2_and_says_how_to_use_it(site, arguments):
    result = site.penrose(*arguments)
    assert result.returncode == 2
    assert "usage: penrose" in result.stderr


# -- penrose plugins -------------------------------------------------------------------------------


def test_plugins_are_listed_in_an_aligned_table(idle):
    result = idle.penrose("plugins")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert (result.returncode, result.stderr) == (0, "")
    assert lines[0] == ["KIND", "NAME", "DISTRIBUTION", "VERSION", "STATUS"]
    assert ["executor", "idle", "penrose-idle", "1.0", "ok"] in lines
    names = [line.index(words[1]) for line, words in zip(result.stdout.splitlines(), lines, strict=True)]
    assert len(set(names)) == 1


def test_plugins_as_json_say_the_same(idle):
    rows = json.loads(idle.penrose("plugins", "--json").stdout)
    assert {
        "kind": "executor", "name": "idle", "dist": "penrose-idle", "version": "1.0",
        "target": "idle_executor:Idle", "fault": None, "status": "ok",
    } in rows  # fmt: skip


def test_broken_and_doubled_plugins_are_listed_as_what_they_are_and_harm_nothing(idle):
    idle.add("penrose-bad", {"penrose.hooks": {"bad": "bad_hook:Bad"}}, {"bad_hook": "raise SystemExit(7)"})
    idle.add("penrose-odd", {"penrose.hooks": {"odd": "no target"}})
    idle.add("penrose-twin", {"penrose.executors": {"idle": "idle_executor:Idle"}})
    unreadable = idle.add("penrose-unreadable", "") / "entry_points.txt"
    unreadable.write_bytes(b"[penrose.hooks]\n\xff = a:b\n")

    plain = idle.penrose("plugins")
    unreadable.unlink()
    checked = idle.penrose("plugins", "--load", "--json")

    assert plain.returncode == checked.returncode == 0
    assert "broken: its entry point 'no target'" in plain.stdout
    assert "also in penrose-twin" in plain.stdout
    assert "warning: cannot read" in plain.stderr
    status = {(row["dist"], row["name"]): row["status"] for row in json.loads(checked.stdout)}
    assert "SystemExit: 7" in status["penrose-bad", "bad"]
    assert status["penrose-host", "local"] == "ok"


def test_show_describes_a_plugin_and_its_options(idle):
    text = idle.penrose("plugins", "show", "idle").stdout
    assert "executor idle: Does nothing at all." in text
    assert "penrose-idle 1.0 (idle_executor:Idle, plugin API 1)" in text
    assert "single-worker" in text
    nested = (
        "nested: mapping, default as follows\n    What nests.\n\nnested.depth: integer >= 1, default 2\n    how deep\n"
    )
    assert nested in text
    assert 'pause: text | null, default "5s"\n' in text
    assert "mode: fast | slow, default fast\n" in text
    assert "rate: number > 0, required\n" in text
    assert "hunter2" not in text
    (described,) = json.loads(idle.penrose("plugins", "show", "idle", "--json").stdout)
    assert described["options"]["properties"]["mode"]["enum"] == ["fast", "slow"]
    assert described["capabilities"] == ["single-worker"]
    assert "hunter2" not in str(described)


def test_showing_a_plugin_that_is_not_there_exits_with_3_and_a_hint(idle):
    result = idle.penrose("plugins", "show", "torhc")
    assert result.returncode == 3
    assert "error: there is no plugin 'torhc'" in result.stderr
    assert "'torch'" in result.stderr


def test_a_broken_plugin_is_named_and_its_traceback_shown_on_request(idle):
    idle.add(
        "penrose-bad", {"penrose.hooks": {"bad": "bad_hook:Bad"}}, {"bad_hook": "import no_such_thing"}, version="2.5"
    )
    brief, whole = idle.penrose("plugins", "show", "bad"), idle.penrose("plugins", "show", "bad", "--traceback")
    assert brief.returncode == whole.returncode == 3
    assert "bad" in brief.stderr
    assert "penrose-bad 2.5" in brief.stderr
    assert "No module named 'no_such_thing'" in brief.stderr
    assert "Traceback" not in brief.stderr
    assert "Traceback" in whole.stderr
    assert "bad_hook.py" in whole.stderr


# -- penrose run -----------------------------------------------------------------------------------


def test_a_dry_run_prints_the_whole_job_with_the_defaults_of_options_and_writes_nothing(idle):
    before = set(idle.path.parent.iterdir())
    result = idle.penrose("run", "job.yaml", "--dry-run", "-o", "executor.password=topsecret", "--until", "rows=5")
    assert (result.returncode, result.stderr) == (0, "")
    assert "mode: fast" in result.stdout
    assert "password: '**********'" in result.stdout
    assert "rows: 5" in result.stdout
    assert set(idle.path.parent.iterdir()) == before


def test_a_terminal_that_knows_no_unicode_is_no_reason_to_fail(idle):
    for arguments in (("--help",), ("run", "--help"), ("run", "job.yaml", "--dry-run", "-o", "features.labels=[é]")):
        result = idle.penrose(*arguments, PYTHONIOENCODING="ascii")
        assert (result.returncode, result.stderr) == (0, "")
    assert "\\xe9" in result.stdout


def test_variables_reach_the_job(idle):
    result = idle.penrose("run", "job.yaml", "--dry-run", PENROSE_EXECUTOR__MODE="slow", PENROSE_SEED="7")
    assert "mode: slow" in result.stdout
    assert "seed: 7" in result.stdout


def test_all_faults_are_printed_and_the_status_is_2(idle):
    result = idle.penrose("run", "job.yaml", "-o", "seed=x", "-o", "executor.rate=0", PENROSE_SEDE="3")
    assert result.returncode == 2
    assert result.stdout == ""
    for part in ("3 faults", "seed: ", "executor.rate: ", "PENROSE_SEDE: ", "PENROSE_SEED?"):
        assert part in result.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "status"),
    [
        (("--block", "idle"), {}, 3),
        (("--allow-dist", "penrose-other"), {}, 2),  # its executor and its datasource: two faults
        ((), {"PENROSE_BLOCK": "x, penrose-idle:idle"}, 3),
        ((), {"PENROSE_ALLOW_DIST": "penrose-other"}, 2),
        (("--allow-dist", "penrose-idle"), {}, 0),
        (("--allow-dist", "penrose-idle"), {"PENROSE_ALLOW_DIST": "penrose-other"}, 0),
    ],
)
def test_what_the_user_forbids_is_not_used(idle, arguments, environ, status):
    result = idle.penrose("run", "job.yaml", "--dry-run", *arguments, **environ)
    assert result.returncode == status
    if status == 0:
        return
    assert "'idle' (penrose-idle 1.0)" in result.stderr


@pytest.mark.parametrize("variable", ["PENROSE_ALLOW_DIST", "PENROSE_BLOCK"])
def test_a_restriction_that_names_nothing_is_a_mistake(idle, variable):
    result = idle.penrose("run", "job.yaml", "--dry-run", **{variable: " ,"})
    assert result.returncode == 2
    assert f"{variable}: names nothing: ','" in result.stderr


@pytest.mark.parametrize("command", [["run"], ["predict", "--output", "x"], ["export", "--output", "x"]])
def test_a_command_without_its_job_says_what_to_type(idle, command):
    result = idle.penrose(*command, "-o", "seed=1.5")
    assert result.returncode == 2
    assert "JOB: a job file is expected (flags and variables do not say: name, datasource, " in result.stderr
    assert "seed: should be a whole number, not 1.5 (-o seed)" in result.stderr
    assert f"type: penrose {command[0]} job.yaml   (here are: job.yaml)" in result.stderr
    (idle.path.parent / "job.yaml").unlink()
    assert "how to write one: " in idle.penrose(*command).stderr


def test_flags_and_variables_alone_make_a_job(idle):
    flags = ["-o", "name=x", "--datasource", "nothing", "--executor", "idle", "-o", "executor.rate=1"]
    result = idle.penrose("run", "--dry-run", *flags, PENROSE_FEATURES="{event_time: ts, labels: [y]}")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_traceback_of_wrong_options_shows_no_secret(idle):
    result = idle.penrose(
        "run", "job.yaml", "--traceback", "-o", "executor.password=topsecret", "-o", "executor.rate=x"
    )
    assert result.returncode == 2
    assert "Traceback" in result.stderr
    assert "topsecret" not in result.stderr


def test_an_unknown_log_format_in_a_variable_is_a_fault(idle):
    result = idle.penrose("run", "job.yaml", "--dry-run", PENROSE_LOG_FORMAT="xml")
    assert (result.returncode, "PENROSE_LOG_FORMAT" in result.stderr) == (2, True)


def test_resume_from_and_fresh_exclude_each_other(idle):
    assert idle.penrose("run", "job.yaml", "--fresh", "--resume-from", "x").returncode == 2


# -- penrose checkpoints ---------------------------------------------------------------------------


@pytest.fixture
def run_dir(tmp_path):
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    store.claim(None)
    for sequence in (1, 2):
        folder = store.begin(sequence)
        fragment = store.fragment(folder, Role.CHIEF, 0)
        fragment.part("executor").add("state.bin", b"x" * 100)
        files = fragment.close()
        offsets = {f"p{partition}": sequence for partition in range(5)}
        store.commit(folder, files, rows=100 * sequence, position=Position("s", offsets), job={})
    return tmp_path / "run"


def test_checkpoints_are_listed(site, run_dir):
    lines = site.penrose("checkpoints", "list", str(run_dir)).stdout.splitlines()
    assert lines[0].split() == ["ID", "CREATED", "ROWS", "BYTES", "POSITION"]
    assert [line.split()[0] for line in lines[1:]] == ["00000001-e1", "00000002-e1"]
    assert "(5 partitions)" in lines[1]
    listed = json.loads(site.penrose("checkpoints", "list", str(run_dir), "--json").stdout)
    assert [entry["rows"] for entry in listed] == [100, 200]
    assert listed[1]["position"]["offsets"]["p4"] == 2


def test_intact_checkpoints_are_verified_and_a_damaged_file_is_named(site, run_dir):
    assert site.penrose("checkpoints", "verify", str(run_dir)).stdout.count("is intact") == 2
    damaged = run_dir / "checkpoints" / "00000002-e1" / "chief-0" / "executor" / "state.bin"
    damaged.write_bytes(b"y" + damaged.read_bytes()[1:])
    result = site.penrose("checkpoints", "verify", str(run_dir))
    assert result.returncode == 6
    assert str(damaged) in result.stderr
    assert site.penrose("checkpoints", "verify", str(run_dir), "00000001-e1").returncode == 0


def test_a_folder_without_checkpoints_and_an_unknown_id_exit_with_6(site, run_dir, tmp_path):
    assert site.penrose("checkpoints", "list", str(tmp_path)).returncode == 6
    assert site.penrose("checkpoints", "verify", str(run_dir), "00000009-e1").returncode == 6


# -- ends ------------------------------------------------------------------------------------------


def test_a_reader_that_goes_away_is_no_error(site):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        result = subprocess.run(
            [sys.executable, "-c", CLI, "plugins", "--json"],
            stdout=gone,
            stderr=subprocess.PIPE,
            env=site.environ(),
            timeout=60,
        )
    assert (result.returncode, result.stderr) == (141, b"")


def test_output_that_cannot_be_written_is_an_error_without_a_traceback(site):
    for arguments in (["plugins"], ["plugins", "--json"], ["plugins", "show", "files"]):
        with Path("/dev/full").open("wb") as full:
            result = subprocess.run(
                [sys.executable, "-c", CLI, *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                env=site.environ(),
                timeout=60,
            )
        assert (result.returncode, result.stderr) == (1, "error: cannot write the output: No space left on device\n")


def test_a_file_that_cannot_be_written_is_not_taken_for_the_output(site):
    code = (
        "import sys, penrose_host.plugins.index as i\n"
        "def full():\n with open('/dev/full', 'w') as f: f.write('x')\n"
        "i.scan = full\n"
    )
    result = site.python(code + CLI, "plugins")
    assert result.returncode == 1
    assert result.stderr.endswith("OSError: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("closed", [1, 2])
def test_closed_output_is_nowhere_and_what_is_opened_next_does_not_get_it(site, tmp_path, closed):
    code = f"import os, sys; os.close({closed}); os.execv(sys.executable, [sys.executable, '-c', *sys.argv[1:]])"
    opened = (
        "import sys\nfrom penrose_host.cli import main\nstatus = main(['checkpoints', 'list', 'none'])\n"
        "status = status or main(['plugins'])\nfile = open('opened', 'w')\nprint('out')\n"
        "print('err', file=sys.stderr)\nsys.exit(file.fileno() < 3 or status != 6)"
    )
    result = site.python(code, opened)
    assert result.returncode == 0, result.stderr
    assert "err" not in result.stdout


def test_a_broken_pipe_elsewhere_is_not_taken_for_a_reader_that_went_away(site):
    code = (
        "import sys, penrose_host.plugins.index as i\ndef boom(): raise BrokenPipeError('elsewhere')\ni.scan = boom\n"
    )
    result = site.python(code + CLI, "plugins")
    assert result.returncode == 1
    assert "BrokenPipeError: elsewhere" in result.stderr


def test_an_interrupt_exits_with_130_and_no_traceback(idle):
    # (A shell starts background jobs with SIGINT ignored: ask for the usual handler first.)
    usual = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    source = f"import os, signal, threading\n{usual}\nos.kill(os.getpid(), signal.SIGINT)\nthreading.Event().wait(60)"
    idle.add("penrose-slow", {"penrose.hooks": {"slow": "slow_hook:X"}}, {"slow_hook": source})
    result = idle.penrose("plugins", "show", "slow")
    assert (result.returncode, result.stderr) == (130, "interrupted\n")


def test_an_error_that_nobody_expected_keeps_its_traceback(idle):
    code = "import sys, penrose_host.plugins.index as i\ndef boom(): raise LookupError('boom')\ni.scan = boom\n"
    result = idle.python(code + CLI, "plugins")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "LookupError: boom" in result.stderr


def test_a_table_without_rows_is_its_header():
    assert table(["A", "LONGER"], []) == "A  LONGER"
    assert table(["A", "B"], [["xyz", ""], ["", "1"]]) == "A    B\nxyz\n     1"
