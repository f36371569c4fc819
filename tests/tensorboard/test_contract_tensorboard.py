"""The hook `tensorboard` keeps the promises of hooks."""

from __future__ import annotations

from penrose_host.testing import HookContract
from penrose_tensorboard.hook import TensorBoardHook


class TestTensorBoard(HookContract):
    def make(self) -> TensorBoardHook:
        return TensorBoardHook(TensorBoardHook.Options())
