"""The PyTorch modules are those of PyTorch, with rows that come when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from table_content import content
from torch import Tensor, nn
from torch.nn import functional

from penrose_tfplus import BadGradient, Table
from penrose_tfplus.torch import Embedding, EmbeddingBag

ROWS, WIDTH, RATE = 20, 6, 0.1


def table_of(**options: Any) -> Table:
    return Table(
        WIDTH,
        **{
            "optimizer": "adagrad",
            "optimizer_parameters": {"learning_rate": RATE},
            "initializer": "normal",
            "initializer_parameters": {"stddev": 0.5},
            "threads": 1,
            **options,
        },
    )


class Pair:
    """A module over a table, and PyTorch's with the same first rows, trained side by side."""

    def __init__(self, ours: Callable[[Table], Any], theirs: Callable[[Tensor], Any]) -> None:
        self.table = table_of()
        first = torch.from_numpy(self.table.lookup(np.arange(ROWS), unseen="first"))
        self.ours, self.theirs = ours(self.table), theirs(first)
        self.heads = [nn.Linear(WIDTH, 1) for _ in range(2)]
        self.heads[1].load_state_dict(self.heads[0].state_dict())
        self.optimizer = torch.optim.Adagrad(
            [*self.theirs.parameters(), *self.heads[1].parameters()], lr=RATE, eps=1e-10
        )
        self.head_optimizer = torch.optim.Adagrad(self.heads[0].parameters(), lr=RATE, eps=1e-10)

    def step(self, *inputs: tuple[Any, ...]) -> None:
        """Forward and backward for each input, then one step."""
        self.optimizer.zero_grad()
        self.head_optimizer.zero_grad()
        for values in inputs:
            results = [module(*values) for module in (self.ours, self.theirs)]
            torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)
            for head, rows in zip(self.heads, results, strict=True):
                functional.softplus(head(rows)).sum().backward()
        self.ours.step()
        self.head_optimizer.step()
        self.optimizer.step()

    def check(self) -> None:
        rows = self.table.lookup(np.arange(ROWS), unseen="first")
        np.testing.assert_allclose(rows, self.theirs.weight.detach().numpy(), rtol=1e-4, atol=1e-5)


def bags(mode: str) -> Pair:
    return Pair(
        lambda table: EmbeddingBag(table, mode=mode),
        lambda first: nn.EmbeddingBag.from_pretrained(first.clone(), freeze=False, mode=mode),
    )


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture
def plain() -> Pair:
    return Pair(Embedding, lambda first: nn.Embedding.from_pretrained(first.clone(), freeze=False))


@pytest.mark.parametrize("shape", [(9,), (4, 3), (2, 3, 4), (), (0,), (3, 0)])
def test_embedding_trains_like_that_of_pytorch(plain: Pair, shape: tuple[int, ...]) -> None:
    for _ in range(5):
        keys = torch.randint(ROWS, shape)
        assert plain.ours(keys).shape == (*shape, WIDTH)
        plain.ours.discard()
        plain.step((keys,))
    plain.check()


def test_several_forward_passes_before_one_step_are_one_step(plain: Pair) -> None:
    for _ in range(4):
        plain.step(*((torch.randint(ROWS, (7,)),) for _ in range(3)))
    plain.check()
    assert plain.table.counters["steps"] == 4


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags_train_like_those_of_pytorch(mode: str) -> None:
    pair = bags(mode)
    for _ in range(4):
        pair.step((torch.randint(ROWS, (5, 3)),))
        pair.step((torch.randint(ROWS, (9,)), torch.tensor([0, 2, 2, 5, 9])))  # the third and the last bag are empty
        pair.step((torch.randint(ROWS, (4,)), torch.tensor([0])))
    pair.check()


