"""Settings of the host's property tests."""

from __future__ import annotations

from hypothesis import settings

# The first example pays for imports, and machines differ: pytest's own timeout bounds a test.
settings.register_profile("host", deadline=None)
settings.load_profile("host")
