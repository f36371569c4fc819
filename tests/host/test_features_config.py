from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from pydantic import ValidationError

from penrose_host.contracts.executor import FeatureSpec, ListFeature
from penrose_host.core.metrics.config import MetricsConfig
from penrose_host.features.config import FeaturesConfig

MINIMAL: dict[str, Any] = {"event_time": "ts", "labels": ["clicked"]}
FULL: dict[str, Any] = {
    "event_time": {"column": "ts", "unit": "ms"},
    "time_zone": "America/New_York",
    "categorical": ["carrier", {"name": "airport", "column": "dest"}, {"event_time": "hour"}, {"event_time": "30m"}],
    "crosses": [["origin", "hour"], {"name": "od", "of": ["origin", "airport"]}],
    "lists": ["tags", {"name": "recent", "column": "seen", "ordered": True, "max_length": 50, "combiner": "sum"}],
    "numeric": ["distance", {"column": "price", "default": 1.5, "transform": "log1p"}],
    "labels": [{"name": "late", "column": "arr_delay", "at_least": 15}],
    "known_at": "label_known_at",
}


def test_short_forms_are_spelt_out() -> None:
    config = FeaturesConfig.model_validate(FULL)
    assert config.spec() == FeatureSpec(
        categorical=("carrier", "airport", "hour", "30m", "origin_x_hour", "od"),
        lists=(ListFeature("tags"), ListFeature("recent", "sum", ordered=True)),
        numeric=("distance", "price"),
        labels=("late",),
    )
    assert [member.name for member in config.members()] == ["carrier", "airport", "hour", "30m", "origin"]
    assert config.members()[4].column == "origin"


def test_columns_lists_what_the_source_must_give_each_once() -> None:
    expected = ["ts", "label_known_at", "carrier", "dest", "origin", "tags", "seen", "distance", "price", "arr_delay"]
    assert FeaturesConfig.model_validate(FULL).columns() == expected
    assert FeaturesConfig.model_validate({**MINIMAL, "categorical": ["ts", "x"]}).columns() == ["ts", "x", "clicked"]


def test_labels_are_on_arrival_unless_a_column_or_a_delay_says_otherwise() -> None:
    assert FeaturesConfig.model_validate(MINIMAL).labels_on_arrival
    assert not FeaturesConfig.model_validate(FULL).labels_on_arrival
    assert not FeaturesConfig.model_validate({**MINIMAL, "label_delay": "30m"}).labels_on_arrival


def test_the_spec_that_executors_export_holds_the_whole_recipe() -> None:
    config = FeaturesConfig.model_validate({**FULL, "known_at": None, "label_delay": "90m"})
    exported = json.loads(json.dumps(asdict(config.spec())))
    assert FeaturesConfig.model_validate(exported["recipe"]) == config
    assert exported["recipe"]["crosses"][0] == {"name": "origin_x_hour", "of": ["origin", "hour"]}
    assert hash(config.spec()) == hash(FeaturesConfig.model_validate(FULL).spec())


@pytest.mark.parametrize("source", [MINIMAL, FULL, {**MINIMAL, "label_delay": "90m"}])
def test_json_is_read_back(source: dict[str, Any]) -> None:
    config = FeaturesConfig.model_validate(source)
    assert FeaturesConfig.model_validate(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("change", "place", "fault"),
    [
        ({"event_time": 5}, ("event_time",), "dictionary"),
        ({"event_time": {"column": "t", "unit": "s", "format": "iso8601"}}, ("event_time",), "not both"),
        ({"event_time": {"column": "t", "unit": "minutes"}}, ("event_time", "unit"), "'s', 'ms'"),
        ({"categorical": [{"name": "x"}]}, ("categorical", 0), "`column` or `event_time`"),
        ({"categorical": [{"column": "a", "event_time": "hour"}]}, ("categorical", 0), "one of them"),
        ({"categorical": [{"event_time": "hours"}]}, ("categorical", 0, "event_time"), "neither one of minute, hour"),
        ({"categorical": [{"event_time": "0s"}]}, ("categorical", 0, "event_time"), "longer than 0"),
        ({"categorical": [{"event_time": "hour", "of_day": True}]}, ("categorical", 0), "`of_day` belongs to a slot"),
        ({"categorical": ["a", "b", "a"]}, (), "'a' stands twice"),
        ({"categorical": ["a"], "numeric": ["a"]}, (), "'a' stands twice"),
        ({"categorical": [""]}, ("categorical", 0, "name"), "at least 1 character"),
        ({"crosses": [["a"]]}, ("crosses", 0, "of"), "at least 2"),
        ({"crosses": [["a", "b"], ["a_x_b", "c"]]}, (), "'a_x_b' is a cross or a list"),
        ({"lists": ["tags"], "crosses": [["a", "tags"]]}, (), "'tags' is a cross or a list"),
        ({"lists": [{"column": "tags", "max_length": 0}]}, ("lists", 0, "max_length"), "greater than 0"),
        ({"numeric": [{"column": "a", "default": -1, "transform": "log1p"}]}, ("numeric", 0), "has no log1p"),
        ({"numeric": [{"column": "a", "default": float("nan")}]}, ("numeric", 0, "default"), "finite"),
        ({"labels": []}, ("labels",), "at least 1"),
        ({"labels": ["y", "y"]}, (), "label name 'y' stands twice"),
        ({"known_at": "k", "label_delay": "5m"}, (), "not both"),
        ({"label_delay": 30}, ("label_delay",), "has no unit"),
        ({"time_zone": "Mars/Olympus"}, ("time_zone",), "no time zone 'Mars/Olympus'"),
        ({"time_zone": "../etc/passwd"}, ("time_zone",), "no time zone"),
        ({"nmeric": []}, ("nmeric",), "not permitted"),
    ],
)
def test_faults_name_their_place(change: dict[str, Any], place: tuple[str | int, ...], fault: str) -> None:
    with pytest.raises(ValidationError) as caught:
        FeaturesConfig.model_validate({**MINIMAL, **change})
    first = caught.value.errors()[0]
    assert first["loc"] == place
    assert fault in first["msg"]


def test_a_metrics_window_is_of_rows_or_of_event_time_or_none() -> None:
    assert MetricsConfig() == MetricsConfig(window_rows=10_000, window_event_time=None)
    window = MetricsConfig.model_validate({"window_event_time": "1d"})
    assert (window.window_rows, window.window_event_time) == (None, 86_400_000_000)
    assert MetricsConfig.model_validate(window.model_dump(mode="json")) == window
    assert MetricsConfig.model_validate({"window_rows": None}).window_rows is None
    for wrong in ({"window_rows": 5, "window_event_time": "1d"}, {"window_rows": 0}, {"window": 5}):
        with pytest.raises(ValidationError):
            MetricsConfig.model_validate(wrong)
