"""The contract of every backend, for each runtime and precision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgefr.errors import EdgefrError
from edgefr.recognition.recogniser import Recogniser
from edgefr.runtimes import available_runtimes, open_backend
from edgefr.runtimes.base import Backend, TensorInfo
from edgefr.types import Faces

OFFERED = {runtime.name: runtime for runtime in available_runtimes()}

TOLERANCE = {"fp32": 1e-5, "bf16": 0.03, "int8": 1e-5}


@pytest.fixture(
    scope="module",
    params=[
        ("fake", "fp32"),
        ("onnxruntime", "fp32"),
        ("openvino", "fp32"),
        ("openvino", "bf16"),
        ("ncnn", "fp32"),
        ("ncnn", "int8"),
        ("torch", "fp32"),
        ("triton", "fp32"),
    ],
    ids="-".join,
)
def backend(request: pytest.FixtureRequest) -> Backend:
    runtime, precision = request.param
    if OFFERED[runtime].version is None:
        pytest.skip(f"{runtime} is not installed")
    if precision not in OFFERED[runtime].precisions:
        pytest.skip(f"this processor has no native {precision}")
    fixture = {"fake": None, "torch": "checkpoint", "ncnn": "ncnn_engines"}.get(runtime, "model")
    value = Path("fake") if fixture is None else request.getfixturevalue(fixture)
    path: Path = value(precision) if runtime == "ncnn" else value
    where = request.getfixturevalue("triton").url if runtime == "triton" else runtime
    found = open_backend(path, where, precision)
    assert (found.describe().runtime, found.describe().precision) == (runtime, precision)
    return found


def close(backend: Backend, found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> bool:
    tolerance = TOLERANCE[backend.describe().precision]
    return found.keys() == wanted.keys() and all(
        np.allclose(found[name], wanted[name], rtol=tolerance, atol=tolerance) for name in wanted
    )


def test_describes_the_contract(backend: Backend) -> None:
    description = backend.describe()
    assert description.inputs == (TensorInfo("image", "uint8", (None, 112, 112, 3)),)
    outputs = {info.name: (info.dtype, len(info.shape), info.shape[0]) for info in description.outputs}
    assert outputs == {
        "embedding": ("float32", 2, None),
        "norm": ("float32", 1, None),
        "uncertainty": ("float32", 1, None),
    }


def test_outputs_fit_the_description(backend: Backend, faces: Faces) -> None:
    found = backend.infer({"image": faces})
    assert list(found) == [info.name for info in backend.describe().outputs]
    for info in backend.describe().outputs:
        assert found[info.name].dtype == info.dtype
        assert found[info.name].shape == (len(faces), *info.shape[1:])


def test_embeddings_have_unit_length(backend: Backend, faces: Faces) -> None:
    lengths = np.linalg.norm(backend.infer({"image": faces})["embedding"], axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-3)


def test_tells_pictures_apart(backend: Backend, faces: Faces) -> None:
    found = backend.infer({"image": faces})["embedding"]
    assert len(np.unique(found, axis=0)) == len(faces)


def test_a_batch_equals_batches_of_one(backend: Backend, faces: Faces) -> None:
    whole = backend.infer({"image": faces})
    ones = [backend.infer({"image": faces[i : i + 1]}) for i in range(len(faces))]
    joined = {name: np.concatenate([one[name] for one in ones]) for name in whole}
    assert close(backend, joined, whole)


def test_order_in_the_batch_does_not_matter(backend: Backend, faces: Faces) -> None:
    order = np.random.default_rng(3).permutation(len(faces))
    straight = backend.infer({"image": faces})
    permuted = backend.infer({"image": faces[order]})
    assert close(backend, permuted, {name: array[order] for name, array in straight.items()})


def test_is_deterministic_and_results_outlive_the_next_call(backend: Backend, faces: Faces) -> None:
    first = backend.infer({"image": faces})
    kept = {name: array.copy() for name, array in first.items()}
    backend.infer({"image": 255 - faces})
    again = backend.infer({"image": faces})
    for name in first:
        np.testing.assert_array_equal(first[name], kept[name])
        np.testing.assert_array_equal(again[name], kept[name])


def test_takes_views(backend: Backend, faces: Faces) -> None:
    mirrored = faces[:, :, ::-1]
    assert not mirrored.flags.c_contiguous
    assert close(backend, backend.infer({"image": mirrored}), backend.infer({"image": mirrored.copy()}))


def test_leaves_its_input_alone_and_takes_read_only_ones(backend: Backend, faces: Faces) -> None:
    frozen = faces.copy()
    frozen.flags.writeable = False
    backend.infer({"image": frozen})
    np.testing.assert_array_equal(frozen, faces)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((2, 112, 112, 3), np.float32),
        np.zeros((2, 3, 112, 112), np.uint8),
        np.zeros((2, 96, 112, 3), np.uint8),
        np.zeros((112, 112, 3), np.uint8),
        np.zeros((0, 112, 112, 3), np.uint8),
    ],
    ids=["float", "nchw", "small", "single", "empty"],
)
def test_refuses_other_inputs(backend: Backend, image: np.ndarray) -> None:
    with pytest.raises(EdgefrError, match=r"expected input image uint8 \(B,112,112,3\).*found"):
        backend.infer({"image": image})


def test_refuses_other_names(backend: Backend, faces: Faces) -> None:
    with pytest.raises(EdgefrError, match="expected the inputs image, found input"):
        backend.infer({"input": faces})


def test_threads_get_their_own_answers(backend: Backend, faces: Faces) -> None:
    parts = [faces[:1], faces[1:3], faces[3:6], faces[6:]] * 5
    wanted = [backend.infer({"image": part}) for part in parts]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda part: backend.infer({"image": part}), parts))
    assert all(close(backend, one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_a_recogniser_embeds_any_number(backend: Backend, faces: Faces, count: int) -> None:
    recogniser = Recogniser(backend, "the model")
    steps: list[int] = []
    found = recogniser.embed(faces[:count], batch=3, progress=steps.append)
    assert found.embedding.shape == (count, recogniser.embedding_dim)
    assert found.norm.shape == (count,)
    assert found.uncertainty is not None
    assert found.uncertainty.shape == (count,)
    assert steps == {0: [], 1: [1], 3: [3], 7: [3, 3, 1]}[count]
    if count:
        whole = backend.infer({"image": faces[:count]})
        gathered = {"embedding": found.embedding, "norm": found.norm, "uncertainty": found.uncertainty}
        assert close(backend, gathered, whole)
