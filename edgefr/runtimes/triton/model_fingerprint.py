"""Identifies a model on Triton, so that a client can compare it with its own.

`edgefr export --triton` writes the fingerprint into config.pbtxt as a parameter of each version. It is not signed, so
that it protects from mistakes, but not from an attacker who can change the model repository.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgefr.errors import InvalidArgumentError
from edgefr.io.onnx_file import graph_precision
from edgefr.manifest import model_digest, read_manifest
from edgefr.runtimes.engine_file import read_engine

PLAN = ".plan"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TEXT = re.compile(r"([0-9a-f]{64}) ([0-9a-f]{64}) ([a-z0-9]{1,16})")


@dataclass(frozen=True)
class ModelFingerprint:
    """The digest of a model (`manifest.model_digest`), that of the FP32 model it was made from, and its precision."""

    sha256: str
    made_from: str
    precision: str

    def stands_for(self, digest: str) -> bool:
        """Whether this model gives the embeddings of the model with `digest`: it is that model, or an engine of it.

        An INT8 engine must be the same file, because engines calibrated on other faces give other embeddings.
        """
        return digest == self.sha256 or (digest == self.made_from and self.precision != "int8")

    def __str__(self) -> str:
        return f"{self.sha256} {self.made_from} {self.precision}"

    @classmethod
    def parse(cls, text: str) -> ModelFingerprint | None:
        """Parse the result of `str`; None for any other text."""
        match = _TEXT.fullmatch(text)
        return cls(*match.groups()) if match else None

    @classmethod
    def of(cls, model: Path) -> ModelFingerprint:
        """Compute the fingerprint of an .onnx file or of a TensorRT engine for any machine.

        Raises:
            WrongModelError: The file is not a model, or an engine without its manifest.
        """
        if model.suffix.lower() == PLAN:
            engine = read_engine(model)
            return cls(engine.sha256, engine.key.onnx, engine.key.precision)
        digest = model_digest(model)
        return cls(digest, digest, graph_precision(model).name)


def parameter_name(version: object) -> str:
    """Name of the parameter in config.pbtxt that holds the fingerprint of a version."""
    return f"edgefr-{version}"


def default_model_name(model: Path) -> str:
    """The name of a model in a repository, unless another is given. An engine has the name of its model.

    Raises:
        InvalidArgumentError: The name is not valid.
    """
    manifest = read_manifest(model) if model.suffix.lower() == PLAN else None
    return check_model_name(model.stem if manifest is None else manifest.name)


def check_model_name(name: str) -> str:
    """Check a name that must fit into a model repository and a URL, and return it.

    Raises:
        InvalidArgumentError: It is not valid.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgumentError(
            "a model name of letters, digits, '.', '_' and '-'", f"{name[:200]!r}", "choose another"
        )
    return name
