"""edgefr: accurate face verification for edge devices.

Two frozen face recognition networks, fused and compressed by a variational information bottleneck (arXiv 2309.13137),
exported as one ONNX graph.

The names below are the public API. They are imported when they are first used, so that `import edgefr` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from edgefr.errors import (
        EdgefrError,
        ImageError,
        InvalidArgumentError,
        LockedError,
        MissingExtraError,
        NoFaceError,
        SeveralFacesError,
        UnavailableError,
        UnreadableImageError,
        WrongModelError,
    )
    from edgefr.gallery.crypto.key_wrapping import KeyFile, NoSecret, Passphrase
    from edgefr.gallery.factory import open_gallery
    from edgefr.gallery.identifier import Identification, Identifier
    from edgefr.recognition.verifier import VerificationResult, Verifier

_HOME = {
    "edgefr.errors": (
        "EdgefrError",
        "ImageError",
        "InvalidArgumentError",
        "LockedError",
        "MissingExtraError",
        "NoFaceError",
        "SeveralFacesError",
        "UnavailableError",
        "UnreadableImageError",
        "WrongModelError",
    ),
    "edgefr.gallery.crypto.key_wrapping": ("KeyFile", "NoSecret", "Passphrase"),
    "edgefr.gallery.factory": ("open_gallery",),
    "edgefr.gallery.identifier": ("Identification", "Identifier"),
    "edgefr.recognition.verifier": ("VerificationResult", "Verifier"),
}
"""Module -> the public names that it defines."""

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
    "SeveralFacesError",
    "UnavailableError",
    "UnreadableImageError",
    "VerificationResult",
    "Verifier",
    "WrongModelError",
    "__version__",
    "open_gallery",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'edgefr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
