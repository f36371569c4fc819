"""Commands that plugins bring: listed from metadata, imported once chosen, and never in each other's way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bare_site import BareSite, lay_foundation

GROUP = "penrose.commands"
SOURCE = '''
import argparse
from penrose_host.errors import SourceError

def add_arguments(parser):
    """Greets."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, command in (("hello", hello), ("fail", fail), ("break", break_), ("status", status), ("nothing", None)):
        action = actions.add_parser(name)
        action.add_argument("--loud", action="store_true")
        if command:
            action.set_defaults(command=command)

def hello(options):
    print("HELLO" if options.loud else "hello")

def status(options):
    return 17

def fail(options):
    raise SourceError("the greeted is gone", hint="come back later")

def break_(options):
    raise ValueError("100 % broken")
'''


@pytest.fixture
def greeter(site: Any) -> Any:
    site.add("penrose-greeter", {GROUP: {"greet": "greeter:add_arguments"}}, {"greeter": SOURCE}, version="2.5")
    return site


def test_a_command_of_a_plugin_takes_its_arguments_and_gives_its_status(greeter: Any) -> None:
    said = greeter.penrose("greet", "hello", "--loud")
    assert (said.returncode, said.stdout, said.stderr) == (0, "HELLO\n", "")
    assert greeter.penrose("greet", "status").returncode == 17
    assert greeter.penrose("penrose-greeter:greet", "hello").stdout == "hello\n"


def test_its_help_says_whose_it_is(greeter: Any) -> None:
    said = greeter.penrose("greet", "--help")
    assert said.returncode == 0
    assert "usage: penrose greet" in said.stdout
    assert "A command of penrose-greeter 2.5." in said.stdout


def test_help_lists_commands_with_their_distribution_and_imports_none(greeter: Any) -> None:
    greeter.add("penrose-bad", {GROUP: {"bad": "bad:add_arguments"}}, {"bad": "raise SystemExit(9)"})
    helped = greeter.penrose("--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    lines = [line.split(maxsplit=1) for line in helped.stdout.splitlines()]
    assert ["greet", "of penrose-greeter 2.5"] in lines
    assert ["bad", "of penrose-bad 1.0"] in lines
    assert greeter.penrose("greet", "hello").returncode == 0


def test_an_error_of_a_command_is_told_like_any_other(greeter: Any) -> None:
    said = greeter.penrose("greet", "fail")
    assert (said.returncode, said.stderr) == (4, "error: the greeted is gone\n  come back later\n")
    assert "Traceback" in greeter.penrose("greet", "fail", "--traceback").stderr


def test_what_a_command_does_not_foresee_names_its_distribution_and_the_place(greeter: Any) -> None:
    said = greeter.penrose("greet", "break")
    assert said.returncode == 3
    assert "command plugin 'greet' of penrose-greeter 2.5 raised ValueError: 100 % broken" in said.stderr
    assert "greeter.py:" in said.stderr
    assert "Traceback" not in said.stderr
    whole = greeter.penrose("greet", "break", "--traceback").stderr
    assert "Traceback" in whole
    assert "ValueError: 100 % broken" in whole


def test_wrong_usage_of_a_command_shows_its_usage(greeter: Any) -> None:
    for arguments in (("greet",), ("greet", "wave")):
        said = greeter.penrose(*arguments)
        assert said.returncode == 2
        assert "usage: penrose greet" in said.stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module", "is broken: importing odd:add_arguments raised ModuleNotFoundError"),
        ("raise SystemExit(0)", "SystemExit: 0 (the program would have ended)"),
        ("add_arguments = 5", "odd:add_arguments is not a function"),
        ("class add_arguments: pass", "odd:add_arguments is not a function"),
        ("def add_arguments(parser): parser.add_argument('--help')", "raised ArgumentError"),
        ("def add_arguments(): pass", "raised TypeError"),
        ("def add_arguments(parser): pass", "odd:add_arguments gave the parser nothing to run"),
    ],
)
def test_a_command_that_cannot_be_used_is_told_with_distribution_and_version(site: Any, source: str, said: str) -> None:
    site.add("penrose-odd", {GROUP: {"odd": "odd:add_arguments"}}, {"odd": source}, version="0.3")
    result = site.penrose("odd")
    assert result.returncode == 3
    assert said in result.stderr
    assert "penrose-odd 0.3" in result.stderr
    assert "Traceback" not in result.stderr
    assert site.penrose("plugins").returncode == 0


def test_two_distributions_with_one_command_are_named_and_one_can_be_chosen(greeter: Any) -> None:
    greeter.add("penrose-other", {GROUP: {"greet": "other:add_arguments"}}, {"other": SOURCE.replace("hello", "hi")})
    result = greeter.penrose("greet", "hello")
    assert result.returncode == 3
    assert "command plugin 'greet' is provided twice: by penrose-greeter 2.5" in result.stderr
    assert "penrose-greeter:greet or penrose-other:greet" in result.stderr
    assert greeter.penrose("penrose-other:greet", "hi").stdout == "hi\n"
    assert greeter.penrose("greet", "hi", PENROSE_BLOCK="penrose-greeter:greet").stdout == "hi\n"
    assert "of penrose-greeter 2.5 and penrose-other 1.0" in " ".join(greeter.penrose("--help").stdout.split())


def test_what_the_variables_forbid_is_not_run(greeter: Any) -> None:
    for variables in ({"PENROSE_BLOCK": "greet"}, {"PENROSE_ALLOW_DIST": "penrose-else"}):
        result = greeter.penrose("greet", "hello", **variables)
        assert result.returncode == 3
        assert "command plugin 'greet' (penrose-greeter 2.5) is " in result.stderr


def test_no_plugin_takes_the_place_of_a_command_of_the_host(site: Any) -> None:
    site.add("penrose-thief", {GROUP: {"plugins": "thief:add_arguments"}}, {"thief": "raise SystemExit(9)"})
    listed = site.penrose("plugins")
    assert listed.returncode == 0
    assert "never used: `penrose plugins` is a command of the host" in listed.stdout
    assert "penrose-thief" not in site.penrose("--help").stdout


def test_commands_are_listed_shown_and_examined_like_other_plugins(greeter: Any) -> None:
    rows = json.loads(greeter.penrose("plugins", "--json", "--load").stdout)
    (row,) = [row for row in rows if row["kind"] == "command" and row["name"] == "greet"]
    assert (row["dist"], row["status"]) == ("penrose-greeter", "ok")
    shown = greeter.penrose("plugins", "show", "greet").stdout
    assert "command greet: Greets." in shown
    assert "penrose greet --help" in shown
    (described,) = json.loads(greeter.penrose("plugins", "show", "greet", "--json").stdout)
    assert described["description"] == "Greets."


def test_a_command_that_nobody_has_shows_those_that_there_are(greeter: Any) -> None:
    result = greeter.penrose("greetings")
    assert result.returncode == 2
    assert "invalid choice: 'greetings'" in result.stderr
    assert "'greet'" in result.stderr


def test_without_plugins_a_known_command_names_its_package_and_the_doctor_finds_nothing(tmp_path: Path) -> None:
    bare = BareSite(tmp_path / "bare", lay_foundation(tmp_path / "foundation"))
    result = bare.penrose("kafka", "dev")
    assert result.returncode == 3
    assert "there is no command plugin 'kafka'\n  install it with: pip install penrose-kafka" in result.stderr
    bare.add("penrose-greeter", entry_points={GROUP: {"greet": "greeter:add_arguments"}}, files={"greeter.py": SOURCE})
    examined = json.loads(bare.penrose("doctor", "--json").stdout)
    (greet,) = [plugin for plugin in examined["plugins"] if plugin["kind"] == "command"]
    assert greet["status"] == "ok"
    assert [finding for finding in examined["findings"] if "greet" in str(finding)] == []
