"""Penrose: online training from streams that never end.

The names that plugins and programs use are declared in `__init__.pyi`, and imported when they are first used:
`import penrose_host` costs nothing. Beside them six packages are public: `decoding`, `embeddings`, `executors`,
`features`, `options` and `testing`. All else belongs to the host and may change without a word.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
