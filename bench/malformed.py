"""Give every parser damaged inputs, and check that each ends in a result or in an `EdgefrError`.

Valid inputs are made here, and damaged in ways that are random with a fixed seed: flipped bits, cut and repeated parts,
lengths of all ones, and in texts numbers and words that no format allows. A parser must not raise anything else, take
longer than `SECONDS` or more memory than `BYTES` beyond what the process had. Prints a line of JSON for each parser.

    python -m bench.malformed --inputs 100000
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgefr.camera.mjpeg import read_pictures
from edgefr.camera.sources import DisconnectedError
from edgefr.data.collections import open_faces
from edgefr.data.lfw_pairs import read_pairs
from edgefr.data.verification_bin import open_bin
from edgefr.engines.device_profile import Profile
from edgefr.errors import EdgefrError, require_extra
from edgefr.gallery.export_chunks import parse_binding, parse_entry, serialise_entry
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.record_checks import InvalidRecordError
from edgefr.gallery.records import Event, FaceSample, Person, fuse_template
from edgefr.io.onnx_file import ParsedModel, graph_inputs, graph_outputs, graph_precision
from edgefr.io.onnx_tensors import check_weights
from edgefr.io.photo import decode_photograph
from edgefr.io.toml_dataclass import read_toml
from edgefr.manifest import Manifest, Threshold, model_manifest

SECONDS = 20
"""Longest time of one input."""
BYTES = 3 << 30
"""Address space that parsing may take: a photograph of 100 megapixels in three forms, and libraries that load late."""
DIM = 8
WORDS = (b"1e999", b"NaN", b"-1", b"0", b"9" * 40, b"null", b"[]", b"{}", b'"\\ud800"', b"\xff\xfe", b"[" * 2000, b"\0")

PAIRS = b"2\t1\nAda\t1\t2\nAda\t1\tBob\t1\nEve\t1\t2\nEve\t2\tBob\t3\n"
EVENT = Event(1.0, "matched", "Ada", "0.8").to_bytes()
BINDING = json.dumps(asdict(ModelBinding("m", "0" * 64, "d", "a", "fp32", DIM))).encode()

Parse = Callable[[bytes, Path], object]


@dataclass(frozen=True)
class Parser:
    """A parser: valid inputs, and a function that parses bytes; the path is that of a file with these bytes."""

    samples: tuple[bytes, ...]
    parse: Parse
    suffix: str = ""


def damage(data: bytes, rng: random.Random) -> bytes:
    """A damaged copy."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at, size = rng.randrange(len(damaged) + 1), rng.choice((1, 2, 4, 8, 64, 512))
        kind = rng.randrange(8)
        if kind == 0 and damaged:
            damaged[min(at, len(damaged) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del damaged[at:]
        elif kind == 2:
            del damaged[at : at + size]
        elif kind == 3:
            damaged[at : at + size] = b"\xff" * size
        elif kind == 4:
            damaged[at : at + size] = bytes(size)
        elif kind == 5:
            damaged[at:at] = damaged[at : at + size]
        elif kind == 6:
            damaged[at : at + size] = rng.randbytes(size)
        else:
            damaged[at : at + rng.choice((0, 1, 4, 16))] = rng.choice(WORDS)
        if not damaged:
            break
    return bytes(damaged)


def run(name: str, parser: Parser, count: int, seed: int, folder: Path) -> dict[str, object]:
    """Parse `count` damaged inputs; returns how they ended, and the first that ended otherwise."""
    rng, ends, failure, slowest = random.Random(f"{seed} {name}"), Counter[str](), None, 0.0  # noqa: S311
    path = folder / f"input{parser.suffix}"
    for number in range(count):
        data = damage(rng.choice(parser.samples), rng)
        path.write_bytes(data)
        start = time.perf_counter()
        signal.alarm(SECONDS)
        try:
            parser.parse(data, path)
            ends["read"] += 1
        except (EdgefrError, InvalidRecordError, DisconnectedError):
            ends["refused"] += 1
        except Exception:  # whatever it is, it is what this program looks for
            ends["failed"] += 1
            failure = failure or {"input": number, "error": traceback.format_exc().splitlines()[-4:]}
        signal.alarm(0)
        slowest = max(slowest, time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    result = {"parser": name, "inputs": count, **ends, "slowest_s": round(slowest, 3), "peak_mb": peak}
    return result | ({} if failure is None else {"first_failure": failure})


def parsers(folder: Path) -> dict[str, Parser]:
    """All parsers that this installation has."""
    found = {
        "photographs": Parser(_photographs(), lambda data, _: decode_photograph(data, "input", 50_000_000)),
        "MJPEG streams": Parser(_streams(), lambda data, _: sum(1 for _ in read_pictures(io.BytesIO(data)))),
        "LFW pairs": Parser((PAIRS,), lambda _, path: read_pairs(path)),
        "lists of faces": Parser((b"path,person\na.jpg,Ada\nb/c.jpg,Bob\n",), lambda _, p: open_faces(p), ".csv"),
        "zips of faces": Parser((_zip(),), _read_faces, ".zip"),
        "verification .bin": Parser((_bin(),), _read_bin, ".bin"),
        "records": Parser((_records(),), _read_records(folder), ".rec"),
        "manifests": Parser((_manifest(),), lambda data, _: Manifest.from_json(data.decode(errors="replace"), "input")),
        "entries of exports": Parser((_entry(),), lambda data, _: parse_entry(data, DIM)),
        "events of a log": Parser((EVENT,), lambda data, _: Event.from_bytes(data)),
        "models of templates": Parser((BINDING,), lambda data, _: parse_binding(data)),
        "device profiles": Parser(_texts("engines/*.toml"), lambda _, p: read_toml(Profile, p), ".toml"),
    }
    with suppress(EdgefrError):
        require_extra("onnx", "onnx")
        found["ONNX files"] = Parser(_onnx(), _read_onnx, ".onnx")
    with suppress(EdgefrError):
        require_extra("torch", "train")
        found |= _torch_parsers()
    return found


def _torch_parsers() -> dict[str, Parser]:
    import torch
    from safetensors.torch import save

    from edgefr.nn.fused_model import load_fused
    from edgefr.nn.torch_unpickler import load_torch_file
    from edgefr.training.common.recipes import FusionRecipe

    state = {"a.weight": torch.zeros(3, 4), "a.bias": torch.ones(4), "b.num_batches_tracked": torch.tensor(3)}
    saved = []
    for legacy in (False, True):
        buffer = io.BytesIO()
        torch.save({"state_dict": state, "epoch": 3}, buffer, _use_new_zipfile_serialization=not legacy)
        saved.append(buffer.getvalue())
    return {
        "checkpoints": Parser(tuple(saved), lambda _, path: load_torch_file(path), ".pt"),
        "safetensors": Parser((save(state),), lambda _, path: load_fused(path), ".safetensors"),
        "recipes": Parser(
            _texts("train/paper.toml", "train/first.toml", "train/smoke.toml"),
            lambda _, path: read_toml(FusionRecipe, path),
            ".toml",
        ),
    }


def _texts(*patterns: str) -> tuple[bytes, ...]:
    root = Path(__file__).parent.parent
    return tuple(path.read_bytes() for pattern in patterns for path in sorted(root.glob(pattern)))


def _photographs() -> tuple[bytes, ...]:
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 256, (6, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    found = tuple(cv2.imencode(suffix, picture)[1].tobytes() for suffix in (".jpg", ".png", ".webp", ".tiff", ".bmp"))
    with suppress(ImportError):
        import pillow_heif

        buffer = io.BytesIO()
        pillow_heif.from_bytes("RGB", (64, 48), picture.tobytes()).save(buffer)
        found += (buffer.getvalue(),)
    return found


def _streams() -> tuple[bytes, ...]:
    jpeg = _photographs()[0]
    part = b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
    return (b"".join([part + jpeg + b"\r\n"] * 3), jpeg * 3)


def _zip() -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("Ada/1.jpg", "Ada/2.jpg", "Bob/1.jpg"):
            archive.writestr(name, _photographs()[0])
    return buffer.getvalue()


def _read_faces(_: bytes, path: Path) -> None:
    folder = open_faces(path)
    for name in folder.names[:4]:
        folder.read(name)


def _bin() -> bytes:
    return pickle.dumps(([np.frombuffer(_photographs()[0], np.uint8).tobytes()] * 4, [True, False]), protocol=2)


def _read_bin(_: bytes, path: Path) -> None:
    pairs = open_bin(path)
    for name in pairs.faces.names[:4]:
        pairs.faces.read(name)


def _records() -> bytes:
    records = b""
    for number in range(3):
        body = np.array([0], "<u4").tobytes() + np.array([number], "<f4").tobytes() + bytes(16) + _photographs()[0]
        records += np.array([0xCED7230A, len(body)], "<u4").tobytes() + body + bytes(-len(body) % 4)
    return records


def _read_records(folder: Path) -> Parse:
    size = len(_records()) // 3
    (folder / "input.idx").write_text("".join(f"{number + 1}\t{number * size}\n" for number in range(3)))
    return _read_faces


def _manifest() -> bytes:
    threshold = Threshold(1e-3, 0.3, (0.28, 0.32), "a test", "fp32")
    return (
        Manifest("onnx", "model", {"arch_a": "mini"}, {"checkpoint": {"file": "a", "sha256": "0"}}, "LFW", (threshold,))
        .to_json()
        .encode()
    )


def _entry() -> bytes:
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(2, DIM)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    samples = [FaceSample("a.jpg", row, 20.0, -1.5, 100.0, None) for row in embedding]
    return serialise_entry(Person(0, "Ada", 1.0, None, fuse_template(samples), ()), samples)


def _onnx() -> tuple[bytes, ...]:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "kernel")
    half = helper.make_tensor("half", TensorProto.FLOAT16, [2], [1.0, 2.0])
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "kernel"], ["map"], kernel_shape=[3, 3]),
            helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.ones(1, np.float32))),
            helper.make_node("Add", ["map", "one"], ["embedding"]),
        ],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 4, 6, 6])],
        [kernel, half],
    )
    model = helper.make_model(graph)
    helper.set_model_props(model, {"edgefr": _manifest().decode()})
    return (model.SerializeToString(),) if onnx else ()


def _read_onnx(_: bytes, path: Path) -> None:
    model = ParsedModel.read(path)
    for question in (graph_precision, check_weights):
        question(model)
    graph_inputs(path)
    graph_outputs(path)
    model_manifest(path)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    options.add_argument("--inputs", type=int, default=100_000, help="number of inputs, spread over all parsers")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", help="the name of one parser")
    chosen = options.parse_args()
    warnings.simplefilter("ignore")
    os.environ.update(dict.fromkeys(("EDGEFR_SHARED", "EDGEFR_FACES", "EDGEFR_ARCFACE", "EDGEFR_ADAFACE"), "/data"))
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        found = parsers(Path(folder))
        names = [name for name in found if chosen.only in (None, name)]
        _limit_memory()
        for name in names:
            result: dict[str, Any] = run(name, found[name], chosen.inputs // len(names) + 1, chosen.seed, Path(folder))
            print(json.dumps(result), flush=True)
            failed += result.get("failed", 0)
    sys.exit(1 if failed else 0)


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
