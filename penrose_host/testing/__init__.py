"""Contract classes for the authors of plugins, to derive test classes from: `docs/testing.md`.

Imported when first used: pytest imports this package at its start, for `pytest_plugin`.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
