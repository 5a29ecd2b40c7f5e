"""The recogniser checks a model when it opens it and each time it computes embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from edgefr.errors import InvalidArgumentError, WrongModelError
from edgefr.recognition.recogniser import Recogniser, open_recogniser
from edgefr.runtimes.base import Array, Description, TensorInfo
from edgefr.runtimes.fake import DESCRIPTION, FakeBackend
from edgefr.types import Faces

MakeModel = Callable[..., Path]


@dataclass
class Altered:
    """The fake backend with a changed description or changed outputs."""

    description: Description = DESCRIPTION
    alter: Callable[[dict[str, Array]], dict[str, Array]] = dict

    def describe(self) -> Description:
        return self.description

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        return self.alter(FakeBackend().infer(inputs))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("how", "found"),
    [
        ({"size": 140}, r"found image uint8 \(B,140,140,3\)"),
        ({"dtype": TensorProto.FLOAT}, r"found image float32 \(B,112,112,3\)"),
        ({"batch": 1}, r"found image uint8 \(1,112,112,3\)"),
    ],
    ids=["face size", "float", "fixed batch"],
)
def test_a_model_with_another_input_is_rejected(
    make_model: MakeModel, runtime: str, how: dict[str, int], found: str
) -> None:
    pytest.importorskip(runtime)
    path = make_model(**how)
    with pytest.raises(WrongModelError, match=r"expected input image uint8 \(B,112,112,3\) in .*" + found) as caught:
        open_recogniser(path, runtime)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_model_may_have_no_uncertainty(make_model: MakeModel, faces: Faces, runtime: str) -> None:
    pytest.importorskip(runtime)
    recogniser = open_recogniser(make_model(uncertainty=False), runtime)
    assert recogniser.embed(faces).uncertainty is None
    assert recogniser.embed(faces[:0]).uncertainty is None


def test_a_checkpoint_may_have_no_uncertainty(make_checkpoint: Callable[[bool], Path], faces: Faces) -> None:
    assert open_recogniser(make_checkpoint(False)).embed(faces).uncertainty is None


@pytest.mark.parametrize(
    "outputs",
    [
        (),
        DESCRIPTION.outputs[:1],
        DESCRIPTION.outputs[1:],
        (TensorInfo("embedding", "float32", (None, None)), *DESCRIPTION.outputs[1:]),
        (TensorInfo("embedding", "float16", (None, 64)), *DESCRIPTION.outputs[1:]),
        (TensorInfo("embedding", "float32", (1, 64)), *DESCRIPTION.outputs[1:]),
        (*DESCRIPTION.outputs[:2], TensorInfo("uncertainty", "float32", (None, 64))),
    ],
    ids=["none", "no norm", "no embedding", "unknown length", "half", "fixed batch", "wide uncertainty"],
)
def test_a_model_with_other_outputs_is_rejected(outputs: tuple[TensorInfo, ...]) -> None:
    with pytest.raises(
        WrongModelError, match=r"expected .* in model x, found .*\. Export the model with `edgefr export`"
    ):
        Recogniser(Altered(replace(DESCRIPTION, outputs=outputs)), "model x")


def test_embeddings_that_are_not_of_unit_length_are_rejected_when_a_model_is_opened(make_model: MakeModel) -> None:
    with pytest.raises(WrongModelError, match="expected embeddings of unit length"):
        open_recogniser(make_model(unit=False), "onnxruntime")


@pytest.mark.parametrize("name", ["embedding", "norm", "uncertainty"])
def test_outputs_that_are_not_finite_are_rejected(faces: Faces, name: str) -> None:
    recogniser = Recogniser(Altered(alter=lambda out: {**out, name: out[name] * np.float32("nan")}), "model x")
    with pytest.raises(WrongModelError, match=f"expected finite numbers in {name}"):
        recogniser.embed(faces)


@pytest.mark.parametrize("name", ["embedding", "norm", "uncertainty"])
def test_outputs_for_fewer_faces_are_rejected(faces: Faces, name: str) -> None:
    recogniser = Recogniser(Altered(alter=lambda out: {**out, name: out[name][:1]}), "model x")
    with pytest.raises(WrongModelError, match=f"expected {name} .* for 7 faces"):
        recogniser.embed(faces)


@pytest.mark.parametrize("batch", [0, -1, 100_000])
def test_a_batch_out_of_range_is_rejected(faces: Faces, batch: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"expected a batch of 1 to 1024 faces, found {batch}"):
        Recogniser(FakeBackend(), "fake").embed(faces, batch=batch)


@pytest.mark.parametrize("shape", [(0, 96, 96, 3), (112, 112, 3), (0,)])
def test_faces_of_another_shape_are_rejected_even_if_there_are_none(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"expected faces uint8 \(N,112,112,3\)"):
        Recogniser(FakeBackend(), "fake").embed(np.zeros(shape, np.uint8))
