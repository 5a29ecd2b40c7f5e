"""Galleries in files and in databases, opened and made alike by where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgefr.gallery.address import POSTGRES, Address
from edgefr.gallery.base import Gallery
from edgefr.gallery.crypto.key_wrapping import Secret, lock_kind
from edgefr.gallery.database_gallery import DatabaseGallery
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.stores.base import GalleryStore
from edgefr.gallery.stores.remote_row_codec import outside_of
from edgefr.gallery.stores.sqlite import is_gallery, secret_wanted

Secrets = Callable[[str], Secret]
"""Gives the secret of a kind: `plain`, `key file` or `passphrase`."""


def open_gallery(place: Path | Address, secret_of: Secrets) -> Gallery:
    """The gallery at `place`, unlocked.

    Raises:
        EdgefrError: there is none, it cannot be reached, or it cannot be unlocked.
    """
    if isinstance(place, Path):
        return FileGallery.open(place, secret_of(secret_wanted(place)))
    shelf = shelf_at(place)
    try:
        _, lock = outside_of(shelf.header(), str(place))
        return DatabaseGallery.open(shelf, secret_of(lock_kind(lock, str(place))))
    except BaseException:
        shelf.close()
        raise


def create_gallery(
    place: Path | Address, secret: Secret, binding: ModelBinding, tell: Callable[[str], None]
) -> Gallery:
    """An empty gallery at `place`; `tell` is told what a server will see of it.

    Raises:
        EdgefrError: there is one already, or it cannot be made.
    """
    if isinstance(place, Path):
        return FileGallery.create(place, secret, binding)
    shelf = shelf_at(place)
    try:
        made = DatabaseGallery.create(shelf, secret, binding)
    except BaseException:
        shelf.close()
        raise
    tell(shelf.sees)
    return made


def gallery_exists(place: Path | Address) -> bool:
    """Whether there is a gallery at `place`.

    Raises:
        EdgefrError: there is something else, or nobody answers.
    """
    if isinstance(place, Path):
        return is_gallery(place)
    shelf = shelf_at(place)
    try:
        return shelf.exists()
    finally:
        shelf.close()


def shelf_at(address: Address) -> GalleryStore:
    """The rows at an address.

    Raises:
        EdgefrError: the client is not installed, or nobody answers.
    """
    if address.kind == POSTGRES:
        from edgefr.gallery.stores.postgres import PostgresStore

        return PostgresStore(address)
    from edgefr.gallery.stores.milvus import MilvusStore

    return MilvusStore(address)
