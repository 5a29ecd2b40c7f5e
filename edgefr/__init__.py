"""edgefr: accurate face verification for edge devices.

The names in `__all__` are the public API. They are imported when they are first used, so that `import edgefr` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgefr.telemetry import disable_telemetry

__version__ = "0.2.0"

if TYPE_CHECKING:
    from edgefr.errors import (
        EdgefrError,
        ImageError,
        InvalidArgumentError,
        LockedError,
        MissingExtraError,
        NoFaceError,
        PoorFaceError,
        SeveralFacesError,
        UnavailableError,
        UnreadableImageError,
        WrongModelError,
    )
    from edgefr.gallery.crypto.key_wrapping import KeyFile, NoSecret, Passphrase
    from edgefr.gallery.factory import open_gallery
    from edgefr.gallery.identifier import Identification, Identifier
    from edgefr.recognition.verifier import VerificationResult, Verifier

_MODULES = {
    "Identification": "gallery.identifier",
    "Identifier": "gallery.identifier",
    "KeyFile": "gallery.crypto.key_wrapping",
    "NoSecret": "gallery.crypto.key_wrapping",
    "Passphrase": "gallery.crypto.key_wrapping",
    "VerificationResult": "recognition.verifier",
    "Verifier": "recognition.verifier",
    "open_gallery": "gallery.factory",
}
"""Public name -> module that defines it. All other names are in `errors`."""

__all__ = [
    "EdgefrError",
    "Identification",
    "Identifier",
    "ImageError",
    "InvalidArgumentError",
    "KeyFile",
    "LockedError",
    "MissingExtraError",
    "NoFaceError",
    "NoSecret",
    "Passphrase",
    "PoorFaceError",
    "SeveralFacesError",
    "UnavailableError",
    "UnreadableImageError",
    "VerificationResult",
    "Verifier",
    "WrongModelError",
    "__version__",
    "open_gallery",
]

disable_telemetry()  # before anything can import onnxruntime, openvino or Ray


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'edgefr' has no attribute {name!r}")
    return getattr(import_module(f"edgefr.{_MODULES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