def test_bags_can_be_weighted_and_the_weights_be_learnt() -> None:
    pair = bags("sum")
    weights = [torch.rand(9, requires_grad=True)]
    weights.append(weights[0].detach().clone().requires_grad_())
    for offsets in (torch.tensor([0, 4, 4]), torch.tensor([0, 1, 8])):
        keys = torch.randint(ROWS, (9,))
        ours, theirs = pair.ours(keys, offsets, weights[0]), pair.theirs(keys, offsets, weights[1])
        torch.testing.assert_close(ours, theirs)
        ours.square().sum().backward()
        theirs.square().sum().backward()
        pair.ours.step()
        pair.optimizer.step()
        pair.optimizer.zero_grad()
        torch.testing.assert_close(weights[0].grad, weights[1].grad)
    pair.check()
    keys, given = torch.randint(ROWS, (3, 2)), torch.rand(3, 2)
    torch.testing.assert_close(pair.ours(keys, None, given), pair.theirs(keys, None, given), rtol=1e-4, atol=1e-5)


LAYOUTS = [torch.strided, torch.jagged]


def nested(parts: list[Tensor], layout: torch.layout) -> Tensor:
    return torch.nested.nested_tensor(parts, layout=layout)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_nested_keys_are_bags(mode: str, layout: torch.layout) -> None:
    module = EmbeddingBag(table_of(), mode=mode)
    parts = [torch.tensor([1, 2, 3]), torch.tensor([4]), torch.empty(0, dtype=torch.int64), torch.tensor([1, 1])]
    flat, offsets = torch.cat(parts), torch.tensor([0, 3, 4, 4])
    assert torch.equal(module(nested(parts, layout)), module(flat, offsets))
    if mode == "sum":
        weights = [torch.rand(len(part)) for part in parts]
        expected = module(flat, offsets, torch.cat(weights))
        assert torch.equal(module(nested(parts, layout), None, nested(weights, layout)), expected)
        assert torch.equal(module(nested(parts, layout), None, torch.cat(weights)), expected)
    module(nested(parts, layout)).sum().backward()
    module.step()
    assert module.table.keys().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags_without_any_key_are_zeros(mode: str) -> None:
    module = EmbeddingBag(table_of(), mode=mode)
    empty = torch.empty(0, dtype=torch.int64)
    for rows in (module(empty, torch.tensor([0, 0])), module(torch.empty(2, 0, dtype=torch.int64))):
        assert torch.equal(rows, torch.zeros(2, WIDTH))
    assert module(empty, empty).shape == module(torch.empty(0, 3, dtype=torch.int64)).shape == (0, WIDTH)
    module.step()
    assert len(module.table) == 0


def test_in_evaluation_nothing_changes() -> None:
    module, keys = Embedding(table_of()), torch.tensor([1, 2])
    module(keys).sum().backward()
    module.step()
    before = content(module.table)
    module.eval()
    rows = module(torch.tensor([1, 2, 3]))
    assert not rows.requires_grad
    assert (rows[2] == 0).all()
    module.step()
    module.train()
    with torch.no_grad():
        module(torch.tensor([4]))
    module.step()
    assert content(module.table) == before
    assert module.gradients == []


def test_gradients_show_what_backward_collected_until_the_step() -> None:
    module = Embedding(table_of(optimizer="sgd"))
    first, second, unused = (module(torch.tensor(keys)) for keys in ([1, 1], [2], [3]))
    assert module.gradients == []
    (first.sum() + 2 * second.sum()).backward()
    assert [gradients.tolist() for gradients in module.gradients] == [[[1.0] * WIDTH] * 2, [[2.0] * WIDTH]]
    before = module.table.lookup(np.arange(1, 4))
    module.step(learning_rate=0.5, time=7_000_000)
    assert module.gradients == []
    np.testing.assert_allclose(module.table.lookup(np.arange(1, 4)) - before, np.repeat([[-1], [-1], [0]], WIDTH, 1))
    assert module.table.times(np.array([1, 2, 3])).tolist() == [7_000_000, 7_000_000, 0]
    after = content(module.table)
    module.step()
    assert content(module.table) == after
    del unused


def test_discarded_gradients_are_not_applied() -> None:
    module, key = Embedding(table_of()), torch.tensor([1])
    module(key).sum().backward()
    before = content(module.table)
    module.discard()
    module.step()
    assert content(module.table) == before


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_gone() -> None:
    module, key = Embedding(table_of()), torch.tensor([1])
    (module(key) * torch.inf).sum().backward()
    assert not all(gradients.isfinite().all() for gradients in module.gradients)
    before = content(module.table)
    with pytest.raises(BadGradient):
        module.step()
    assert content(module.table) == before
    module.step()
    assert content(module.table) == before


