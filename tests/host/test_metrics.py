from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from metrics_support import MemoryCheckpoint, exact_auc, exact_log_loss

from penrose_host.core.metrics.config import MetricsConfig
from penrose_host.core.metrics.progressive import BLOCK, ProgressiveMetrics
from penrose_host.errors import CheckpointDamaged

HOUR = 3_600_000_000
NO_WINDOW = MetricsConfig(window_rows=None)
DAY_WINDOW = MetricsConfig.model_validate({"window_event_time": "1d"})


def measured(labels: Any, scores: Any, config: MetricsConfig = NO_WINDOW, times: Any = None) -> dict[str, Any]:
    """The metrics of rows of one head."""
    metrics = ProgressiveMetrics(["y"], config)
    labels, scores = np.asarray(labels, np.float32), np.asarray(scores, np.float32)
    metrics.update({"y": labels}, {"y": scores}, np.zeros(len(labels), np.int64) if times is None else times)
    return metrics.values()


def stream(seed: int, rows: int, *, base: float = -1.5, spread: float = 0.7, skew: float = 1.0) -> tuple[Any, Any]:
    """Labels and scores: the score's logit is normal, the label follows it (`skew` times as steeply)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(base, spread, rows)
    labels = rng.random(rows) < 1 / (1 + np.exp(-(base + (logits - base) * skew)))
    return labels.astype(np.float32), (1 / (1 + np.exp(-logits))).astype(np.float32)


def check_close(window: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal but for the order in which floats were added."""
    for name, value in window.items():
        assert value == (None if expected[name] is None else pytest.approx(expected[name], rel=1e-11)), name


# -- against exact values --------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(0, 1 << 32), st.integers(2, 20_000), st.floats(-9, 9), st.floats(0.05, 4), st.floats(0, 3))
def test_auc_is_close_to_the_exact_one(seed: int, rows: int, base: float, spread: float, skew: float) -> None:
    labels, scores = stream(seed, rows, base=base, spread=spread, skew=skew)
    auc, exact = measured(labels, scores)["auc"], exact_auc(labels, scores)
    assert (auc is None) == (exact is None)
    if auc is not None and exact is not None:
        positive, negative = scores[labels == 1], scores[labels == 0]
        few, many = sorted((positive, negative), key=len)
        many = np.sort(many)
        # A pair of scores in one bin costs at most its half; a bin is at most so wide.
        width = 0.004 * np.minimum(few, 1 - few) + 1e-7
        near = (np.searchsorted(many, few + width, side="right") - np.searchsorted(many, few - width)).sum()
        assert abs(auc - exact) <= near / 2 / (len(few) * len(many)) + 1e-9
        # With enough rows those halves cancel out.
        if len(few) >= 1000:
            assert abs(auc - exact) < 5e-4


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01, 0.001])
def test_auc_of_rare_positives_is_close_to_the_exact_one(rate: float) -> None:
    labels, scores = stream(1, 500_000, base=float(np.log(rate / (1 - rate))), spread=0.5)
    exact = exact_auc(labels, scores)
    assert exact is not None
    assert abs(measured(labels, scores)["auc"] - exact) < 5e-5


SEPARATE = [0.0, 1e-6, 0.001, 0.00101, 0.3, 0.3003, 0.4985, 0.5, 0.5015, 0.75, 0.999, 0.9991, 1 - 2.0**-20, 1.0]


