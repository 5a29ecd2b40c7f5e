"""Make tests/golden/previous: what version 0.1.0 stored and answered, for later versions to open and answer alike.

    python -m tests.golden.make_previous

It was run once, with version 0.1.0 (commit 22bbbe7), and is kept to tell how the files came to be: made again by a
later version they would prove nothing. Files of a newer format get a folder of their own beside them.

Everything is made by the command line, `python -m edgefr ...`, but for pictures, recipes and the first manifests, which
are written here as the formats are. The photographs are those that scikit-image and matplotlib carry (Eileen Collins,
NASA; Grace Hopper, US Navy), cut out where small errors of the detector change nothing of the face; Nemo is nobody: the
first one mirrored, with red and blue exchanged. Keys and passphrases are for tests alone.

    pictures, seen          people to enrol, and other photographs of the same people
    fake.json, older.json   manifests of the model `fake`, the second as they were before `quality` and `held_out`
    *.gallery, gallery.key  galleries: without a secret, with a key file, with a passphrase, with crops
    people.db               a gallery of Milvus Lite, locked with the same key file
    people.export           an export of the second
    job, photographs.txt    shards, and the list of their photographs
    faces.npz               the photographs of `pictures`, embedded
    tiny.onnx               a small network with its manifest inside and beside it
    cache                   its engine
    *.toml                  recipes
    fused.safetensors.json  a checkpoint's manifest
    fused.header.json.gz    its checkpoint without the numbers, which `material.write_weights` makes
    states.json.gz          the same of finished stages of training
    rows.json               what a sweep found
    labels                  what the detector's teacher said of photographs
    triton                  the configuration of a model that a Triton server has
    keys.json               keys, digests and a ciphertext, with what was asked
    commands.json           all commands and their options
    answers.json            the answers to `questions.QUESTIONS`
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden.asking import PREVIOUS, Shell, opened
from tests.golden.material import read_header, write_faces, write_pairs, write_teacher, write_weights
from tests.golden.of_galleries import BY_PASSPHRASE, CARRIED, CARRY, FAKE, KEY, SECRET, SEEN, SERVED
from tests.golden.of_jobs import JOB
from tests.golden.of_models import ENGINE
from tests.golden.questions import QUESTIONS

DAYS = 36_500
"""A hundred years: nobody's time is over while this is tested."""

CROPS = {
    "pictures/Collins/1.jpg": (141, 30, 162),
    "pictures/Collins/2.jpg": (133, 40, 167),
    "seen/collins.jpg": (148, 40, 167),
    "seen/further.jpg": (134, 35, 177),
    "pictures/Hopper/1.jpg": (90, 51, 337),
    "pictures/Hopper/2.jpg": (105, 55, 337),
    "seen/hopper.jpg": (80, 49, 357),
    "pictures/Nemo/1.jpg": (206, 25, 174),
    "seen/nemo.jpg": (212, 32, 169),
}
"""Left, top and side of each, where landmarks may move by a thousandth of a pixel and `fake` answers the same."""

RECIPE = """\
name = "{name}"
seed = 3
runs = "runs"
{rest}
[data]
faces = "faces.zip"
pairs = "pairs.txt"
test_folds = [9, 10]
"""
FUSED = """
[views]
variants = 1
maps = "cache"
store = "int8"

[a]
checkpoint = "a.safetensors"
loss = "arcface"

[b]
checkpoint = "b.safetensors"
loss = "adaface"

[b.finetune]
steps = 2
batch = 4

[fusion]
embedding_dim = 256
readout = "mean"
skip = "embeddings"
heads = 4
ffn = 64

[distill.schedule]
steps = 2
batch = 4
ema = 0.5

[vib]
head = "adaface"
beta = 1e-4

[vib.schedule]
epochs = 1
batch = 128
optimizer = "sgd"
lr = 1e-3
"""
STUDENT = """
[views]
variants = 1
clean = 0.4

[schedule]
steps = 2
batch = 4

[labels]
head = "arcface"
weight = 0.2
"""
DETECTOR = """
[schedule]
steps = 2
batch = 2
lr = 1e-3
ema = 0.5

[mix]
hard = 0.25
"""


