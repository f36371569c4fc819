"""The hook `auc-guard` keeps the promises of hooks."""

from __future__ import annotations

from penrose_host.hooks.auc_guard import AucGuard
from penrose_host.testing import HookContract


class TestAucGuard(HookContract):
    def make(self) -> AucGuard:
        return AucGuard(AucGuard.Options())