def test_keys_may_be_reused_and_results_changed_in_place_before_the_step() -> None:
    module, plain = Embedding(table_of(optimizer="sgd")), nn.Embedding(4, WIDTH)
    keys = torch.tensor([1, 2])
    plain.weight.data = torch.from_numpy(module.table.lookup(np.arange(4), unseen="first"))
    for each in (module, plain):
        functional.relu(each(keys), inplace=True).sum().backward()
    keys.fill_(3)
    before = module.table.lookup(np.arange(4), unseen="first")
    module.step(learning_rate=1.0)
    after = module.table.lookup(np.arange(4), unseen="first")
    np.testing.assert_allclose(before - after, plain.weight.grad.numpy(), atol=1e-6)


def test_keys_on_the_way_of_a_model_can_be_a_view_or_not_contiguous() -> None:
    module = Embedding(table_of())
    keys = torch.arange(12).reshape(3, 4)
    module(keys)
    whole = module.table.lookup(np.arange(12)).reshape(3, 4, WIDTH)
    for view, expected in ((keys.T, whole.transpose(1, 0, 2)), (keys[:, 1], whole[:, 1]), (keys[::2], whole[::2])):
        np.testing.assert_array_equal(module(view).detach().numpy(), expected)


def test_a_module_is_part_of_a_model_without_parameters() -> None:
    model = nn.ModuleDict({"words": EmbeddingBag(table_of(), mode="mean"), "head": nn.Linear(WIDTH, 1)})
    assert set(model.state_dict()) == {"head.weight", "head.bias"}
    assert len(list(model.parameters())) == 2
    assert "width=6, optimizer=adagrad, mode=mean" in repr(model)


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ((torch.tensor([1, 2]),), r"keys must be \[bags, n\], or \[n\] with offsets"),
        ((torch.zeros(1, 1, 1, dtype=torch.int64),), r"not \[1, 1, 1\]"),
        ((torch.zeros(1, 1, dtype=torch.int64), torch.tensor([0])), r"keys \[bags, n\] have no offsets"),
        ((torch.tensor([1, 2]), torch.tensor([1])), "offsets must start at 0"),
        ((torch.tensor([1, 2]), torch.tensor([0, 3])), "offsets must start at 0 and rise to at most 2"),
        ((torch.tensor([1, 2]), torch.tensor([0, 2, 1])), "offsets must start at 0 and rise to at most 2"),
        ((torch.tensor([1, 2]), torch.empty(0, dtype=torch.int64)), "at least one bag"),
        ((torch.tensor([1, 2]), torch.tensor([0.0])), "offsets must be int64"),
        ((torch.tensor([1, 2]), torch.tensor([[0]])), "offsets must be int64"),
        ((torch.tensor([1, 2]), torch.tensor([0]), torch.ones(3)), "weights must have the shape of the keys"),
        ((torch.tensor([[1, 2]]), None, torch.ones(2)), "weights must have the shape of the keys"),
        ((torch.tensor([1, 2], dtype=torch.int32), torch.tensor([0])), "keys must be int64"),
        ((torch.tensor([1.0, 2.0]), torch.tensor([0])), "keys must be int64"),
    ],
)
def test_bags_that_cannot_be_are_refused_and_nothing_is_counted(inputs: tuple[Any, ...], match: str) -> None:
    module = EmbeddingBag(table_of())
    with pytest.raises(ValueError, match=match):
        module(*inputs)
    assert len(module.table) == 0
    assert module.table.counters["lookups"] == 0


def test_means_are_not_weighted_and_other_modes_do_not_exist() -> None:
    module = EmbeddingBag(table_of(), mode="mean")
    with pytest.raises(ValueError, match="weights are for mode sum"):
        module(torch.tensor([[1, 2]]), None, torch.ones(1, 2))
    with pytest.raises(ValueError, match="mode must be sum or mean, not 'max'"):
        EmbeddingBag(table_of(), mode="max")  # type: ignore[arg-type]