@given(st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from(SEPARATE)), max_size=40))
def test_auc_of_scores_that_are_a_bin_apart_is_exact_with_ties(pairs: list[tuple[int, float]]) -> None:
    labels, scores = [label for label, _ in pairs], [score for _, score in pairs]
    assert measured(labels, scores)["auc"] == pytest.approx(exact_auc(labels, scores), abs=1e-12)


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_the_order_of_two_scores_is_never_turned_round(low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    auc = measured([0, 1], [low, high])["auc"]
    assert auc in (0.5, 1.0)
    smaller = min(low, 1 - low, high, 1 - high)
    if high - low > 0.002 * min(low, 1 - high) + 0.004 * smaller + 1e-7:
        assert auc == 1.0


def test_log_loss_and_calibration() -> None:
    labels, scores = stream(3, 3 * BLOCK + 17)
    values = measured(labels, scores)
    assert values["log_loss"] == pytest.approx(exact_log_loss(labels, scores), rel=1e-6)
    assert values["calibration"] == pytest.approx(scores.sum(dtype=float) / labels.sum(dtype=float), rel=1e-9)
    assert (values["labelled_rows"], values["positives"]) == (len(labels), int(labels.sum()))


def test_certain_and_wrong_scores_have_a_finite_loss() -> None:
    assert measured([1, 0], [0.0, 1.0])["log_loss"] == pytest.approx(-np.log(1e-7), rel=1e-3)
    assert measured([1, 0], [1.0, 0.0])["log_loss"] == pytest.approx(1e-7, rel=1e-3)


def test_labels_between_0_and_1_count_as_parts_of_rows() -> None:
    values = measured([0.25, 0.75, 0.5], [0.2, 0.8, 0.5])
    assert values["positives"] == 1.5
    assert values["calibration"] == pytest.approx(1.0)
    # Weighted pairs: (positive weight, negative weight) at 0.2, 0.5 and 0.8.
    pairs = 0.5 * 0.75 + 0.75 * (0.75 + 0.5) + (0.25 * 0.75 + 0.5 * 0.5 + 0.75 * 0.25) / 2
    assert values["auc"] == pytest.approx(pairs / (1.5 * 1.5))


# -- what is left out, what is undefined -----------------------------------------------------------


def test_rows_without_a_label_are_left_out() -> None:
    labels, scores = stream(4, 9000)
    without = labels.copy()
    without[::3] = np.nan
    kept = ~np.isnan(without)
    values = measured(without, scores)
    assert values["labelled_rows"] == 6000
    assert values["auc"] == measured(labels[kept], scores[kept])["auc"]


def test_scores_that_are_not_finite_are_left_out_and_counted() -> None:
    values = measured([1, 0, 1, np.nan], [0.9, np.nan, np.inf, np.nan])
    assert (values["labelled_rows"], values["non_finite_scores"]) == (1, 2)
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_what_is_undefined_is_none() -> None:
    nothing = {"auc": None, "log_loss": None, "calibration": None, "labelled_rows": 0, "positives": 0}
    values = ProgressiveMetrics(["y"], MetricsConfig()).values()
    assert values == {**nothing, "non_finite_scores": 0, "window": {**nothing, "non_finite_scores": 0}}
    assert ProgressiveMetrics(["y"], DAY_WINDOW).values() == values
    values = measured([0, 0], [0.1, 0.2])
    assert (values["auc"], values["calibration"], values["window"]) == (None, None, None)
    assert values["log_loss"] > 0


def test_several_heads_stand_beside_each_other_and_the_first_at_the_top() -> None:
    (one, one_scores), (two, two_scores) = stream(5, 5000), stream(6, 5000)
    two[:100] = np.nan
    metrics = ProgressiveMetrics(["one", "two"], MetricsConfig(window_rows=100))
    metrics.update({"two": two, "one": one}, {"one": one_scores, "two": two_scores}, np.zeros(5000, np.int64))
    values = metrics.values()
    window = values.pop("window")
    heads = values.pop("heads")
    assert heads["one"] == values
    assert {**values, "window": None} == measured(one, one_scores)
    assert {**heads["two"], "window": None} == measured(two, two_scores)
    assert {**window["heads"]["two"], "window": None} == measured(two[-100:], two_scores[-100:])


def test_labels_and_scores_of_another_length_are_refused() -> None:
    metrics = ProgressiveMetrics(["y"], NO_WINDOW)
    label, score, time = np.ones(3, np.float32), np.ones(1, np.float32), np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="head 'y': 3 labels and 1 scores for 3 rows"):
        metrics.update({"y": label}, {"y": score}, time)
    assert metrics.values()["labelled_rows"] == 0


# -- windows ---------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(0, 3 * BLOCK), st.sampled_from([1, 7, 100, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK]))
def test_a_window_of_rows_holds_exactly_the_last_rows(rows: int, size: int) -> None:
    labels, scores = stream(7, rows)
    window = measured(labels, scores, MetricsConfig(window_rows=size))["window"]
    assert window["labelled_rows"] == min(rows, size)
    check_close(window, measured(labels[-size:], scores[-size:]))


