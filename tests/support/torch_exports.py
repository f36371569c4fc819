"""What `torch` exports, loaded and called as its users do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from executor_suite.exports import Scored

from penrose_host import EncodedBatch


def columns(batch: EncodedBatch) -> dict[str, Any]:
    """A batch as the exported program takes it."""
    lists = {}
    for name, ragged in batch.lists.items():
        values = ragged.values[ragged.offsets[0] : ragged.offsets[-1]]
        lists[name] = (torch.tensor(values), torch.tensor(ragged.offsets[1:] - ragged.offsets[:-1]))
    return {
        "ids": torch.tensor(batch.ids),
        "numeric": {name: torch.tensor(values) for name, values in batch.numeric.items()},
        "lists": lists,
    }


def loaded(folder: Path) -> Scored:
    program = torch.export.load(folder / "model.pt2").module()

    def scored(batch: EncodedBatch) -> dict[str, Any]:
        given = columns(batch)
        found = program(**given)
        # It does not matter in which order anything is named.
        turned = {name: _turned(value) for name, value in reversed(given.items())}
        for head, scores in program(**turned).items():
            assert torch.equal(scores, found[head])
        return {head: scores.detach().numpy() for head, scores in found.items()}

    return scored


def _turned(value: Any) -> Any:
    return dict(reversed(value.items())) if isinstance(value, dict) else value
