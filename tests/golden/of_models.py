"""Questions about models: their manifests, engines, versions on a server, and what else commands print."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from tests.golden.asking import Answer, Shell, keys_of
from tests.golden.material import write_faces, write_material, write_pairs
from tests.golden.of_galleries import FAKE, log

ON_ONNXRUNTIME = ("--runtime", "onnxruntime")
FACES, PAIRS = ("--faces", "faces.zip"), ("--pairs", "pairs.txt")
ENGINE = ("build-engine", "tiny.onnx", "--fp32", *ON_ONNXRUNTIME, *FACES, *PAIRS, "--limit", 20)
PHOTOS = ("pictures/Collins/1.jpg", "seen/collins.jpg")


def manifests(shell: Shell) -> Answer:
    """Thresholds, limits and what a model was made from, as `verify` takes them."""
    tiny = ("-m", "tiny.onnx", *ON_ONNXRUNTIME)
    told = {"fake": shell.asked("verify", *PHOTOS, *FAKE)}
    told["rate"] = _verified(shell, *PHOTOS, *FAKE, "--fmr", "1e-2")
    told["no such rate"] = shell("verify", *PHOTOS, *FAKE, "--fmr", "1e-7").refusal
    told["different"] = _verified(shell, PHOTOS[0], "seen/nemo.jpg", *FAKE, EDGEFR_DETECTOR="spot")
    told["inside"] = _verified(shell, *PHOTOS, *tiny)
    told["poor"] = shell("verify", *PHOTOS, *tiny, "--refuse-poor").refusal
    (shell.folder / "tiny.onnx.json").unlink()
    told["inside alone"] = _verified(shell, *PHOTOS, *tiny, "--fmr", 0.05)
    told["model"] = shell("doctor", "--json", EDGEFR_MODEL="tiny.onnx").json["model"]
    shutil.move(shell.folder / "older.json", shell.folder / "fake.json")
    return told | {"older": _verified(shell, *PHOTOS, *FAKE)}


def calibrated_again(shell: Shell) -> Answer:
    """What was in the manifest stays; what is measured again takes its place, inside and beside."""
    write_faces(shell.folder / "faces.zip")
    told = {"calibrate": shell.asked("calibrate", "tiny.onnx", "faces.zip", "--fmr", 0.05, *ON_ONNXRUNTIME)}
    beside = (shell.folder / "tiny.onnx.json").read_bytes()
    inside = beside in (shell.folder / "tiny.onnx").read_bytes()
    return told | {"manifest": json.loads(beside), "inside": inside}


def held_out(shell: Shell) -> Answer:
    """Whom a model never saw, as `eval` and `distill` take it."""
    write_material(shell.folder)
    evaluated = ("eval", "tiny.onnx", "faces.zip", *PAIRS, "--protocol", "clean", *ON_ONNXRUNTIME, "--json")
    told = shell(*evaluated)
    found: Answer = {"exit": told.code, "trials": told.json["trials"], "keys": keys_of(told.json)}
    found["pairs"] = told.json["origin"]["pairs"]
    found["doubts"] = shell(*evaluated, "--folds", "1-3").json["doubts"]
    return found | {"taught": shell("distill", "student.toml", "--set", "data.test_folds=[8, 9, 10]").refusal}


def fused_checkpoint(shell: Shell) -> Answer:
    """A fused model runs from its checkpoint, and decides by the manifest beside it."""
    write_material(shell.folder)
    told = _verified(shell, PHOTOS[0], "seen/nemo.jpg", "-m", "fused.safetensors")
    told["json"]["measured"] = told["json"].pop("similarity")
    return told


def engine(shell: Shell) -> Answer:
    """An old engine is found by its key, and removed where its runtime is of another version now.

    Here the runtime may be of another version than that of the old engine: what its manifest says of it is then
    replaced, and so is the digest in the folder's name."""
    write_faces(shell.folder / "faces.zip")
    write_pairs(shell.folder / "pairs.txt")
    told = shell(*ENGINE, "--cache", "new", "--json").json
    place = told["key"].pop("place")
    (old,) = (shell.folder / "cache").iterdir()
    manifest = json.loads((old / "model.onnx.json").read_text())
    key = manifest["engine"]["key"]
    found: Answer = {"names": [old.name == _engine_of(key)], "place": keys_of(place)}
    varying = ("engine", "sha256", "bytes", "size_ratio")  # by the folder, and by the versions that the manifest names
    found["keys"] = keys_of(told)
    found["new"] = {name: value for name, value in told.items() if name not in varying}
    for version in (place["version"], "0.0.1"):
        key["place"] = {**place, "version": version}
        old = old.rename(old.with_name(_engine_of(key)))
        (old / "model.onnx.json").write_text(json.dumps(manifest))
        found["names"].append(old.name == Path(told["engine"]).parent.name)
        if version == place["version"]:
            found["found"] = shell(*ENGINE, "--cache", "cache", "--json").json["found"]
        removed = shell("prune-engines", "--cache", "cache", "--json").json["removed"]
        found[f"removed {len(found['names']) - 1}"] = [keys_of(entry) for entry in removed]
    return found


