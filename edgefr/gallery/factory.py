"""Create and open galleries in files and databases."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from edgefr.errors import InvalidArgumentError
from edgefr.gallery.address import STORES, Address, parse_address
from edgefr.gallery.base import Gallery
from edgefr.gallery.crypto.key_wrapping import NoSecret, Secret, lock_kind
from edgefr.gallery.database_gallery import DatabaseGallery
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.pin import Pin
from edgefr.gallery.stores.base import CLEAR, TRANSFORMED, GalleryStore
from edgefr.gallery.stores.remote_row_codec import read_outer_header
from edgefr.gallery.stores.sqlite import is_gallery, required_secret

SecretProvider = Callable[[str], Secret]
"""Returns the secret for a kind of lock: `plain`, `key file` or `passphrase`."""


def open_gallery(location: str | Path | Address, secret: Secret | SecretProvider, pin: Pin | None = None) -> Gallery:
    """Open and unlock a gallery.

    Example:
        >>> with open_gallery("people.gallery", Passphrase("correct horse")) as gallery:
        ...     print(len(gallery))
        1

    Args:
        location: A file, or the address of a gallery in a database.
        secret: The secret that unlocks it, or a function that returns the secret for the kind of lock.
        pin: What the gallery must be, and where this is remembered. None accepts every gallery that the secret opens.

    Returns:
        The gallery. It is a context manager that closes itself.

    Raises:
        InvalidArgumentError: The address is malformed.
        LockedError: The secret does not unlock the gallery.
        NoGalleryError: There is no gallery.
        ReplacedGalleryError: It is not the gallery that is pinned, or an older copy of it.
        UnavailableError: Its server does not respond, or the pin cannot be read.
        DamagedError: The gallery was changed by another program.
    """
    provider = secret if callable(secret) else lambda _kind: secret
    if isinstance(location, str):
        location = parse_address(location)
    if isinstance(location, Path):
        return FileGallery.open(location, provider(required_secret(location)), pin)
    store = open_store(location)
    try:
        _, lock = read_outer_header(store.header(), str(location))
        return DatabaseGallery.open(store, provider(lock_kind(lock, str(location))), pin)
    except BaseException:
        store.close()
        raise


def create_gallery(
    location: Path | Address,
    secret: Secret,
    binding: ModelBinding,
    on_notice: Callable[[str], None],
    pin: Pin | None = None,
    transform: bool = False,
) -> Gallery:
    """Create an empty gallery.

    Args:
        location: A file, or the address of a gallery in a database.
        secret: The secret to lock it with.
        binding: The models that its templates will come from.
        on_notice: Receives a sentence about what the administrator of a database can read.
        pin: Where the gallery is remembered.
        transform: Whether a database gets templates that are transformed by a secret.

    Returns:
        The open gallery.

    Raises:
        InvalidArgumentError: There is a gallery already, or `transform` protects nothing in this gallery.
        UnavailableError: The file cannot be written, or the server does not respond.
    """
    if transform and (isinstance(location, Path) or isinstance(secret, NoSecret)):
        raise InvalidArgumentError(
            "a gallery in a database, with a passphrase or a key file, to transform templates in",
            "a gallery in a file, which encrypts them" if isinstance(location, Path) else "one that stores its key",
            "leave out --transform-templates" + ("" if isinstance(location, Path) else " or --plain"),
        )
    if isinstance(location, Path):
        return FileGallery.create(location, secret, binding, pin)
    store = open_store(location)
    try:
        created = DatabaseGallery.create(store, secret, binding, pin, transform)
    except BaseException:
        store.close()
        raise
    on_notice(store.privacy_notice.replace(CLEAR, TRANSFORMED) if transform else store.privacy_notice)
    return created


def gallery_exists(location: Path | Address) -> bool:
    """Whether there is a gallery.

    Args:
        location: A file, or the address of a gallery in a database.

    Raises:
        InvalidArgumentError: There is something else in its place.
        UnavailableError: The server does not respond.
    """
    if isinstance(location, Path):
        return is_gallery(location)
    store = open_store(location)
    try:
        return store.exists()
    finally:
        store.close()


def open_store(address: Address) -> GalleryStore:
    """Connect to the store of a gallery in a database.

    Args:
        address: The address of the gallery, which need not exist yet.

    Raises:
        MissingExtraError: The client library is not installed.
        UnavailableError: The server does not respond.
    """
    module, _, name = STORES[address.kind].store.rpartition(".")
    store: GalleryStore = getattr(import_module(module), name)(address)
    return store
