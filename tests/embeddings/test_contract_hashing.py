"""The embedding backend `hashing` keeps the promises of tables."""

from __future__ import annotations

from penrose_host.embeddings.hashing import HashingBackend
from penrose_host.testing import EmbeddingTableContract


class TestHashing(EmbeddingTableContract):
    def make(self) -> HashingBackend:
        return HashingBackend(HashingBackend.Options(rows=5000))


class TestHashingWithAdam(TestHashing):
    optimizer = ("adam", {"learning_rate": 0.1})
