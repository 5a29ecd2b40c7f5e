"""What a model on Triton says of itself, so that a client knows whose embeddings it gets.

`edgefr export --triton` writes it into the model's config.pbtxt, as a parameter for each version, and the client
compares it with its own model. It is the word of whoever keeps the repository: it finds mistakes, not malice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgefr.errors import EdgefrError
from edgefr.io.onnx_file import graph_precision
from edgefr.manifest import model_digest, read_manifest
from edgefr.runtimes.engine_file import whole_engine

PLAN = ".plan"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TEXT = re.compile(r"([0-9a-f]{64}) ([0-9a-f]{64}) ([a-z0-9]{1,16})")


@dataclass(frozen=True)
class ModelFingerprint:
    """The SHA-256 of a model (`manifest.model_digest`), that of the FP32 model that it was made from (of itself where
    it was made from none), and what it computes in."""

    sha256: str
    made_from: str
    precision: str

    def stands_for(self, digest: str) -> bool:
        """Whether this may answer for the model of `digest`: it is that model, or an engine of it. An INT8 engine has
        to be the same one, for other faces to calibrate on give other embeddings."""
        return digest == self.sha256 or (digest == self.made_from and self.precision != "int8")

    def __str__(self) -> str:
        return f"{self.sha256} {self.made_from} {self.precision}"

    @classmethod
    def parse(cls, text: str) -> ModelFingerprint | None:
        """Read what `str` gave; None where it is something else."""
        found = _TEXT.fullmatch(text)
        return cls(*found.groups()) if found else None

    @classmethod
    def of(cls, model: Path) -> ModelFingerprint:
        """Of an .onnx file or a TensorRT engine, which may be another machine's.

        Raises:
            EdgefrError: the file is no model, or an engine without its manifest.
        """
        if model.suffix.lower() == PLAN:
            engine = whole_engine(model)
            return cls(engine.sha256, engine.key.onnx, engine.key.precision)
        digest = model_digest(model)
        return cls(digest, digest, graph_precision(model).name)


def parameter(version: object) -> str:
    """The name of the parameter in config.pbtxt that holds what is served as `version`."""
    return f"edgefr-{version}"


def fingerprint_name(model: Path) -> str:
    """What a model is called in a repository unless told otherwise; an engine is called as its model was.

    Raises:
        EdgefrError: Triton, or a URL, cannot take the name.
    """
    manifest = read_manifest(model) if model.suffix.lower() == PLAN else None
    return checked_name(model.stem if manifest is None else manifest.name)


def checked_name(name: str) -> str:
    """`name`, if a model of a repository may be called so.

    Raises:
        EdgefrError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise EdgefrError("a model's name of letters, digits, '.', '_' and '-'", f"{name[:200]!r}", "choose another")
    return name
