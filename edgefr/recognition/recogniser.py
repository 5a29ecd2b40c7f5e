"""A recognition model behind its contract: aligned faces in, embeddings out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.runtimes import open_backend
from edgefr.runtimes.base import Array, Backend, Description, TensorInfo
from edgefr.types import EMBEDDING, FACE_SIZE, INPUT_NAME, NORM, UNCERTAINTY, Faces, Floats

INPUT = TensorInfo(INPUT_NAME, "uint8", (None, FACE_SIZE, FACE_SIZE, 3))

LARGEST_BATCH = 1024

UNIT_TOLERANCE = 0.005
"""How far from 1 an embedding's length may be: bf16 keeps 8 bits of each component."""


@dataclass(frozen=True)
class Embeddings:
    """`embedding` (N, K) of unit length, its `norm` before that (N,), and `uncertainty` (N,) where the model
    gives one."""

    embedding: Floats
    norm: Floats
    uncertainty: Floats | None


class Recogniser:
    """A recognition model on a backend, checked against the contract.

    Raises:
        EdgefrError: inputs or outputs are not the contract's; `source` says whose they are.
    """

    def __init__(self, backend: Backend, source: str) -> None:
        self.description: Description = backend.describe()
        self.embedding_dim: int = _checked_dim(self.description, source)
        self._backend = backend
        self.source = source
        self._outputs = {info.name for info in self.description.outputs}

    def embed(self, faces: Faces, batch: int = 32, progress: Callable[[int], None] | None = None) -> Embeddings:
        """Embed (N, 112, 112, 3) uint8 RGB aligned faces, `batch` at a time; N may be 0.

        `progress` is called after every batch with the number of faces in it.

        Raises:
            EdgefrError: faces of another shape or type, a batch out of 1 to 1024, or a model that fails or
                gives no unit-length embeddings.
        """
        if not 1 <= batch <= LARGEST_BATCH:
            raise EdgefrError(f"a batch of 1 to {LARGEST_BATCH} faces", str(batch), "choose another --batch")
        if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[1:] != INPUT.shape[1:]:
            raise EdgefrError(
                f"faces uint8 (N,{FACE_SIZE},{FACE_SIZE},3)",
                f"{faces.dtype} ({','.join(str(n) for n in faces.shape)})",
                "align them first",
            )
        total = len(faces)
        embedding = np.empty((total, self.embedding_dim), np.float32)
        norm = np.empty(total, np.float32)
        uncertainty = np.empty(total, np.float32) if UNCERTAINTY in self._outputs else None
        for start in range(0, total, batch):
            part = slice(start, min(start + batch, total))
            found = self._backend.infer({INPUT_NAME: faces[part]})
            length = self._check(found, part.stop - start)
            # bf16 keeps 8 bits of each component: made exactly 1 long here, a dot product is a cosine.
            embedding[part], norm[part] = found[EMBEDDING] / length[:, None], found[NORM]
            if uncertainty is not None:
                uncertainty[part] = found[UNCERTAINTY]
            if progress is not None:
                progress(part.stop - start)
        return Embeddings(embedding, norm, uncertainty)

    def _check(self, found: dict[str, Array], count: int) -> Array:
        """What a description cannot promise: as many answers as faces, finite, embeddings of unit length.

        Returns the embeddings' lengths (count,).
        """
        shapes = {EMBEDDING: (count, self.embedding_dim), NORM: (count,), UNCERTAINTY: (count,)}
        for name in shapes.keys() & self._outputs:
            if found[name].shape != shapes[name]:
                raise EdgefrError(
                    f"{name} {shapes[name]} for {count} faces from {self.source}",
                    str(found[name].shape),
                    "export the model again with a dynamic batch",
                )
            if not np.isfinite(found[name]).all():
                raise EdgefrError(
                    f"finite numbers in {name} from {self.source}",
                    "others",
                    "use --precision fp32 or export the model again",
                )
        length: Array = np.linalg.norm(found[EMBEDDING], axis=1)
        worst = float(np.abs(length - 1).max(initial=0))
        if worst > UNIT_TOLERANCE:
            raise EdgefrError(
                f"embeddings of unit length from {self.source}",
                f"lengths off by {worst:.3g}",
                "export the model with `edgefr export`",
            )
        return length


def open_recogniser(
    path: Path,
    runtime: str = "auto",
    precision: str = "auto",
    images: int | None = None,
    threads: int | None = None,
) -> Recogniser:
    """`open_backend` and the contract in one step.

    Raises:
        EdgefrError: as `open_backend` and `Recogniser` do.
    """
    return Recogniser(open_backend(path, runtime, precision, images=images, threads=threads), str(path))


def _checked_dim(description: Description, source: str) -> int:
    """The embedding's length, if the description is the contract's."""
    if description.inputs != (INPUT,):
        found = "; ".join(str(info) for info in description.inputs) or "none"
        raise _unlike(f"input {INPUT}", found, source)
    outputs = {info.name: info for info in description.outputs}
    for name, rank in ((EMBEDDING, 2), (NORM, 1), (UNCERTAINTY, 1)):
        info = outputs.get(name)
        if info is None and name == UNCERTAINTY:
            continue  # a single backbone has none
        if info is None or info.dtype != "float32" or len(info.shape) != rank or info.shape[0] is not None:
            wanted = f"output {name} float32 ({'B,K' if rank == 2 else 'B'})"
            raise _unlike(wanted, "; ".join(str(entry) for entry in description.outputs) or "none", source)
    dim = outputs[EMBEDDING].shape[1]
    if not dim:
        raise _unlike("a fixed embedding length K", str(outputs[EMBEDDING]), source)
    return dim


def _unlike(wanted: str, found: str, source: str) -> EdgefrError:
    return EdgefrError(f"{wanted} in {source}", found, "export the model with `edgefr export`")
