"""Compare the false match rates of a manifest's thresholds with those on people that the model was not trained on.

`python -m bench.claimed_rates MODEL.onnx FACES` uses all pairs of aligned faces of LFW folds 6-10. With `--write`, the
measured rates become the `unseen_fmr` of the thresholds in the manifest.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.lfw import data, select_names
from edgefr.data.collections import open_faces, person_of
from edgefr.manifest import model_manifest, write_model_manifest
from edgefr.recognition.recogniser import open_recogniser


def run(data: Path, model: Path, faces: Path) -> list[dict[str, float]]:
    """For each threshold: the FMR in the manifest, and the measured FMR and FNMR."""
    folder = open_faces(faces)
    names = select_names(folder, data, held_out=True)
    embedding = open_recogniser(model, "onnxruntime", "fp32", None).embed(folder.read_faces(names)).embedding
    _, labels = np.unique([person_of(name) for name in names], return_inverse=True)
    pairs = np.triu_indices(len(names), 1)
    similarity, same = (embedding @ embedding.T)[pairs], (labels[:, None] == labels)[pairs]
    manifest = model_manifest(model)
    return [
        {
            "claimed_fmr": entry.fmr or 0.0,
            "threshold": entry.value,
            "fmr": float((similarity[~same] >= entry.value).mean()),
            "fnmr": float((similarity[same] < entry.value).mean()),
        }
        for entry in (manifest.thresholds if manifest else ())
    ]


def write(model: Path, rows: list[dict[str, float]]) -> None:
    """Write the measured rates into the manifest of the model, rounded to three digits."""
    manifest = model_manifest(model)
    if manifest is not None:
        thresholds = [
            replace(entry, unseen_fmr=float(f"{row['fmr']:.3g}"))
            for entry, row in zip(manifest.thresholds, rows, strict=True)
        ]
        write_model_manifest(model, replace(manifest, thresholds=tuple(thresholds)))


if __name__ == "__main__":
    rows = run(data(), *map(Path, sys.argv[1:3]))
    print(json.dumps(rows, indent=1))
    if "--write" in sys.argv[3:]:
        write(Path(sys.argv[1]), rows)