def main() -> None:
    if PREVIOUS.exists():
        sys.exit(f"expected no {PREVIOUS}, found it: what 0.1.0 made is not made again")
    with tempfile.TemporaryDirectory() as folder:
        shell = Shell(Path(folder))
        for make in (pictures, manifests, galleries, job, network, training, detector, triton):
            make(shell)
        keep(shell.folder)
    from tests.test_previous_version import commands, keys

    write(PREVIOUS / "keys.json", keys())
    write(PREVIOUS / "commands.json", commands())
    answers = {}
    for name, question in QUESTIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            answers[name] = question(opened(Path(folder)))
    write(PREVIOUS / "answers.json", answers)


def keep(folder: Path) -> None:
    """Move into place what is to be kept."""
    for name in ("faces.zip", "pairs.txt", "runs", "data", "first.key", "teacher.onnx", "job/lock"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in folder.rglob("*.safetensors"):
        path.unlink()
    shutil.copytree(folder, PREVIOUS)
    PREVIOUS.chmod(0o755)


def write(path: Path, document: dict[str, Any]) -> None:
    """A document, each of its keys on a line; compressed where the name says so."""
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in document.items()]
    content = ("{\n" + ",\n".join(lines) + "\n}\n").encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def done(shell: Shell, *arguments: object, **environment: str) -> None:
    """Run a command in a process of its own: what it has open is closed when it ends."""
    command = [sys.executable, "-m", "edgefr", *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EDGEFR_")}
    clean |= {"PYTHONPATH": str(PREVIOUS.parents[2]), "XDG_DATA_HOME": str(shell.folder / "data"), **environment}
    subprocess.run(command, cwd=shell.folder, env=clean, check=True, stdout=subprocess.DEVNULL)


def pictures(shell: Shell) -> None:
    import cv2
    from matplotlib import cbook
    from skimage import data

    collins = data.astronaut()[..., ::-1]
    hopper = cv2.imread(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    people = {"collins": collins, "further": collins, "hopper": hopper, "nemo": collins[:, ::-1, ::-1]}
    for name, (left, top, side) in CROPS.items():
        path = shell.folder / name
        photo = people.get(path.stem, people.get(path.parent.name.lower()))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = np.ascontiguousarray(photo[top : top + side, left : left + side])
        small = cv2.resize(part, (128, 128), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(path), small, [cv2.IMWRITE_JPEG_QUALITY, 75])


def threshold(fmr: float, value: float, precision: str = "fp32") -> dict[str, Any]:
    interval = [value - 0.02, value + 0.02]
    return {"fmr": fmr, "value": value, "ci95": interval, "measured_on": "faces of a test", "precision": precision}


def manifests(shell: Shell) -> None:
    manifest = {
        "kind": "onnx",
        "name": "fake",
        "spec": {},
        "made_from": {"checkpoint": {"file": "fake.safetensors", "sha256": "ab" * 32}},
        "trained_on": "nobody",
        "thresholds": [threshold(1e-2, 0.7), threshold(1e-3, 0.8), threshold(1e-5, 0.9), threshold(1e-3, 0.5, "bf16")],
        "versions": {"edgefr": "0.1.0"},
        "quality": {"signal": "norm", "limit": 10.0, "measured_on": "faces of a test", "detector": None},
        "held_out": {"pairs": "cd" * 32, "folds": [6, 7], "faces": "ef" * 32},
        "engine": {},
    }
    (shell.folder / "fake.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    older = {key: value for key, value in manifest.items() if key not in ("quality", "held_out")}
    (shell.folder / "older.json").write_text(json.dumps(older, indent=2, sort_keys=True) + "\n")


def galleries(shell: Shell) -> None:
    def gallery(name: str, verb: str, *arguments: object, **environment: str) -> None:
        done(shell, "gallery", verb, *arguments, "-g", name, **environment)

    gallery("plain.gallery", "enroll", "--folder", "pictures", "--plain", *FAKE)
    gallery("plain.gallery", "identify", *SEEN, *FAKE)

    first = ("--key-file", "first.key")
    gallery("key.gallery", "enroll", "Eileen Collins", "pictures/Collins/1.jpg", *first, *FAKE)
    gallery("key.gallery", "enroll", "Hopper", "pictures/Hopper/1.jpg", "--days", DAYS, *first, *FAKE)
    gallery("key.gallery", "enroll", "Eileen Collins", "pictures/Collins/2.jpg", *first, *FAKE)
    gallery("key.gallery", "rename", "Hopper", "Grace Hopper", *first)
    gallery("key.gallery", "rotate-key", "--new-key-file", "gallery.key", *first)
    gallery("key.gallery", "identify", *SEEN[:2], *FAKE, *KEY)
    gallery("key.gallery", "export", "people.export", *CARRIED, *KEY, CARRY=CARRY)

    gallery("passphrase.gallery", "enroll", "Collins", "pictures/Collins/1.jpg", *BY_PASSPHRASE, *FAKE, SECRET=SECRET)
    gallery(
        "passphrase.gallery", "enroll", "Zoe\u0308 Nemo", "pictures/Nemo/1.jpg", *BY_PASSPHRASE, *FAKE, SECRET=SECRET
    )
    gallery("passphrase.gallery", "enroll", "Grace Hopper", "pictures/Hopper", *BY_PASSPHRASE, *FAKE, SECRET=SECRET)
    gallery("passphrase.gallery", "remove", "Collins", *BY_PASSPHRASE, SECRET=SECRET)

    done(shell, "gallery", "enroll", "Grace Hopper", "pictures/Hopper/1.jpg", "-g", SERVED, *KEY, *FAKE)
    nemo = ("Zoe\u0308 Nemo", "pictures/Nemo/1.jpg", "--days", DAYS)
    done(shell, "gallery", "enroll", *nemo, "-g", SERVED, *KEY, *FAKE)
    done(shell, "gallery", "identify", SEEN[1], "-g", SERVED, *KEY, *FAKE)

    crops = ("--keep-crops", "--plain", *FAKE)
    gallery("crops.gallery", "enroll", "Collins", "pictures/Collins/1.jpg", *crops)
    gallery("crops.gallery", "enroll", "Nemo", "pictures/Nemo/1.jpg", "--days", DAYS, *crops)
    gallery("crops.gallery", "identify", "seen/collins.jpg", *FAKE)


def job(shell: Shell) -> None:
    """The photographs are named by the folder that the command is given in, and one is not there."""
    names = [*(name for name in CROPS if name.startswith("pictures")), "pictures/Nemo/gone.jpg"]
    (shell.folder / "photographs.txt").write_text("".join(f"/proc/self/cwd/{name}\n" for name in names))
    done(shell, *JOB, "-o", "job")
    done(shell, "embed", "pictures", "-o", "faces.npz", *FAKE)


def network(shell: Shell) -> None:
    """A network of a convolution and a projection; its thresholds are measured by `edgefr calibrate`."""
    import onnx

    faces, pairs = write_faces(shell.folder / "faces.zip"), write_pairs(shell.folder / "pairs.txt")
    manifest = {
        "kind": "onnx",
        "name": "tiny",
        "spec": {"arch_a": "mini", "arch_b": "mini"},
        "made_from": {"checkpoint": {"file": "tiny.safetensors", "sha256": "12" * 32}},
        "trained_on": "nobody",
        "thresholds": [threshold(1e-3, 0.95), threshold(1e-2, 0.93, "bf16")],
        "versions": {"edgefr": "0.1.0"},
        "quality": {"signal": "detector", "limit": 0.99, "measured_on": "faces of a test", "detector": "spot"},
        "held_out": {"pairs": digest(pairs), "folds": [9, 10], "faces": digest(faces)},
        "engine": {},
    }
    model = tiny()
    model.metadata_props.add(key="edgefr", value=json.dumps(manifest))
    onnx.save(model, shell.folder / "tiny.onnx")
    rates = ("--fmr", "0.05", "--fmr", "0.01")
    done(shell, "calibrate", "tiny.onnx", "faces.zip", *rates, "--runtime", "onnxruntime")
    done(shell, *ENGINE, "--cache", "cache")


def tiny() -> Any:
    """(B, 112, 112, 3) uint8 -> embedding (B, 8) of unit length, its norm (B,) before, and uncertainty (B,)."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.RandomState(7)
    constants = {
        "scale": np.float32(127.5),
        "one": np.float32(1),
        "conv": (random.standard_normal((4, 3, 7, 7)) / 12).astype(np.float32),
        "projection": (random.standard_normal((64, 8)) / 4).astype(np.float32),
        "flat": np.array([-1, 64], np.int64),
        "all": np.array([-1], np.int64),
    }
    steps = (
        ("Cast", ["image"], "floats", {"to": TensorProto.FLOAT}),
        ("Div", ["floats", "scale"], "scaled", {}),
        ("Sub", ["scaled", "one"], "centred", {}),
        ("Transpose", ["centred"], "nchw", {"perm": [0, 3, 1, 2]}),
        ("Conv", ["nchw", "conv"], "maps", {"strides": [7, 7]}),
        ("Relu", ["maps"], "positive", {}),
        ("AveragePool", ["positive"], "pooled", {"kernel_shape": [4, 4], "strides": [4, 4]}),
        ("Reshape", ["pooled", "flat"], "rows", {}),
        ("MatMul", ["rows", "projection"], "raw", {}),
        ("ReduceL2", ["raw"], "length", {"axes": [1], "keepdims": 1}),
        ("Div", ["raw", "length"], "embedding", {}),
        ("Reshape", ["length", "all"], "norm", {}),
        ("ReduceMean", ["raw"], "uncertainty", {"axes": [1], "keepdims": 0}),
    )
    shapes = {"embedding": ["B", 8], "norm": ["B"], "uncertainty": ["B"]}
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output], **options) for kind, inputs, output, options in steps],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", 112, 112, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def training(shell: Shell) -> None:
    """Recipes with a few steps a stage, trained; of checkpoints and states only the headers are kept."""
    for name, rest, more in (
        ("fused", "", FUSED),
        ("student", 'teacher = "fused.safetensors"\narch = "mini"\npool = 256\n', STUDENT),
        ("spot", 'teacher = "teacher.onnx"\nside = 64\n', DETECTOR),
    ):
        text = RECIPE.format(name="previous" if name == "fused" else name, rest=rest) + more
        (shell.folder / f"{name}.toml").write_text(text)
    for name in ("a.safetensors", "b.safetensors"):
        write_weights(shell.folder / name, mini())
    states = {}
    for recipe, verb in (("fused", "train"), ("student", "distill")):
        done(shell, verb, f"{recipe}.toml")
        found = sorted((shell.folder / "runs/states").glob("*.safetensors"))
        states[recipe] = {path.name: read_header(path) for path in found}
        if recipe == "fused":
            result = shell.folder / "runs/previous/fused.safetensors"
            write(shell.folder / "fused.header.json.gz", read_header(result))
            shutil.copy(f"{result}.json", shell.folder / "fused.safetensors.json")
            write_weights(shell.folder / "fused.safetensors", read_header(result))
            done(shell, "sweep", "fused.toml", "--limit", 8, "-o", "rows.json")
        for path in found:
            path.unlink()
    write(shell.folder / "states.json.gz", states)


def mini() -> dict[str, str]:
    """The header of the backbone `mini` as a student's checkpoint has it."""
    from edgefr.nn.architectures import build_backbone

    kinds = {"torch.float32": "F32", "torch.int64": "I64"}
    tensors = build_backbone("mini").state_dict().items()
    return {f"net.{name}": " ".join(map(str, (kinds[str(value.dtype)], *value.shape))) for name, value in tensors}


def detector(shell: Shell) -> None:
    """What a teacher that is none said of the aligned faces, under the name that is looked for."""
    from edgefr.files import sha256_of
    from edgefr.train.faces import read_training_faces
    from edgefr.train.photographs import DOUBTFUL, OVERLAP, SIZES
    from edgefr.train.recipe import Data

    teacher = write_teacher(shell.folder / "teacher.onnx")
    data = Data(shell.folder / "faces.zip", shell.folder / "pairs.txt", (9, 10))
    faces = read_training_faces(data)
    told = f"{faces.digest()} {sha256_of(teacher)} {DOUBTFUL} {OVERLAP} {SIZES}"
    (shell.folder / "labels").mkdir()
    find = np.array([20, 10, 72, 92, 38, 52, 74, 52, 56, 72, 42, 92, 71, 92, 0.95], np.float32)
    counts = [1] * len(faces)
    path = shell.folder / "labels" / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.npz"
    np.savez_compressed(path, counts=counts, rows=np.stack([find] * len(faces)))


def triton(shell: Shell) -> None:
    done(shell, "export", "tiny.onnx", "--triton", "triton")
    shutil.rmtree(shell.folder / "triton/tiny/1")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
