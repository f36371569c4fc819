from __future__ import annotations

import torch
from executor_suite.models import Models

from penrose_torch.models import DCN, FM


def test_a_factorization_machine_adds_the_products_of_all_pairs() -> None:
    model = FM(numbers=2, heads=2, bias=True, factors=3)
    torch.nn.init.normal_(model.linear.weight)
    torch.nn.init.normal_(model.linear.bias)
    slots, numeric = torch.randn(5, 4, model.width), torch.randn(5, 2)
    weights, factors = slots[..., :2], slots[..., 2:].reshape(5, 4, 2, 3)
    for row in range(5):
        for head in range(2):
            expected = weights[row, :, head].sum() + model.linear.bias[head]
            expected = expected + (numeric[row] * model.linear.weight[:, head]).sum()
            for i in range(4):
                for j in range(i):
                    expected = expected + (factors[row, i, head] * factors[row, j, head]).sum()
            torch.testing.assert_close(model(slots, numeric)[row, head], expected)


def test_a_cross_layer_multiplies_the_inputs_by_a_linear_map_of_what_came_before() -> None:
    model = DCN(slots=2, numbers=1, heads=1, width=2, cross_layers=2, hidden=[])
    slots, numeric = torch.randn(3, 2, 2), torch.randn(3, 1)
    first = torch.cat([slots.flatten(1), numeric], 1)
    crossed = first
    for layer in model.crosses:
        crossed = first * (crossed @ layer.weight.T + layer.bias) + crossed
    torch.testing.assert_close(model(slots, numeric), model.out(crossed))


class TestModels(Models):
    """Over whole steps."""
