"""A Triton repository that tests serve for real: models that edgefr exported, and some that are faulty."""

from __future__ import annotations

from pathlib import Path

from edgefr.export.triton_repository import triton_from_model
from edgefr.models import MINI, shipped_model
from edgefr.runtimes.triton.model_fingerprint import ModelFingerprint

FAULTY = """
import numpy as np
import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            faces = triton.get_input_tensor_by_name(request, "image").as_numpy()
            if faces[0, 0, 0, 0] == 0:
                answers.append(triton.InferenceResponse([], triton.TritonError("the faulty model failed")))
                continue
            outputs = {name: np.ones((1, size), np.float32) for name, size in SIZES}
            answers.append(triton.InferenceResponse([triton.Tensor(*output) for output in outputs.items()]))
        return answers
"""
"""A picture that begins with 0 is an error, any other batch gets one row of answers."""


def make_repository(folder: Path, tiny: Path) -> Path:
    """`mini` and `tiny` as edgefr exports them; `patient`, which is `tiny` and waits for batches; `faulty`, which
    has the fingerprint of `tiny`; and `stranger`, which has none."""
    triton_from_model(shipped_model(MINI), folder, python=True)
    triton_from_model(tiny, folder, python=True)
    triton_from_model(tiny, folder, python=True, name="patient")
    slow_batches(folder / "patient/config.pbtxt")
    triton_from_model(tiny, folder, python=True, name="faulty")
    sizes = "[('embedding', 16), ('norm', 1), ('uncertainty', 1)]"
    (folder / "faulty/1/model.py").write_text(FAULTY.replace("SIZES", sizes))
    without_warmup(folder / "faulty/config.pbtxt")
    triton_from_model(tiny, folder, python=True, name="stranger")
    (folder / "stranger/1/model.py").write_text(FAULTY)
    config = folder / "stranger/config.pbtxt"
    without_warmup(config)
    config.write_text(config.read_text().replace(str(ModelFingerprint.of(tiny)), "something else"))
    return folder


def slow_batches(config: Path) -> None:
    """Wait for half a second for a batch of eight, so that clients who ask at once are surely put together."""
    text = config.read_text()
    text = text.replace("max_queue_delay_microseconds: 2000", "max_queue_delay_microseconds: 500000")
    config.write_text(text.replace("preferred_batch_size: [ 8, 16, 32 ]", "preferred_batch_size: [ 8 ]"))


def without_warmup(config: Path) -> None:
    text = config.read_text()
    begin, end = text.index("model_warmup"), text.rindex("parameters")
    config.write_text(text[:begin] + text[end:])
