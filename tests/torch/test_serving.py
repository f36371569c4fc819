from __future__ import annotations

from executor_suite.serving import Serving


class TestServing(Serving):
    """Of whole jobs, and of what they export."""
