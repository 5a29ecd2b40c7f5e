"""Recogniser: aligned faces to embeddings, on any runtime."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefr.errors import InvalidArgumentError, WrongModelError
from edgefr.manifest import warn_if_changed
from edgefr.runtimes import FAKE, FEW_IMAGES, open_backend
from edgefr.runtimes.base import Array, Backend, Description, TensorInfo
from edgefr.types import EMBEDDING, FACE_SIZE, INPUT_NAME, NORM, UNCERTAINTY, Faces, Floats

INPUT = TensorInfo(INPUT_NAME, "uint8", (None, FACE_SIZE, FACE_SIZE, 3))

LARGEST_BATCH = 1024

UNIT_TOLERANCE = 0.005
"""How far the length of an embedding may be from 1: bf16 keeps 8 bits of each component."""

SAME_EMBEDDING = 1e-6
"""Embeddings whose components differ by less are the same: FP32 rounds to 6e-8 of each number."""


SHORTEST_EMBEDDING = 64
"""Length from which the output of a foreign model counts as an embedding rather than as classes."""


@dataclass(frozen=True)
class Embeddings:
    """The outputs of a recogniser for N faces.

    Attributes:
        embedding: (N, K) float32 of unit length.
        norm: (N,) float32, length of each embedding before normalisation.
        uncertainty: (N,) float32, mean log-variance, or the logarithm of the nets' disagreement of a file of
            `edgefr fuse`. None if the model has no such output.
    """

    embedding: Floats
    norm: Floats
    uncertainty: Floats | None


class Recogniser:
    """A recognition model on a backend, with checked inputs and outputs.

    Attributes:
        description: Inputs, outputs, runtime and precision of the model.
        embedding_dim: Length K of an embedding.
        source: Name of the model for messages.
    """

    def __init__(self, backend: Backend, source: str) -> None:
        """Check that the model is a recogniser.

        Args:
            backend: The open model.
            source: Name of the model for messages.

        Raises:
            WrongModelError: Its inputs or outputs are not those of a recogniser.
        """
        self.description: Description = backend.describe()
        self.embedding_dim: int = _check_description(self.description, source)
        self._backend = backend
        self.source = source
        self._outputs = {info.name for info in self.description.outputs}
        self._drawing: Floats | None = None
        self._is_check_due = False

    def check_embedding(self, at_first_face: bool = False) -> None:
        """Embed a drawing, so that a model without finite embeddings of unit length is refused before it is used.

        A model that gives a face the embedding of the drawing gives the same to every picture, and is refused then.

        Args:
            at_first_face: Do it in the first call of `embed`, when the model is warm, instead of now.

        Raises:
            WrongModelError: The outputs are not as `embed` demands.
            EdgefrError: The runtime fails.
        """
        self._is_check_due = at_first_face
        if not at_first_face:
            rows, columns = np.indices((FACE_SIZE, FACE_SIZE))
            drawing = np.stack([2 * columns, 2 * rows, rows + columns], axis=-1).astype(np.uint8)
            self._drawing = self.embed(drawing[None]).embedding[0]

    def embed(self, faces: Faces, batch: int = 32, progress: Callable[[int], None] | None = None) -> Embeddings:
        """Compute the embeddings of aligned faces.

        Args:
            faces: (N, 112, 112, 3) uint8 RGB; N may be 0.
            batch: Number of faces per call of the model, 1 to 1024.
            progress: Called after each batch with the number of faces in it.

        Returns:
            The embeddings in the same order.

        Raises:
            InvalidArgumentError: `faces` or `batch` is not as above.
            WrongModelError: The outputs have wrong shapes, are not finite or not of unit length.
            EdgefrError: The runtime fails.
        """
        if not 1 <= batch <= LARGEST_BATCH:
            raise InvalidArgumentError(f"a batch of 1 to {LARGEST_BATCH} faces", str(batch), "choose another --batch")
        if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[1:] != INPUT.shape[1:]:
            raise InvalidArgumentError(
                f"faces uint8 (N,{FACE_SIZE},{FACE_SIZE},3)",
                f"{faces.dtype} ({','.join(str(n) for n in faces.shape)})",
                "align the faces first",
            )
        total = len(faces)
        embedding = np.empty((total, self.embedding_dim), np.float32)
        norm = np.empty(total, np.float32)
        uncertainty = np.empty(total, np.float32) if UNCERTAINTY in self._outputs else None
        for start in range(0, total, batch):
            part = slice(start, min(start + batch, total))
            outputs = self._backend.infer({INPUT_NAME: faces[part]})
            length = self._check_outputs(outputs, part.stop - start)
            # Exactly unit length, which bf16 does not give: a dot product is then a cosine.
            embedding[part], norm[part] = outputs[EMBEDDING] / length[:, None], outputs[NORM]
            if self._is_check_due:
                self.check_embedding()
            self._check_difference(embedding[part])
            if uncertainty is not None:
                uncertainty[part] = outputs[UNCERTAINTY]
            if progress is not None:
                progress(part.stop - start)
        return Embeddings(embedding, norm, uncertainty)

    def _check_difference(self, embedding: Floats) -> None:
        if self._drawing is not None and np.abs(embedding - self._drawing).max(1).min() < SAME_EMBEDDING:
            raise WrongModelError(
                f"embeddings that depend on the picture from {self.source}",
                "the same one for a face and for a drawing",
                "train or export the model again",
            )

    def _check_outputs(self, outputs: dict[str, Array], count: int) -> Array:
        """Check what a description cannot promise; gives the lengths of the embeddings, (count,)."""
        shapes = {EMBEDDING: (count, self.embedding_dim), NORM: (count,), UNCERTAINTY: (count,)}
        for name in shapes.keys() & self._outputs:
            if outputs[name].shape != shapes[name]:
                raise WrongModelError(
                    f"{name} {shapes[name]} for {count} faces from {self.source}",
                    str(outputs[name].shape),
                    "export the model again with a dynamic batch",
                )
            if not np.isfinite(outputs[name]).all():
                raise WrongModelError(
                    f"finite numbers in {name} from {self.source}",
                    "NaN or infinity",
                    "use --precision fp32, or export the model again",
                )
        length: Array = np.linalg.norm(outputs[EMBEDDING], axis=1)
        error = float(np.abs(length - 1).max(initial=0))
        if error > UNIT_TOLERANCE:
            raise WrongModelError(
                f"embeddings of unit length from {self.source}",
                f"lengths that differ from 1 by up to {error:.3g}",
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
    """Open a recognition model.

    Args:
        path: An .onnx, engine or .safetensors file.
        runtime: Name of the runtime, or "auto".
        precision: "fp32", "bf16", "fp16", "int8" or "auto".
        images: Number of images to expect, which decides the runtime of "auto". None means many.
        threads: Number of threads it may use. None means all cores.

    Returns:
        The recogniser. If the model has changed since its manifest was written, a warning is logged, see
        `manifest.warn_if_changed`.

    Raises:
        WrongModelError: The model is not a recogniser, or gives no usable embeddings.
        EdgefrError: The file cannot be opened by the runtime.
    """
    recogniser = Recogniser(open_backend(path, runtime, precision, images=images, threads=threads), str(path))
    # A drawing that is embedded before the first face would take 3 % of the start.
    recogniser.check_embedding(at_first_face=images is not None and images <= FEW_IMAGES)
    if path != FAKE:
        warn_if_changed(path)
    return recogniser


def open_in_background(
    path: Path,
    runtime: str = "auto",
    precision: str = "auto",
    images: int | None = None,
    threads: int | None = None,
) -> Future[Recogniser]:
    """Open a recognition model in a thread of its own, see `open_recogniser`.

    It takes longer than finding two faces, and needs another core than Python does for most of that time.
    """
    return ThreadPoolExecutor(1).submit(open_recogniser, path, runtime, precision, images, threads)


def _check_description(description: Description, source: str) -> int:
    """Check inputs and outputs; gives the length of an embedding."""
    if length := _float_embedding(description):
        raise WrongModelError(
            f"a recogniser with the input {INPUT} in {source}",
            f"a float recogniser as other projects publish it (input {description.inputs[0]}, embedding of {length} "
            "numbers)",
            f"adopt it first with `edgefr adopt {source} --faces FACES`",
        )
    if description.inputs != (INPUT,):
        raise _not_a_recogniser(f"input {INPUT}", description.inputs, source)
    outputs = {info.name: info for info in description.outputs}
    for name, rank in ((EMBEDDING, 2), (NORM, 1), (UNCERTAINTY, 1)):
        info = outputs.get(name)
        if info is None and name == UNCERTAINTY:
            continue  # a single backbone has none
        if info is None or info.dtype != "float32" or len(info.shape) != rank or info.shape[0] is not None:
            expected = f"output {name} float32 ({'B,K' if rank == 2 else 'B'})"
            raise _not_a_recogniser(expected, description.outputs, source)
    dim = outputs[EMBEDDING].shape[1]
    if not dim:
        raise _not_a_recogniser("a fixed embedding length K", (outputs[EMBEDDING],), source)
    return dim


def _float_embedding(description: Description) -> int | None:
    """The length of the embedding if a model maps a float picture to one, as those of insightface do; else None."""
    if len(description.inputs) != 1 or not description.outputs:
        return None
    picture, embedding = description.inputs[0], description.outputs[0]
    is_picture = picture.dtype in ("float32", "float16") and len(picture.shape) == 4 and 3 in picture.shape[1:]
    if not is_picture or FACE_SIZE not in picture.shape or len(embedding.shape) != 2:
        return None
    length = embedding.shape[1]
    return length if length is not None and length >= SHORTEST_EMBEDDING else None


def _not_a_recogniser(expected: str, tensors: tuple[TensorInfo, ...], source: str) -> WrongModelError:
    found = "; ".join(map(str, tensors)) or "none"
    return WrongModelError(f"{expected} in {source}", found, "export the model with `edgefr export`")
