"""Claims hold a gallery for one writer, are taken from the dead only, and what those left is mended."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgefr.errors import EdgefrError
from edgefr.gallery.stores import writer_lease as claim
from edgefr.gallery.stores.base import Blob, PendingWrite
from edgefr.gallery.stores.writer_lease import WriterLease

WAIT = 1.0


class Board:
    """Where claims are pinned, and every reader sees them."""

    def __init__(self) -> None:
        self.pinned: dict[int, Blob] = {}

    def claims(self) -> Sequence[Blob]:
        return list(self.pinned.values())

    def put_claim(self, claim: Blob) -> None:
        self.pinned[claim.id] = claim

    def drop_claim(self, number: int) -> None:
        self.pinned.pop(number, None)


def claims(board: Board, alone: bool = False) -> WriterLease:
    return WriterLease(board, "a gallery", alone)


def unexpected(intent: PendingWrite) -> None:
    raise AssertionError(f"nothing was cut short, but {intent} was to be mended")


@pytest.fixture
def board() -> Board:
    return Board()


def test_while_one_writes_no_other_does(board: Board) -> None:
    one, other = claims(board), claims(board)
    with one.held(unexpected, WAIT):
        one.intend(PendingWrite(1, 1))
        with pytest.raises(EdgefrError, match="others are changing it"), other.held(unexpected, WAIT):
            pass
        one.check()
    with other.held(unexpected, WAIT):
        pass
    assert board.pinned == {}


def test_what_a_dead_writer_left_is_mended_by_the_next(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = claims(board)
    with monkeypatch.context() as patched:
        patched.setattr(board, "drop_claim", lambda _number: (_ for _ in ()).throw(EdgefrError("dead")))
        with pytest.raises(EdgefrError, match="dead"), dead.held(unexpected, WAIT):
            dead.intend(PendingWrite(7, 7))
    monkeypatch.setattr(claim, "LEASE", 0.1)
    mended: list[PendingWrite] = []
    with claims(board).held(mended.append, WAIT):
        assert mended == [PendingWrite(7, 7)]
    assert board.pinned == {}


def test_a_change_that_fails_is_mended_at_once(board: Board) -> None:
    writer, mended = claims(board), list[PendingWrite]()

    def fail() -> None:
        with writer.held(mended.append, WAIT):
            writer.intend(PendingWrite(3, 9, whole=True))
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert mended == [PendingWrite(3, 9, whole=True)]
    assert board.pinned == {}


def test_who_was_taken_for_dead_writes_no_more(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "LEASE", 0.1)
    monkeypatch.setattr(claim, "RENEW", 0.0)
    monkeypatch.setattr(claim, "FENCE", 0.0)
    slow, mended = claims(board), list[PendingWrite]()

    def pause() -> None:
        with slow.held(mended.append, WAIT):
            slow.intend(PendingWrite(1, 1))
            with claims(board).held(mended.append, WAIT):
                pass
            slow.check()

    with pytest.raises(EdgefrError, match="somebody else took over"):
        pause()
    assert mended == [PendingWrite(1, 1)]  # once, by who took over


def test_where_no_other_process_can_be_every_claim_is_a_dead_writers(board: Board) -> None:
    board.put_claim(Blob(claim.CLAIM, 5, 0, b'{"intent": {"first": 2, "last": 2, "whole": false}}'))
    mended: list[PendingWrite] = []
    with claims(board, alone=True).held(mended.append, WAIT):
        assert mended == [PendingWrite(2, 2)]


def test_a_claim_that_is_none_is_refused(board: Board) -> None:
    board.put_claim(Blob(claim.CLAIM, 5, 0, b"[]"))
    with pytest.raises(EdgefrError, match="a claim on a gallery"), claims(board, alone=True).held(unexpected, WAIT):
        pass
