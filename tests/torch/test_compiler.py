"""PyTorch's compiler is not imported where nothing is compiled, and its triton never after TensorFlow."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, optim

from penrose_torch.compiler import keep_triton_out, uncompiled

#: Runs commands of the command line one after the other, then tells which of some modules there are.
COMMANDS = """
import json, sys
{first}
from penrose_host.cli import main
statuses = [main(arguments) for arguments in json.loads(sys.argv[1])]
loaded = [name for name in ("torch._dynamo", "triton") if sys.modules.get(name) is not None]
print(json.dumps({{"statuses": statuses, "loaded": loaded}}))
"""
#: TensorFlow, and the compiler after it, warn of what is theirs.
TENSORFLOW = "import warnings; warnings.simplefilter('default'); import tensorflow"
JOB = {
    "name": "clicks",
    "datasource": {"name": "clickstream", "rows": 2000, "partitions": 2, "label_delay": "1s"},
    "executor": {"name": "torch", "model": "fm"},
    "embedding": {"name": "hashing", "rows": 1000},
    "features": {
        "event_time": "event_time",
        "categorical": ["user", "item"],
        "lists": ["history"],
        "numeric": ["price"],
        "labels": ["click"],
        "known_at": "click_known_at",
    },
    "micro_batch": {"rows": 64},
    "checkpoint": {"rows": 1000, "seconds": None},
}

needs_tensorflow = pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed")


def in_one_process(site: Any, *commands: list[str], first: str = "") -> dict[str, Any]:
    """What `COMMANDS` told of a process of its own that lived to its end."""
    done = site.python(COMMANDS.format(first=first), json.dumps(commands), TF_CPP_MIN_LOG_LEVEL="3")
    assert done.returncode == 0, f"ended with {done.returncode}:\n{done.stderr}"
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert told["statuses"] == [0] * len(commands), done.stderr
    return told


def job(folder: Path, name: str, embedding: Any = JOB["embedding"], **executor: Any) -> str:
    """A job file called `name`; with the run directory beside it."""
    path = folder / f"{name}.yaml"
    fields = {"embedding": embedding, "run_dir": str(folder / name), "executor": {"name": "torch", **executor}}
    path.write_text(json.dumps({**JOB, **fields}))
    return str(path)


def test_named_models_train_checkpoint_and_restore_without_the_compiler(site: Any, tmp_path: Path) -> None:
    layer = {"embedding": "none", "embedding_rows": 1000}
    jobs = [
        job(tmp_path, "1", model="logistic", dense_optimizer={"name": "adam"}),
        job(tmp_path, "2", model="logistic", dense_optimizer={"name": "adamw"}, optimizer={"name": "sgd"}, **layer),
        job(tmp_path, "3", model="fm", dense_optimizer={"name": "sgd", "momentum": 0.9}),
        job(tmp_path, "4", model="deepfm", dense_optimizer={"name": "adagrad"}, optimizer={"name": "adam"}, **layer),
        job(tmp_path, "5", model="dcn", dense_optimizer={"name": "adamw"}, optimizer={"name": "adagrad"}, **layer),
    ]
    # Each twice: the second run restores the last checkpoint.
    told = in_one_process(site, *(["run", path] for path in jobs for _ in range(2)))
    assert told["loaded"] == []


@pytest.mark.slow
@needs_tensorflow
def test_a_process_that_loaded_tensorflow_trains_restores_and_exports(site: Any, tmp_path: Path) -> None:
    path = job(tmp_path, "run", model="deepfm")
    exported = tmp_path / "model"
    told = in_one_process(
        site, ["run", path], ["run", path], ["export", path, "--output", str(exported)], first=TENSORFLOW
    )
    assert told["loaded"] == ["torch._dynamo"]
    assert torch.export.load(exported / "model.pt2").module() is not None


@pytest.mark.slow
@needs_tensorflow
def test_a_module_that_compiles_itself_trains_in_a_process_that_loaded_tensorflow(site: Any, tmp_path: Path) -> None:
    (site.path / "compiled.py").write_text("""
import torch
from torch import nn


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, inputs):
        return self.weight * inputs["user"].sum(1)


def build(features, width):
    return torch.compile(Sum(), backend="eager")
""")
    told = in_one_process(site, ["run", job(tmp_path, "run", model="compiled:build")], first=TENSORFLOW)
    assert told["loaded"] == ["torch._dynamo"]


@pytest.mark.parametrize(
    ("loaded", "kept_out"),
    [((), False), (("triton",), False), (("tensorflow",), True), (("tensorflow", "triton"), False)],
    ids=["neither", "triton", "tensorflow", "both"],
)
def test_triton_is_kept_out_where_tensorflow_came_first(
    monkeypatch: pytest.MonkeyPatch, loaded: tuple[str, ...], kept_out: bool
) -> None:
    for name in ("tensorflow", "triton"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        if name not in loaded:
            monkeypatch.delitem(sys.modules, name)
    before = dict(sys.modules)
    keep_triton_out()
    assert dict(sys.modules) == ({**before, "triton": None} if kept_out else before)


KINDS: list[tuple[type[optim.Optimizer], dict[str, Any]]] = [
    (optim.SGD, {"momentum": 0.9, "weight_decay": 0.1, "fused": True}),
    (optim.Adagrad, {"initial_accumulator_value": 0.1, "fused": True}),
    (optim.Adam, {"fused": True}),
    (optim.AdamW, {"fused": True}),
    (optim.SGD, {}),
    (optim.Adagrad, {}),
    (optim.SparseAdam, {}),
]


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=[f"{kind.__name__}-{len(given)}" for kind, given in KINDS])
def test_uncompiled_optimizers_do_what_those_of_pytorch_do(
    kind: type[optim.Optimizer], options: dict[str, Any]
) -> None:
    sparse = not options
    made = [optimizer_of(uncompiled(kind), options), optimizer_of(kind, options)]
    # (PyTorch asks to be told whether it shall check sparse tensors.)
    with torch.sparse.check_sparse_tensor_invariants():
        for step in range(4):
            for optimizer, parameter in made:
                parameter.grad = gradient(step, sparse)
                optimizer.step()
                if step == 1:
                    optimizer.load_state_dict(optimizer.state_dict())
    (ours, our_parameter), (theirs, their_parameter) = made
    assert type(ours).__name__ == kind.__name__
    assert torch.equal(our_parameter, their_parameter)
    found, expected = ours.state_dict(), theirs.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    assert found["state"].keys() == expected["state"].keys() == (set() if kind is optim.SGD and sparse else {0})
    for key, value in expected["state"].get(0, {}).items():
        assert torch.equal(torch.as_tensor(found["state"][0][key]), torch.as_tensor(value)), key
    ours.zero_grad()
    assert our_parameter.grad is None
    assert torch.is_grad_enabled()


def optimizer_of(kind: type[Any], options: dict[str, Any]) -> tuple[optim.Optimizer, Tensor]:
    parameter = torch.nn.Parameter(torch.arange(12.0).reshape(4, 3))
    return kind([parameter], lr=0.1, **options), parameter


def gradient(step: int, sparse: bool) -> Tensor:
    values = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
    if not sparse:
        return values
    rows = torch.tensor([[0, 2]])
    return torch.sparse_coo_tensor(rows, values[:2], (4, 3)).coalesce()
