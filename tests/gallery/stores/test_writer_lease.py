"""A lease admits one writer, expires only when its writer is dead, and the next writer recovers the change."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgefr.errors import EdgefrError, UnavailableError
from edgefr.gallery.crypto.encryption import DamagedError
from edgefr.gallery.stores import writer_lease
from edgefr.gallery.stores.base import Blob, PendingWrite
from edgefr.gallery.stores.writer_lease import WriterLease

WAIT = 1.0


class Board:
    """Stores leases in memory; every write is visible at once."""

    def __init__(self) -> None:
        self.stored: dict[int, Blob] = {}

    def leases(self) -> Sequence[Blob]:
        return list(self.stored.values())

    def put_lease(self, lease: Blob) -> None:
        self.stored[lease.id] = lease

    def delete_lease(self, number: int) -> None:
        self.stored.pop(number, None)


def lease_on(board: Board, exclusive: bool = False) -> WriterLease:
    return WriterLease(board, "a gallery", exclusive)


def unexpected(pending: PendingWrite) -> None:
    raise AssertionError(f"no change was interrupted, but {pending} was recovered")


@pytest.fixture
def board() -> Board:
    return Board()


def test_only_one_writer_holds_the_lease(board: Board) -> None:
    one, other = lease_on(board), lease_on(board)
    with one.hold(unexpected, WAIT):
        one.begin(PendingWrite(1, 1))
        with (
            pytest.raises(UnavailableError, match="Other clients have been changing a gallery for 1 seconds"),
            other.hold(unexpected, WAIT),
        ):
            pass
        one.check()
    with other.hold(unexpected, WAIT):
        pass
    assert board.stored == {}


def test_the_next_writer_recovers_the_change_of_a_dead_one(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = lease_on(board)
    error = EdgefrError("", "The database is down", "try again")
    with monkeypatch.context() as patched:
        patched.setattr(board, "delete_lease", lambda _number: (_ for _ in ()).throw(error))
        with pytest.raises(EdgefrError, match="is down"), dead.hold(unexpected, WAIT):
            dead.begin(PendingWrite(7, 7))
    monkeypatch.setattr(writer_lease, "LEASE_S", 0.1)
    recovered: list[PendingWrite] = []
    with lease_on(board).hold(recovered.append, WAIT):
        assert recovered == [PendingWrite(7, 7)]
    assert board.stored == {}


def test_a_change_that_fails_is_recovered_at_once(board: Board) -> None:
    writer, recovered = lease_on(board), list[PendingWrite]()

    def fail() -> None:
        with writer.hold(recovered.append, WAIT):
            writer.begin(PendingWrite(3, 9, whole=True))
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert recovered == [PendingWrite(3, 9, whole=True)]
    assert board.stored == {}


def test_a_writer_whose_lease_expired_writes_no_more(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_lease, "LEASE_S", 0.1)
    monkeypatch.setattr(writer_lease, "RENEW_S", 0.0)
    monkeypatch.setattr(writer_lease, "FENCE_S", 0.0)
    slow, recovered = lease_on(board), list[PendingWrite]()

    def pause() -> None:
        with slow.hold(recovered.append, WAIT):
            slow.begin(PendingWrite(1, 1))
            with lease_on(board).hold(recovered.append, WAIT):
                pass
            slow.check()

    with pytest.raises(UnavailableError, match="Lost the write lease on a gallery: another client took over"):
        pause()
    assert recovered == [PendingWrite(1, 1)]  # once, by the client that took over


def test_every_other_lease_has_expired_if_no_other_process_can_have_the_gallery_open(board: Board) -> None:
    board.put_lease(Blob(writer_lease.LEASE_KIND, 5, 0, b'{"intent": {"first": 2, "last": 2, "whole": false}}'))
    recovered: list[PendingWrite] = []
    with lease_on(board, exclusive=True).hold(recovered.append, WAIT):
        assert recovered == [PendingWrite(2, 2)]


def test_a_malformed_lease_is_refused(board: Board) -> None:
    board.put_lease(Blob(writer_lease.LEASE_KIND, 5, 0, b"[]"))
    with (
        pytest.raises(DamagedError, match="a write lease on a gallery"),
        lease_on(board, exclusive=True).hold(unexpected, WAIT),
    ):
        pass


class FullBoard(Board):
    """Refuses to delete anything, as a server whose disk is full."""

    def delete_lease(self, number: int) -> None:
        raise UnavailableError("", "The disk is full", "free space")


def test_a_change_is_made_although_its_lease_cannot_be_deleted() -> None:
    board = FullBoard()
    lease = lease_on(board)
    with lease.hold(unexpected, WAIT):
        lease.begin(PendingWrite(1, 1))
    assert len(board.stored) == 1  # it expires


def test_an_import_whose_lease_cannot_be_deleted_is_not_acknowledged() -> None:
    """The next writer undoes it."""
    lease = lease_on(FullBoard())
    with pytest.raises(UnavailableError, match="disk is full"), lease.hold(unexpected, WAIT):
        lease.begin(PendingWrite(1, 5, whole=True))