def triton(shell: Shell) -> Answer:
    """A model that a server has gets another version, and the first stays what it is."""
    repository = shell.folder / "triton"
    (repository / "tiny/1").mkdir()
    told = {"second": shell.asked("export", "tiny.onnx", "--triton", "triton")}
    told["config"] = (repository / "tiny/config.pbtxt").read_text()
    python = ("--triton-backend", "python", "--triton-name", "p")
    told["python"] = shell.asked("export", "tiny.onnx", "--triton", "triton", *python)
    told["head"] = (repository / "p/config.pbtxt").read_text().partition("#")[0]
    return told | {"files": sorted(str(path.relative_to(repository)) for path in repository.rglob("*"))}


def watching(shell: Shell) -> Answer:
    """A folder of frames, in which somebody takes another's place."""
    frames = shell.folder / "frames"
    frames.mkdir()
    for number in range(30):
        shutil.copy(shell.folder / f"seen/{'collins' if number < 20 else 'nemo'}.jpg", frames / f"{number:03d}.jpg")
    here = ("-g", "plain.gallery")
    told = shell("watch", *here, *FAKE, "--events", "events.jsonl", "--json", EDGEFR_SOURCE="frames")
    lines = [json.loads(line) for line in told.out.splitlines()]
    alike = (shell.folder / "events.jsonl").read_text() == told.out
    return {"exit": told.code, "lines": lines, "file": alike, "log": log(shell, *here)}


def documents(shell: Shell) -> Answer:
    """Documents of commands that store nothing: their keys, and their values where they are the same everywhere."""
    write_faces(shell.folder / "faces.zip")
    write_pairs(shell.folder / "pairs.txt")
    told = {"doctor": keys_of(shell("doctor", "--json").json)}
    two = ("mini@onnxruntime:fp32", "mini@onnxruntime:fp32")
    parity = shell.asked("parity", *two, *FACES, *PAIRS, "--limit", 4, "--threshold", 0.5)
    told["parity"] = {"exit": parity["exit"], "keys": keys_of(parity["json"]), "broken": parity["json"]["broken"]}
    told["check"] = shell.asked("data", "check", "pictures")
    told["align"] = shell.asked("data", "align", "pictures", "-o", "aligned.zip")
    told["bench"] = keys_of(shell("bench", "tiny.onnx", "--batch", "1", "--seconds", 0.01, "--json").json)
    demo = shell.asked("demo", *FAKE)
    told["demo"] = {"exit": demo["exit"], "keys": keys_of(demo["json"])}
    return told


def _verified(shell: Shell, *arguments: object, **environment: str) -> Answer:
    """An answer of `verify` without where the faces are."""
    told = shell.asked("verify", *arguments, **environment)
    told["json"]["faces"] = [face["path"] for face in told["json"]["faces"]]
    return told


def _engine_of(key: Answer) -> str:
    """The name of the folder of an engine of tiny.onnx, by what its manifest says."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return f"tiny-fp32-onnxruntime-{digest[:16]}"
