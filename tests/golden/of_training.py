"""Questions about training: the states of its stages, feature maps, pools of a teacher's answers, rows of sweeps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.golden.asking import Answer, Shell, differences, keys_of
from tests.golden.material import numbers_digest, read_header, write_material, write_weights
from tests.golden.of_models import PAIRS


def training(shell: Shell) -> Answer:
    """Finished stages are found by their keys: nothing is trained, and the checkpoint has their numbers."""
    write_material(shell.folder)
    told: Answer = {"states before": _states(shell, "fused")}
    told["train"] = _measured(shell.asked("train", "fused.toml"))
    told["maps"] = _keys(shell.folder / "runs/maps")
    told |= _trained(shell.folder / "runs/previous/fused.safetensors", shell.document("fused.header.json.gz"))
    return told | {"states": _names(shell.folder / "runs/states")}


def training_anew(shell: Shell) -> Answer:
    """Without states all is trained, and what is written has the form that it had."""
    write_material(shell.folder)
    told: Answer = {"exit": shell("train", "fused.toml").code}
    states = {path.name: read_header(path) for path in (shell.folder / "runs/states").glob("*.safetensors")}
    told["states"] = list(differences(shell.document("states.json.gz")["fused"], states))
    lines = (shell.folder / "runs/previous/log.jsonl").read_text().splitlines()
    told["log"] = [keys_of(json.loads(line)) for line in lines]
    told["logs"] = _names(shell.folder / "runs/previous/tensorboard")
    (index,) = (shell.folder / "runs/maps").glob("*/index.json")
    return told | {"index": keys_of(json.loads(index.read_text()))}


def distilling(shell: Shell) -> Answer:
    """The same of a student that learns from a pool of a teacher's answers."""
    write_material(shell.folder)
    told: Answer = {"states before": _states(shell, "student")}
    told["distill"] = _measured(shell.asked("distill", "student.toml"))
    told["pools"] = _keys(shell.folder / "runs/pools")
    told |= _trained(shell.folder / "runs/student/student.safetensors", read_header(shell.folder / "a.safetensors"))
    return told | {"states": _names(shell.folder / "runs/states")}


def training_a_detector(shell: Shell) -> Answer:
    """What a teacher said of the photographs is found, and a stage of the same key is begun; then the teacher, which
    is none, is missed."""
    write_material(shell.folder)
    (shell.folder / "runs").mkdir()
    shutil.move(shell.folder / "labels", shell.folder / "runs/labels")
    told = shell("train-detector", "spot.toml")
    stages = sorted(path.name for path in (shell.folder / "runs/states").iterdir())
    return {"exit": told.code, "missed": "teacher.onnx" in told.err, "stages": stages}


def sweeping(shell: Shell) -> Answer:
    """A variant shares the stages of its recipe; the rows of an old sweep go into a report."""
    write_material(shell.folder)
    _states(shell, "fused")
    swept = ("sweep", "fused.toml", "--over", "vib.beta=1e-4", "--set", "data.workers=0", "--limit", 8)
    told = shell.asked(*swept, "-o", "new.json")
    found: Answer = {"exit": told["exit"], "keys": keys_of(told["json"])}
    found["rows"] = list(differences(keys_of(shell.document("rows.json")), keys_of(shell.document("new.json"))))
    found["states"], found["runs"] = _names(shell.folder / "runs/states"), _names(shell.folder / "runs")
    evaluated = ("eval", "fake", "faces.zip", *PAIRS, "--folds", "9-10", "--protocol", "clean", "--limit", 20)
    found["eval"] = shell(*evaluated, "--ablation", "rows.json", "--html", "report.html").code
    page = (shell.folder / "report.html").read_text()
    found["shown"] = [row["name"] for row in shell.document("rows.json") if row["name"] in page]
    return found


def _states(shell: Shell, recipe: str) -> list[str]:
    """Put the states of a recipe's stages where training looks for them."""
    for name, header in shell.document("states.json.gz")[recipe].items():
        write_weights(shell.folder / "runs/states" / name, header)
    return _names(shell.folder / "runs/states")


def _measured(told: Answer) -> Answer:
    """An answer with the threshold under a name that lets other processors round it otherwise."""
    document = told["json"]
    document["measured"] = [document.pop("threshold"), *document.pop("threshold_ci95")]
    return told


def _trained(checkpoint: Path, header: dict[str, str]) -> Answer:
    """What became of a training: names of tensors, digest of their numbers, manifest."""
    manifest = json.loads(checkpoint.with_name(f"{checkpoint.name}.json").read_text())
    for threshold in manifest["thresholds"]:
        threshold["measured"] = [threshold.pop("value"), *threshold.pop("ci95")]
    tensors = list(differences(header, read_header(checkpoint)))
    return {"tensors": tensors, "numbers": numbers_digest(checkpoint), "manifest": manifest}


def _keys(folder: Path) -> dict[str, str]:
    """What each folder of shards says it was made from."""
    return {path.parent.name: json.loads(path.read_text())["key"] for path in folder.glob("*/index.json")}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")
