"""The backend `tfplus` keeps the promises of tables, with every optimizer."""

from __future__ import annotations

from penrose_host.testing import EmbeddingTableContract
from penrose_tfplus.backend import TfplusBackend


class TestTfplus(EmbeddingTableContract):
    def make(self) -> TfplusBackend:
        return TfplusBackend(TfplusBackend.Options(threads=2))


class TestTfplusWithAdam(TestTfplus):
    optimizer = ("adam", {"learning_rate": 0.1})


class TestTfplusWithGroupAdam(TestTfplus):
    optimizer = ("group_adam", {"learning_rate": 0.1, "l21": 0.01})


class TestTfplusInOneShard(TestTfplus):
    def make(self) -> TfplusBackend:
        return TfplusBackend(TfplusBackend.Options(threads=1, shards=1))
