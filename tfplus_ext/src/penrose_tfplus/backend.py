"""The backend `tfplus`: what the host's entry point names. The native extension is loaded with the first table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penrose_host import EmbeddingBackend, TableSpec
from penrose_tfplus.backend_options import TfplusOptions

if TYPE_CHECKING:
    from penrose_tfplus.backend_table import TfplusTable

__all__ = ["TfplusBackend"]


class TfplusBackend(EmbeddingBackend):
    """Dynamic tables: every key its own row, growth, admission, eviction, delta checkpoints."""

    api_version = 1
    Options = TfplusOptions

    def table(self, spec: TableSpec) -> TfplusTable:
        """A new table. Raises `ConfigError` for an unknown optimizer, initializer, parameter or policy."""
        from penrose_tfplus.backend_table import TfplusTable

        return TfplusTable(spec, self.options)