@settings(max_examples=30)
@given(st.integers(1, 3 * BLOCK), st.sampled_from([1, HOUR // 1000, HOUR // 50, HOUR]), st.integers(0, 1 << 32))
def test_a_window_of_event_time_holds_the_rows_of_its_panes(rows: int, step: int, seed: int) -> None:
    labels, scores = stream(seed, rows)
    rng = np.random.default_rng(seed)
    # Not quite in order, and before 1970 too.
    times = np.arange(rows) * step - 5 * HOUR + rng.integers(0, 3 * step + 1, rows)
    window = measured(labels, scores, DAY_WINDOW, times)["window"]
    panes = times // HOUR
    chosen = panes > panes.max() - 24
    expected = measured(labels[chosen], scores[chosen])
    assert window["labelled_rows"] == chosen.sum()
    check_close(window, expected)


def test_a_row_that_is_older_than_the_window_is_not_in_it() -> None:
    times = np.array([0, 100 * HOUR, HOUR, 99 * HOUR])
    assert measured([1, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], DAY_WINDOW, times)["window"]["labelled_rows"] == 2


@pytest.mark.parametrize("config", [NO_WINDOW, MetricsConfig(window_rows=5000), DAY_WINDOW])
def test_memory_does_not_grow_with_the_stream(config: MetricsConfig) -> None:
    metrics = ProgressiveMetrics(["y"], config)
    sizes = []
    for part in range(20):
        labels, scores = stream(part, 5 * BLOCK)
        times = (np.arange(5 * BLOCK) + part * 5 * BLOCK) * (HOUR // 100)
        metrics.update({"y": labels}, {"y": scores}, times)
        snapshot = metrics.snapshot()
        sizes.append(sum(array.nbytes for array in snapshot._arrays.values()))  # type: ignore[attr-defined]
    assert max(sizes) == sizes[10]
    assert sizes[10] < (25 * 400_000 if config is DAY_WINDOW else 500_000)


# -- the same bytes, however the rows come ---------------------------------------------------------

CONFIGS = [NO_WINDOW, MetricsConfig(window_rows=3000), MetricsConfig.model_validate({"window_event_time": "2h"})]


def state(metrics: ProgressiveMetrics) -> tuple[dict[str, bytes], str]:
    return MemoryCheckpoint(metrics.snapshot()).files, json.dumps(metrics.values())


@settings(max_examples=25)
@given(
    st.sampled_from(CONFIGS),
    st.lists(st.tuples(st.integers(0, 3 * BLOCK), st.sampled_from(["cut", "look", "restart"])), max_size=12),
)
def test_no_cut_look_or_restart_changes_a_bit(config: MetricsConfig, events: list[tuple[int, str]]) -> None:
    rows = 2 * BLOCK + 1234
    labels, scores = stream(8, rows)
    labels[::7] = np.nan
    times = np.arange(rows) * (HOUR // 777)
    heads = ["a", "b"]

    def feed(metrics: ProgressiveMetrics, start: int, stop: int) -> None:
        part = slice(start, stop)
        metrics.update({"a": labels[part], "b": 1 - labels[part]}, {"a": scores[part], "b": scores[part]}, times[part])

    whole = ProgressiveMetrics(heads, config)
    feed(whole, 0, rows)

    pieces = ProgressiveMetrics(heads, config)
    at = 0
    for stop, event in sorted(events):
        feed(pieces, at, max(at, min(stop, rows)))
        at = max(at, min(stop, rows))
        if event == "look":
            pieces.values()
        elif event == "restart":
            checkpoint = MemoryCheckpoint(pieces.snapshot())
            feed(pieces, at, rows)  # lost in the crash
            pieces = ProgressiveMetrics(heads, config)
            pieces.restore(checkpoint)
    feed(pieces, at, rows)
    assert state(pieces) == state(whole)


def test_tiny_updates_are_the_same_as_one() -> None:
    labels, scores = stream(9, BLOCK + 100)
    times = np.arange(len(labels)) * HOUR
    for config in CONFIGS:
        one, many = ProgressiveMetrics(["y"], config), ProgressiveMetrics(["y"], config)
        one.update({"y": labels}, {"y": scores}, times)
        for start in range(0, len(labels), 3):
            part = slice(start, start + 3)
            many.update({"y": labels[part]}, {"y": scores[part]}, times[part])
        assert state(many) == state(one)


def test_a_snapshot_is_of_its_instant_though_it_is_written_later() -> None:
    labels, scores = stream(10, 3 * BLOCK)
    times = np.arange(len(labels)) * (HOUR // 1000)
    for config in CONFIGS:
        metrics = ProgressiveMetrics(["y"], config)
        metrics.update({"y": labels[:5000]}, {"y": scores[:5000]}, times[:5000])
        at_once, snapshot = state(metrics)[0], metrics.snapshot()
        metrics.update({"y": labels[5000:]}, {"y": scores[5000:]}, times[5000:])
        assert MemoryCheckpoint(snapshot).files == at_once


def test_restoring_goes_back_on_the_same_object() -> None:
    labels, scores = stream(11, 3 * BLOCK)
    times = np.arange(len(labels)) * HOUR
    for config in CONFIGS:
        metrics = ProgressiveMetrics(["y"], config)
        metrics.update({"y": labels[:100]}, {"y": scores[:100]}, times[:100])
        before = state(metrics)
        checkpoint = MemoryCheckpoint(metrics.snapshot())
        metrics.update({"y": labels}, {"y": scores}, times)
        metrics.restore(checkpoint)
        assert state(metrics) == before


def test_metrics_of_other_heads_are_refused_and_another_window_starts_empty() -> None:
    metrics = ProgressiveMetrics(["y"], MetricsConfig(window_rows=50))
    labels, scores = stream(12, 200)
    metrics.update({"y": labels}, {"y": scores}, np.zeros(200, np.int64))
    checkpoint = MemoryCheckpoint(metrics.snapshot())
    with pytest.raises(CheckpointDamaged, match=r"heads \['y'\].*but the job has \['z'\]"):
        ProgressiveMetrics(["z"], MetricsConfig(window_rows=50)).restore(checkpoint)
    for config in (NO_WINDOW, DAY_WINDOW, MetricsConfig(window_rows=60)):
        other = ProgressiveMetrics(["y"], config)
        other.restore(checkpoint)
        assert other.values()["labelled_rows"] == 200
