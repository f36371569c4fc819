"""`penrose checkpoints`: what a run could resume from, and whether every byte of it is still right."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penrose_host.cli.table import table
from penrose_host.errors import CheckpointDamaged, CheckpointNotFound

if TYPE_CHECKING:
    from penrose_host.checkpoints import CheckpointInfo, CheckpointStore

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `penrose checkpoints list` and `verify`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every checkpoint, oldest first", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="print JSON, with whole positions")
    listing.set_defaults(command=_list)
    verify = actions.add_parser("verify", help="read every byte and compare it with the manifest", allow_abbrev=False)
    verify.set_defaults(command=_verify)
    for action in (listing, verify):
        action.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="the run directory")
    verify.add_argument("id", metavar="ID", nargs="?", help="the checkpoint (default: all of them)")


def _list(options: argparse.Namespace) -> int:
    store = _store(options.run_dir)
    found = _found(store)
    if options.json:
        print(json.dumps([_as_json(id, info) for id, info in found.items()], indent=2))
    else:
        rows = [_row(id, info) for id, info in found.items()]
        print(table(["ID", "CREATED", "ROWS", "BYTES", "POSITION"], rows))
    _raise_first(info for info in found.values() if isinstance(info, CheckpointDamaged))
    store.check_latest()
    return 0


def _verify(options: argparse.Namespace) -> int:
    store = _store(options.run_dir)
    faults: list[CheckpointDamaged] = []
    for id in [options.id] if options.id else _found(store):
        try:
            store.verify(id)
        except CheckpointDamaged as error:
            faults.append(error)
            print(f"{id} is damaged")
        else:
            print(f"{id} is intact")
    _raise_first(faults)
    if not options.id:
        store.check_latest()
    return 0


def _found(store: CheckpointStore) -> dict[str, CheckpointInfo | CheckpointDamaged]:
    """Every checkpoint, or what is wrong with its manifest, oldest first; without those that a run retires just now."""
    found: dict[str, CheckpointInfo | CheckpointDamaged] = {}
    for id in store.ids():
        try:
            found[id] = store.info(id)
        except CheckpointDamaged as error:
            if id in store.ids():
                found[id] = error
    return found


def _raise_first(faults: Iterable[CheckpointDamaged]) -> None:
    """For when all that could be said of the other checkpoints was said."""
    for fault in faults:
        raise fault


def _store(run_dir: Path) -> CheckpointStore:
    from penrose_host.checkpoints import CheckpointStore

    folder = run_dir / "checkpoints"
    if not folder.is_dir():
        raise CheckpointNotFound(
            f"{run_dir} has no checkpoints", path=folder, hint="give the run directory, such as runs/NAME"
        )
    return CheckpointStore(folder)


def _row(id: str, info: CheckpointInfo | CheckpointDamaged) -> list[str]:
    if isinstance(info, CheckpointDamaged):
        return [id, "damaged", "", "", ""]
    return [id, _time(info), str(info.rows), str(info.bytes), _position(info)]


def _time(info: CheckpointInfo) -> str:
    return datetime.fromtimestamp(info.created, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _position(info: CheckpointInfo, shown: int = 3) -> str:
    """The first few partitions: a stream may have thousands."""
    offsets = list(info.position.offsets.items())
    text = ", ".join(f"{partition}: {offset}" for partition, offset in offsets[:shown])
    return text if len(offsets) <= shown else f"{text}, ... ({len(offsets)} partitions)"


def _as_json(id: str, info: CheckpointInfo | CheckpointDamaged) -> dict[str, Any]:
    if isinstance(info, CheckpointDamaged):
        return {"id": id, "damaged": info.message}
    return {
        "id": id,
        "number": info.number,
        "epoch": info.epoch,
        "created": _time(info),
        "rows": info.rows,
        "bytes": info.bytes,
        "position": info.position.to_json(),
        "external_id": info.external_id,
    }
