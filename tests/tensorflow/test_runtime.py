"""What an executor sets for its process, and what it gives back."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penrose_host import ClusterSpec, ExecutorContext, FeatureSpec, Role
from penrose_host.errors import ConfigError
from penrose_host.plugins.hook_calls import Hooks
from penrose_host.training.role_environment import variables_set
from penrose_tensorflow.executor import TensorflowExecutor

FEATURES = FeatureSpec(("a",), labels=("y",))
CLUSTER = ClusterSpec({Role.CHIEF: ("one:1",), Role.WORKER: ("two:2", "three:3")})
SETUP = """
from penrose_host import ClusterSpec, ExecutorContext, FeatureSpec, Role
from penrose_host.errors import ConfigError
from penrose_tensorflow.executor import TensorflowExecutor
def setup(**options):
    executor = TensorflowExecutor(TensorflowExecutor.Options(embedding_rows=100, **options))
    executor.setup(ExecutorContext(FeatureSpec(("a",), labels=("y",)), Role.CHIEF, 0, ClusterSpec.single()))
    return executor
"""


def ran(script: str, **variables: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", SETUP + script],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.mark.parametrize("before", [None, "{}"])
def test_tf_config_is_the_jobs_from_before_the_users_code_until_the_end(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    if before is None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
    else:
        monkeypatch.setenv("TF_CONFIG", before)
    (tmp_path / "looking.py").write_text(
        "import os, keras\nat_import = os.environ['TF_CONFIG']\n"
        "def build(features, width):\n"
        "    class M(keras.Model):\n"
        "        def call(self, x): return keras.ops.sum(x['a'], 1)\n"
        "    return M()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    executor = TensorflowExecutor(TensorflowExecutor.Options(model="looking:build", embedding_rows=10))
    hooks = Hooks()
    hooks.register_executor("tensorflow", executor)
    with variables_set(hooks.role_environment(Role.WORKER, 1, CLUSTER)):
        executor.setup(ExecutorContext(FEATURES, Role.WORKER, 1, CLUSTER))
        seen = json.loads(sys.modules.pop("looking").at_import)
        assert seen == json.loads(os.environ["TF_CONFIG"])
        assert seen["task"] == {"type": "worker", "index": 1}
        assert seen["cluster"] == {"chief": ["one:1"], "worker": ["two:2", "three:3"]}
        executor.close()
    assert os.environ.get("TF_CONFIG") == before


def test_without_tensorflow_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "tensorflow" else found(name, *a))
    executor = TensorflowExecutor(TensorflowExecutor.Options())
    with pytest.raises(ConfigError, match=r"pip install 'penrose-tensorflow\[cpu\]'"):
        executor.setup(ExecutorContext(FEATURES, Role.CHIEF, 0, ClusterSpec.single()))


def test_an_old_tensorflow_is_refused(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorflow.__version__", "2.9.1")
    with pytest.raises(ConfigError, match=r"TensorFlow 2\.9\.1 is too old: this needs 2\.21 or newer"):
        lab.executor(lab.plain)


def test_threads_are_those_of_tensorflow() -> None:
    script = """
executor = setup(threads=3)
import tensorflow as tf
print(tf.config.threading.get_intra_op_parallelism_threads(), tf.config.threading.get_inter_op_parallelism_threads())
setup(threads=3)
try:
    setup(threads=2)
except ConfigError as error:
    print(error.faults[0][0], error.faults[0][1])
"""
    assert ran(script).splitlines() == [
        "3 3",
        "executor.threads TensorFlow runs already in this process, with another setting than 2",
    ]


def test_steps_are_the_same_with_one_thread_and_with_several() -> None:
    script = """
import numpy as np
from penrose_host import EncodedBatch, Position, StepInfo
executor = setup(model="deepfm", threads=THREADS)
random = np.random.default_rng(0)
for _ in range(5):
    label = (random.random(40) < 0.5).astype(np.float32)
    batch = EncodedBatch(random.integers(0, 20, (40, 1)), {}, {}, {"y": label})
    assert executor.train(batch, StepInfo(0, 0, 0, lambda: Position("s"))).applied
    label[3] = np.inf
    assert not executor.train(batch, StepInfo(0, 0, 0, lambda: Position("s"))).applied
print(*executor.predict(batch)["y"].tolist())
"""
    one, several = (ran(script.replace("THREADS", n)) for n in ("1", "3"))
    found = [[float(score) for score in scores.split()] for scores in (one, several)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert len(set(found[0])) > 5


def test_keras_on_another_backend_is_refused() -> None:
    script = "\ntry:\n    setup()\nexcept ConfigError as error:\n    print(error)"
    assert "Keras runs on jax, not on TensorFlow" in ran(script, KERAS_BACKEND="jax")


def test_keras_that_was_configured_so_elsewhere_is_refused_too(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras.backend.backend", lambda: "torch")
    with pytest.raises(ConfigError, match="Keras runs on torch"):
        lab.executor(lab.plain)


@pytest.mark.parametrize("switch", ["disable_v2_behavior", "disable_eager_execution"])
@pytest.mark.parametrize("options", [{"model_fn": "old:f"}, {"model": "old:f"}, {"model": "old:f", "loop": "fit"}])
def test_a_module_that_switches_tensorflow_to_version_1_is_told_what_to_take_out(
    tmp_path: Path, switch: str, options: dict[str, str]
) -> None:
    (tmp_path / "old.py").write_text(f"import tensorflow.compat.v1 as tf\ntf.{switch}()\ndef f(*a, **b): ...\n")
    script = f"\ntry:\n    setup(**{options})\nexcept ConfigError as error:\n    print(error)"
    found = ran(script, PYTHONPATH=str(tmp_path))
    assert "the module of old:f makes all of TensorFlow behave as version 1" in found
    assert "take tf.disable_v2_behavior() and" in found


def test_nothing_is_printed_where_all_is_well() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SETUP + "setup().close()"],
        env={name: value for name, value in os.environ.items() if not name.startswith(("TF_", "KERAS_"))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_seeds_draw_the_same_in_another_process() -> None:
    script = """
import hashlib
from penrose_host.testing.memory import MemoryCheckpoints
checkpoints = MemoryCheckpoints()
checkpoints.write("executor", setup(model="dcn").snapshot())
print(hashlib.sha256(repr(sorted(checkpoints.files.items())).encode()).hexdigest())
"""
    assert ran(script) == ran(script, PYTHONHASHSEED="7")
