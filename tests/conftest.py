"""What many tests share: the folder of real data, where there is one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from bench.tritonserver import Tritonserver, missing
from tests.stores import milvus, place, postgres  # noqa: F401

REPOSITORY = Path(__file__).parent.parent

settings.register_profile("edgefr", deadline=None)  # a busy machine is no fault of an example
settings.load_profile("edgefr")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills, once for all processes of pytest-xdist. Tests must not change it."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, partial = root / name, root / f"{name}.partial"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            partial.mkdir(exist_ok=True)
            make(partial)
            partial.rename(folder)
    return folder


@pytest.fixture(scope="session")
def shared_root() -> Path:
    """The folder that holds `data` and `fingerprints`: $EDGEFR_SHARED, else `../shared` beside the checkout."""
    root = Path(os.environ.get("EDGEFR_SHARED", REPOSITORY.parent / "shared"))
    if not (root / "data").is_dir():
        pytest.skip(f"no real weights and faces at {root}: set EDGEFR_SHARED")
    return root


@pytest.fixture(scope="session")
def shared(shared_root: Path) -> Path:
    """The folder of real data: weights, LFW, detectors, photographs."""
    return shared_root / "data"


@pytest.fixture(scope="session")
def fused_checkpoint(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fused checkpoint of real backbones, with a manifest and a threshold."""
    pytest.importorskip("torch")
    from tests.models import real_fused_checkpoint

    weights = shared / "weights/arcface-mobilefacenet/mobilefacenet.pt"
    return real_fused_checkpoint(weights, tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def fused_onnx(fused_checkpoint: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as one ONNX file, exported as a user does."""
    from edgefr.data.sample_faces import comparison_faces
    from edgefr.export.onnx_from_checkpoint import onnx_from_checkpoint

    def export(folder: Path) -> None:
        onnx_from_checkpoint(fused_checkpoint, folder / "model.onnx", comparison_faces(None))

    return made_once(tmp_path_factory, "fused-onnx", export) / "model.onnx"


@pytest.fixture(scope="session")
def yunet(shared: Path) -> Path:
    return shared / "detectors/face_detection_yunet_2023mar.onnx"


@pytest.fixture(scope="session")
def tritonserver() -> type[Tritonserver]:
    """What starts real Triton servers, where there is one to start."""
    pytest.importorskip("tritonclient.grpc")
    if (why := missing()) is not None:
        pytest.skip(why)
    return Tritonserver
