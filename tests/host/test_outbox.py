"""Dead letters on their way out of a run: at least once, in order, with the same bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, strategies as st
from run_support import MemoryOptions, MemorySource, make_job

from penrose_host import Capability, Reject
from penrose_host.errors import CheckpointDamaged, SinkError
from penrose_host.outputs import dead_letter_outbox as outbox
from penrose_host.outputs.dead_letter_outbox import DeadLetterOutbox
from penrose_host.outputs.dead_letters import DeadLetters, read_dead_letter
from penrose_host.training.runtime import run


class Place:
    """Where dead letters go; `fails_at`: so many calls go well, the next gets lost, or, if `late`, its answer does."""

    def __init__(self, fails_at: int | None = None, *, late: bool = False) -> None:
        self.calls: list[list[Reject]] = []
        self.fails_at = fails_at
        self.late = late

    def __call__(self, letters: Sequence[Reject]) -> None:
        failing = self.fails_at is not None and len(self.calls) >= self.fails_at
        if not failing or self.late:
            self.calls.append(list(letters))
        if failing:
            raise SinkError("not delivered")

    @property
    def letters(self) -> list[Reject]:
        return [letter for call in self.calls for letter in call]


def written(folder: Path, letters: Sequence[Reject]) -> list[int]:
    """Write the file as a run does; returns its length behind each letter, from 0 on."""
    file = DeadLetters(folder / "dead-letter.jsonl")
    file.cut()
    lengths = [0]
    for letter in letters:
        file.hold([letter])
        file.release([(letter.partition, 1)])
        lengths.append(file.length)
    file.sync()
    file.close()
    return lengths


def made(folder: Path, place: Place) -> DeadLetterOutbox:
    return DeadLetterOutbox(folder / "dead-letter.jsonl", place)


LETTERS = [Reject(f"p{n % 3}", n, f"reason {n}", b"raw %d" % n) for n in range(10)]


def test_letters_go_once_and_in_order_up_to_what_is_durable(tmp_path: Path) -> None:
    lengths, place = written(tmp_path, LETTERS), Place()
    box = made(tmp_path, place)
    for upto in (0, 3, 3, 7, 5, 10, 10):
        box.send(lengths[upto])
    assert place.letters == LETTERS
    assert list(map(len, place.calls)) == [3, 4, 3]
    # The next process knows of it.
    made(tmp_path, again := Place()).send(lengths[10])
    assert again.calls == []


def test_nothing_to_send_touches_no_file(tmp_path: Path) -> None:
    made(tmp_path, place := Place()).send(0)
    assert place.calls == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("late", [False, True])
def test_what_was_not_sent_is_sent_by_the_next_process(tmp_path: Path, late: bool) -> None:
    lengths, first = written(tmp_path, LETTERS), Place(1, late=late)
    box = made(tmp_path, first)
    box.send(lengths[4])
    with pytest.raises(SinkError):
        box.send(lengths[8])
    second = Place()
    made(tmp_path, second).send(lengths[10])
    assert second.letters == LETTERS[4:]
    assert first.letters == (LETTERS[:8] if late else LETTERS[:4])


def test_a_file_that_was_cut_back_sends_again_what_comes_again(tmp_path: Path) -> None:
    lengths, place = written(tmp_path, LETTERS), Place()
    made(tmp_path, place).send(lengths[8])
    # The machine died; the checkpoint is older, and other letters come behind it.
    others = [Reject("p9", n, "other", b"a longer raw than those before" * n) for n in range(3)]
    lengths = written(tmp_path, LETTERS[:5] + others)
    box = made(tmp_path, place := Place())
    box.reset(lengths[5])
    box.send(lengths[8])
    assert place.letters == others


def test_a_reset_further_on_than_what_was_sent_forgets_nothing(tmp_path: Path) -> None:
    lengths, place = written(tmp_path, LETTERS), Place()
    box = made(tmp_path, place)
    box.send(lengths[2])
    box.reset(lengths[6])
    box.send(lengths[10])
    assert place.letters == LETTERS


@pytest.mark.parametrize(
    "note", [b"", b"\n", b"12x", b"-7\n", b"\xff\xfe", b"\0" * 8, b"1\n", b"100\n", b"5e3", b"1 2"]
)
def test_a_damaged_note_means_that_all_are_sent_again(tmp_path: Path, note: bytes) -> None:
    lengths = written(tmp_path, LETTERS)
    made(tmp_path, Place()).send(lengths[6])
    (tmp_path / "dead-letter.sent").write_bytes(note)
    box = made(tmp_path, place := Place())
    box.reset(lengths[6])
    box.send(lengths[10])
    assert place.letters == LETTERS
    made(tmp_path, again := Place()).send(lengths[10])
    assert again.calls == []


def test_a_note_beyond_the_file_is_put_right(tmp_path: Path) -> None:
    lengths = written(tmp_path, LETTERS)
    (tmp_path / "dead-letter.sent").write_text("999999999\n")
    box = made(tmp_path, place := Place())
    box.reset(lengths[6])
    box.send(lengths[10])
    assert place.letters == LETTERS[6:]


@pytest.mark.timeout(30)
def test_a_file_that_lost_its_end_is_an_error(tmp_path: Path) -> None:
    lengths = written(tmp_path, LETTERS)
    with pytest.raises(CheckpointDamaged, match=f"the checkpoint knows of {lengths[10] + 40}"):
        made(tmp_path, Place()).send(lengths[10] + 40)


def test_large_files_go_in_pieces_each_of_which_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "AT_ONCE", 10_000)
    letters = [Reject("p", n, "large", bytes([n % 256]) * (n * 37 % 3000)) for n in range(200)]
    letters.append(Reject("p", 200, "huge", b"\xff" * 50_000))
    lengths = written(tmp_path, letters)
    place = Place(5)
    with pytest.raises(SinkError):
        made(tmp_path, place).send(lengths[-1])
    assert len(place.calls) == 5
    made(tmp_path, rest := Place()).send(lengths[-1])
    assert place.letters + rest.letters == letters
    assert len(rest.calls) > 5
    longest = max(sum(len(letter.raw) for letter in call) for call in place.calls)
    assert longest < 10_000 + 4_000


TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)


@given(
    st.lists(
        st.builds(
            Reject,
            st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=10),
            st.integers(0, 2**62),
            TEXT,
            st.binary(max_size=60) | st.text(max_size=40).map(str.encode),
        ),
        max_size=8,
    ),
    st.lists(st.integers(0, 8), max_size=4),
    st.integers(1, 200),
)
def test_whatever_a_letter_holds_comes_out_the_same(letters: list[Reject], stops: list[int], at_once: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "AT_ONCE", at_once)
        lengths, place = written(Path(name), letters), Place()
        for stop in [*stops, len(letters)]:
            made(Path(name), place).send(lengths[min(stop, len(letters))])
        assert place.letters == letters
        lines = (Path(name) / "dead-letter.jsonl").read_bytes().splitlines(keepends=True)
        assert len(lines) == len(letters)
        assert [read_dead_letter(line) for line in lines] == letters


# -- a source whose options say whether it has such a place --------------------------------------------


class PlaceOptions(MemoryOptions):
    """`place`: whether there is one."""

    place: bool = True


class WithAPlace(MemorySource):
    """Keeps dead letters in `got`, where its options name a place."""

    Options = PlaceOptions
    capabilities = MemorySource.capabilities | {Capability.DEAD_LETTERS}
    got: ClassVar[list[int]] = []

    def __init__(self, options: PlaceOptions) -> None:
        super().__init__(options)
        if not options.place:
            self.capabilities = self.capabilities - {Capability.DEAD_LETTERS}

    def dead_letters(self, rejects: Sequence[Reject]) -> None:
        if self.options.place:
            WithAPlace.got += [reject.offset for reject in rejects]


def test_what_a_source_without_a_place_never_sent_is_sent_once_it_has_one(tmp_path: Path) -> None:
    WithAPlace.got.clear()

    def go(place: bool, rows: int | None) -> None:
        source = {"bad": (5, 100, 400), "place": place}
        until = {"until": {"rows": rows}} if rows else {}
        run(make_job(tmp_path, source=source, datasource=WithAPlace, bad_rows="dead-letter", **until))

    go(False, 500)
    assert len((tmp_path / "dead-letter.jsonl").read_text().splitlines()) == 2
    assert WithAPlace.got == []
    go(True, 600)
    assert WithAPlace.got == [5, 100]
    go(True, None)
    assert WithAPlace.got == [5, 100, 400]


def test_a_file_that_grows_anew_without_a_place_is_sent_from_where_it_was_cut(tmp_path: Path) -> None:
    """Counting goes on from what was sent, and that was cut off while there was no place."""
    (tmp_path / "dead-letter.sent").write_text("999999\n")
    source = {"bad": (5, 100, 400)}
    WithAPlace.got.clear()
    for place, until in ((False, {"until": {"rows": 500}}), (True, {})):
        run(
            make_job(tmp_path, source=source | {"place": place}, datasource=WithAPlace, bad_rows="dead-letter", **until)
        )
    assert WithAPlace.got == [5, 100, 400]
