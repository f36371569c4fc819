"""Lifecycle hooks: observers cannot disturb a run, gates cannot be overheard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penrose_host import Deny, HookPlugin, hookimpl
from penrose_host.errors import PluginIncompatible
from penrose_host.plugins.hook_calls import Hooks

DIRECTORY = Path("export")


class Recorder(HookPlugin):
    """Keeps what it is told."""

    api_version = 1

    def __init__(self) -> None:
        super().__init__(self.Options())
        self.seen: list[Any] = []

    @hookimpl
    def reported(self, metrics):
        self.seen.append(dict(metrics))

    @hookimpl
    def run_ended(self, error):
        self.seen.append(error)


class Raising(Recorder):
    error: BaseException = ValueError("no disk")

    @hookimpl
    def reported(self):
        raise self.error


class Gate(Recorder):
    answer: Any = None

    @hookimpl
    def allow_export(self, metrics):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def gate(answer: Any) -> Gate:
    plugin = Gate()
    plugin.answer = answer
    return plugin


def test_observers_get_the_arguments_they_ask_for():
    hooks, recorder, error = Hooks(), Recorder(), RuntimeError("x")
    hooks.register("recorder", recorder)

    hooks.reported({"rows": 3})
    hooks.run_ended(None, error)
    hooks.checkpoint_written("00000001-e1")

    assert recorder.seen == [{"rows": 3}, error]
    assert hooks.failures == {}


def test_an_observer_that_raises_is_counted_shown_once_and_stops_neither_others_nor_the_run():
    shown: list[tuple[str, str, str]] = []
    hooks = Hooks(on_failure=lambda plugin, hook, error: shown.append((plugin, hook, str(error))))
    before, after = Recorder(), Recorder()
    for name, plugin in {"before": before, "raising": Raising(), "after": after}.items():
        hooks.register(name, plugin)

    for rows in range(3):
        hooks.reported({"rows": rows})

    assert before.seen == after.seen == [{"rows": 0}, {"rows": 1}, {"rows": 2}]
    assert shown == [("raising", "reported", "no disk")]
    failure = hooks.failures["raising", "reported"]
    assert (failure.count, str(failure.last_error)) == (3, "no disk")
    assert failure.last_error.__traceback__ is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_what_ends_the_program_passes_through_observers(error):
    hooks, raising = Hooks(), Raising()
    raising.error = error
    hooks.register("raising", raising)

    with pytest.raises(type(error)):
        hooks.reported({})


def test_an_observer_cannot_change_what_the_others_see():
    class Meddler(Recorder):
        @hookimpl(tryfirst=True)
        def reported(self, metrics):
            metrics["rows"] = -1

    hooks, recorder = Hooks(), Recorder()
    hooks.register("meddler", Meddler())
    hooks.register("recorder", recorder)

    hooks.reported({"rows": 3})

    assert recorder.seen == [{"rows": 3}]
    assert hooks.failures["meddler", "reported"].count == 1


def test_without_gates_an_export_goes_ahead():
    assert Hooks().allow_export(DIRECTORY, {}) == []


def test_all_gates_are_asked_and_every_reason_is_gathered():
    hooks = Hooks()
    hooks.register("strict", gate(Deny("auc fell")))
    hooks.register("content", gate(None))
    hooks.register("broken", gate(OSError("registry unreachable")))
    hooks.register("odd", gate(False))

    denials = dict(hooks.allow_export(DIRECTORY, {"auc": 0.7}))

    assert denials["strict"] == "auc fell"
    assert "OSError: registry unreachable" in denials["broken"]
    assert "False" in denials["odd"]
    assert "content" not in denials
    assert len(hooks.allow_export(DIRECTORY, {})) == 3


def test_a_wrapper_watches_a_hook_and_cannot_change_its_outcome():
    class Timer(Recorder):
        @hookimpl(wrapper=True)
        def allow_export(self):
            self.seen.append("before")
            yield
            self.seen.append("after")
            return []

    hooks, timer = Hooks(), Timer()
    hooks.register("strict", gate(Deny("auc fell")))
    hooks.register("timer", timer)

    assert hooks.allow_export(DIRECTORY, {}) == [("strict", "auc fell")]
    assert timer.seen == ["before", "after"]


@pytest.mark.parametrize("when", ["before", "after", "twice", "never"])
def test_a_wrapper_that_fails_is_counted_and_the_others_are_still_called(when):
    class Wrapper(Recorder):
        @hookimpl(wrapper=True)
        def reported(self):
            if when == "before":
                raise ValueError("no")
            if when != "never":
                yield
            if when == "after":
                raise ValueError("no")
            if when == "twice":
                yield

    hooks, recorder = Hooks(), Recorder()
    hooks.register("recorder", recorder)
    hooks.register("wrapper", Wrapper())

    hooks.reported({"rows": 1})

    assert recorder.seen == [{"rows": 1}]
    assert hooks.failures["wrapper", "reported"].count == 1


def test_a_wrapper_that_fails_around_a_gate_denies():
    class Wrapper(Recorder):
        @hookimpl(wrapper=True)
        def allow_export(self):
            yield
            raise ValueError("no")

    hooks = Hooks()
    hooks.register("wrapper", Wrapper())

    assert hooks.allow_export(DIRECTORY, {}) == [("wrapper", "the gate raised ValueError: no")]


def test_an_interrupt_in_an_observer_lets_wrappers_clean_up():
    class Wrapper(Recorder):
        @hookimpl(wrapper=True)
        def reported(self):
            try:
                yield
            finally:
                self.seen.append("cleaned up")

    hooks, wrapper, raising = Hooks(), Wrapper(), Raising()
    raising.error = KeyboardInterrupt()
    hooks.register("wrapper", wrapper)
    hooks.register("raising", raising)

    with pytest.raises(KeyboardInterrupt):
        hooks.reported({})

    assert wrapper.seen == ["cleaned up"]


class OldWrapper(Recorder):
    @hookimpl(hookwrapper=True)
    def reported(self):
        yield


class UnknownHook(Recorder):
    @hookimpl
    def batch_trained(self):
        pass


class UnknownArgument(Recorder):
    @hookimpl
    def exported(self, folder):
        pass


class Unmarked(Recorder):
    def exported(self, directory):
        pass


class Nothing(HookPlugin):
    api_version = 1


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        (OldWrapper(), "hookwrapper=True"),
        (UnknownHook(), "unknown hook 'batch_trained'"),
        (UnknownArgument(), "folder"),
        (Unmarked(), "exported is the name of a hook and not marked"),
        (Nothing(Nothing.Options()), "no method is marked"),
    ],
)
def test_a_plugin_that_would_not_be_called_as_meant_is_refused(plugin, reason):
    with pytest.raises(PluginIncompatible, match=reason) as raised:
        Hooks().register("odd", plugin)
    assert raised.value.plugin == "odd"
    assert "allow_export" in str(raised.value)


def test_a_name_is_registered_once():
    hooks = Hooks()
    hooks.register("one", Recorder())
    with pytest.raises(PluginIncompatible, match="already registered"):
        hooks.register("one", Recorder())
