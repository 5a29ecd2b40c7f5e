"""The header of a gallery in a database, with the transform of its templates."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgefr.errors import UnavailableError, update_command
from edgefr.gallery.crypto.encryption import SealContext, damaged
from edgefr.gallery.stores.base import HEADER, Blob
from edgefr.gallery.stores.remote_row_codec import encrypted_transforms, write_outer_header
from edgefr.gallery.stores.row_codec import NOT_TRANSFORMED, Header, RowCodec, TemplateTransforms

VERSION, TRANSFORMED_VERSION = 1, 2
"""A gallery whose templates were ever transformed has the second version, so that an older edgefr refuses it."""


@dataclass(frozen=True)
class DatabaseHeader:
    """The header, and how templates are stored."""

    header: Header
    transforms: TemplateTransforms = NOT_TRANSFORMED

    @classmethod
    def from_blob(cls, blob: Blob, codec: RowCodec, source: str) -> DatabaseHeader:
        """Decrypt a header of the gallery `source`.

        Raises:
            UnavailableError: A newer edgefr has written it.
            DamagedError: It was changed.
        """
        header, encrypted = codec.decrypt_header(blob.body), encrypted_transforms(blob)
        if header.version > TRANSFORMED_VERSION:
            raise UnavailableError(
                f"a gallery of version {TRANSFORMED_VERSION} or older at {source}",
                f"version {header.version}",
                f"update edgefr ({update_command()})",
            )
        if (header.version == TRANSFORMED_VERSION) is not bool(encrypted):
            raise damaged(f"the header of {source}")
        if not encrypted:
            return cls(header)
        return cls(header, codec.decrypt_transforms(encrypted, header.turn))

    def changed(self, transforms: TemplateTransforms) -> DatabaseHeader:
        """The next header, with other transforms."""
        return DatabaseHeader(replace(self.header, version=TRANSFORMED_VERSION, turn=self.header.turn + 1), transforms)

    def to_blob(self, codec: RowCodec, context: SealContext, lock: str) -> Blob:
        """Encrypt the header of a gallery with this lock."""
        encrypted = b""
        if self.header.version == TRANSFORMED_VERSION:
            encrypted = codec.encrypt_transforms(self.transforms, self.header.turn)
        return Blob(HEADER, 1, 0, codec.encrypt_header(self.header), write_outer_header(context, lock, encrypted))
