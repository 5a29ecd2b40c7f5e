"""All that is asked about the files in tests/golden/previous: `make_previous.py` keeps the answers, the test compares.

A question gets a shell in a folder with copies of the files, and gives what is to be compared.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.golden import of_galleries, of_jobs, of_models, of_training
from tests.golden.asking import Answer, Shell

Question = Callable[[Shell], Answer]

QUESTIONS: dict[str, Question] = {
    "plain gallery": of_galleries.plain_gallery,
    "gallery with a key file": of_galleries.gallery_with_a_key_file,
    "gallery with a passphrase": of_galleries.gallery_with_a_passphrase,
    "gallery with crops": of_galleries.gallery_with_crops,
    "gallery that changes": of_galleries.gallery_that_changes,
    "gallery in a database": of_galleries.gallery_in_a_database,
    "gallery where nobody says": of_galleries.gallery_where_nobody_says,
    "exported people": of_galleries.exported_people,
    "finished job": of_jobs.finished_job,
    "unfinished job": of_jobs.unfinished_job,
    "another job": of_jobs.another_job,
    "npz": of_jobs.npz,
    "manifests": of_models.manifests,
    "calibrated again": of_models.calibrated_again,
    "held out": of_models.held_out,
    "fused checkpoint": of_models.fused_checkpoint,
    "engine": of_models.engine,
    "triton": of_models.triton,
    "watching": of_models.watching,
    "documents": of_models.documents,
    "training": of_training.training,
    "training anew": of_training.training_anew,
    "distilling": of_training.distilling,
    "training a detector": of_training.training_a_detector,
    "sweeping": of_training.sweeping,
}

NEEDED = {
    "gallery in a database": ("milvus_lite", "pymilvus"),
    "finished job": ("pyarrow",),
    "unfinished job": ("pyarrow",),
    "another job": ("pyarrow",),
    "held out": ("torch", "safetensors"),
    "fused checkpoint": ("torch", "safetensors"),
    "engine": ("onnx",),
    "watching": ("trackers",),
    "documents": ("skimage", "matplotlib"),
    "training": ("torch", "safetensors"),
    "training anew": ("torch", "safetensors", "tensorboard"),
    "distilling": ("torch", "safetensors"),
    "training a detector": ("torch", "safetensors", "skimage"),
    "sweeping": ("torch", "safetensors"),
}
"""What is not always installed."""
