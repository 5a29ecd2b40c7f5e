"""The catalogue of published models: what they are, where they come from, their licences, digests and inputs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from edgefr.io.toml_dataclass import read_toml

Kind = Literal["recogniser", "detector", "liveness", "quality", "other"]
Origin = Literal["publisher", "third party"]


@dataclass(frozen=True)
class InputConvention:
    """What a recogniser expects of an aligned face: `(pixel - mean) / std` of pixels from 0 to 255.

    Attributes:
        colour: Order of the channels.
        mean: One value, or one for each channel in the order of `colour`.
        std: Likewise.
        size: Side of the square picture in pixels.
    """

    colour: Literal["rgb", "bgr"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int = 112


@dataclass(frozen=True)
class LivenessConvention:
    """What a net for presentation attack detection expects of a window around a face, and what it answers.

    Attributes:
        scale: Size of the window, as a multiple of the box of the face.
        colour: Order of the channels. Pixels are given as `(pixel - mean) / std`.
        mean: Of pixels from 0 to 255.
        std: Likewise.
        live: Number of the class that stands for a living face.
    """

    scale: float
    colour: Literal["rgb", "bgr"] = "bgr"
    mean: float = 0.0
    std: float = 1.0
    live: int = 1


@dataclass(frozen=True)
class Accuracy:
    """Accuracy as published, in percent; None if not stated.

    Attributes:
        lfw: Accuracy on LFW.
        cfp_fp: Accuracy on CFP-FP.
        agedb_30: Accuracy on AgeDB-30.
        calfw: Accuracy on CALFW.
        cplfw: Accuracy on CPLFW.
        ijb_c: True match rate on IJB-C at a false match rate of 1e-4.
        wider_hard: Average precision on the hard part of WIDER FACE.
    """

    lfw: float | None = None
    cfp_fp: float | None = None
    agedb_30: float | None = None
    calfw: float | None = None
    cplfw: float | None = None
    ijb_c: float | None = None
    wider_hard: float | None = None


@dataclass(frozen=True)
class PublishedFile:
    """One file of a model.

    Attributes:
        name: Its name where it is published, also as a member of `pack`.
        bytes: Exact size.
        about_mb: Size in MB as a page states it.
        sha256: Digest as hexadecimal digits, empty if none is known.
        digest_from: Who stated the digest and the size.
        url: Address of this file alone, empty if there is none.
        pack: Name of the pack that holds it, empty if there is none.
    """

    name: str
    bytes: int | None = None
    about_mb: float | None = None
    sha256: str = ""
    digest_from: Origin = "publisher"
    url: str = ""
    pack: str = ""


@dataclass(frozen=True)
class Pack:
    """A zip of several models. The fields are those of `PublishedFile`."""

    name: str
    url: str
    bytes: int
    sha256: str
    digest_from: Origin = "publisher"


@dataclass(frozen=True)
class Entry:
    """A published model. What is not stated by its publisher is empty or None.

    Attributes:
        name: Name in edgefr.
        kind: What it is for.
        architecture: The network.
        publisher: Who publishes it.
        source: Address, or another description, of the place.
        licence: Licence of the weights.
        commercial: Whether the licence allows commercial use.
        files: The model file and, for OpenVINO, its weights.
        trained_on: Name of the training data.
        accuracy: Accuracy as published.
        input: What a recogniser expects.
        liveness: What a liveness net expects.
        embedding_dim: Length of its embedding.
        usable: Whether edgefr can use it. Others are listed so that a file of theirs is recognised.
        note: A remark for users.
    """

    name: str
    kind: Kind
    architecture: str
    publisher: str
    source: str
    licence: str
    commercial: Literal["yes", "no", "unknown"]
    files: tuple[PublishedFile, ...]
    trained_on: str = ""
    accuracy: Accuracy = Accuracy()
    input: InputConvention | None = None
    liveness: LivenessConvention | None = None
    embedding_dim: int | None = None
    usable: bool = True
    note: str = ""

    def stored_name(self, file: PublishedFile) -> str:
        """The name of one of its files in the user's folder of models."""
        return self.name + Path(file.name).suffix

    @property
    def megabytes(self) -> float | None:
        """Size of all files in MB; None if it is not known of one of them."""
        sizes = [file.about_mb if file.bytes is None else file.bytes / 1e6 for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


@dataclass(frozen=True)
class Catalogue:
    """The content of `edgefr/assets/catalogue.toml`."""

    packs: tuple[Pack, ...]
    models: tuple[Entry, ...]


@cache
def catalogue() -> Catalogue:
    """The catalogue that comes with edgefr."""
    return read_toml(Catalogue, Path(str(resources.files("edgefr").joinpath("assets", "catalogue.toml"))))


def by_digest(sha256: str) -> Entry | None:
    """The model that has a file with this content.

    Args:
        sha256: SHA-256 as hexadecimal digits, see `manifest.original_digest`.

    Returns:
        The entry, None if no published model has such a file.
    """
    digest = sha256.lower()
    return next(
        (entry for entry in catalogue().models for file in entry.files if digest and file.sha256 == digest), None
    )


def by_name(name: str) -> Entry | None:
    """The model of a name.

    Args:
        name: Name in the catalogue, or the name of the published file without its suffix if only one model has it.
            Case, and the difference between - and _, do not matter.

    Returns:
        The entry, None if there is no such model.
    """
    return _names().get(_plain(name))


def pack_of_digest(sha256: str) -> Pack | None:
    """The pack with this content."""
    return next((pack for pack in catalogue().packs if pack.sha256 == sha256.lower()), None)


def pack_named(name: str) -> Pack | None:
    """The pack of a name."""
    return next((pack for pack in catalogue().packs if pack.name == name), None)


@cache
def _names() -> dict[str, Entry]:
    """Plain name -> entry. The names of the catalogue come before those of files."""
    models = catalogue().models
    stems = Counter(_stems(models))
    of_files = {stem: entry for entry in models for stem in _stems([entry]) if stems[stem] == 1}
    return of_files | {_plain(entry.name): entry for entry in models}


def _stems(entries: Iterable[Entry]) -> list[str]:
    return [_plain(Path(entry.files[0].name).stem) for entry in entries]


def _plain(name: str) -> str:
    return re.sub(r"[_\s]", "-", name.lower())
