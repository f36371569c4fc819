"""The log loss that executors report."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from penrose_host.executors import log_loss

NAN = math.nan


@pytest.mark.parametrize(
    ("labels", "scores", "loss"),
    [
        ([], [], 0.0),
        ([NAN, NAN], [0.3, 0.9], 0.0),
        ([1, 0], [0.5, 0.5], math.log(2)),
        ([1, NAN], [0.25, 0.99], math.log(4)),
        ([0.5], [0.25], -(math.log(0.25) + math.log(0.75)) / 2),
        ([1], [0.0], -math.log(1e-7)),
        ([0], [1.0], -math.log(1e-7)),
        ([1, 0], [1.0, 0.0], 0.0),
    ],
)
def test_it_is_the_mean_over_the_rows_that_have_a_label(labels, scores, loss):
    assert log_loss(np.array(labels, np.float32), np.array(scores, np.float32)) == pytest.approx(loss)


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, NAN]), st.floats(0, 1, width=32)), max_size=50))
def test_it_is_finite_and_never_below_zero(rows):
    labels, scores = (np.array([row[place] for row in rows], np.float32) for place in (0, 1))
    assert 0 <= log_loss(labels, scores) < 17
