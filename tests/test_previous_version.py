"""A later version opens what version 0.1.0 stored, and answers as it did: galleries, bulk jobs, manifests, engines,
states of training, and the command line itself.

The files, the questions and the answers of that time lie in tests/golden (`make_previous.py` tells how they came to
be). Further commands, options and keys of documents are no difference. Only the command line is asked, but for the end
of this file.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from edgefr.manifest import model_digest
from edgefr.models import MINI, shipped_model
from tests.golden.asking import PREVIOUS, differences, opened
from tests.golden.questions import NEEDED, QUESTIONS


def kept(name: str) -> Any:
    found = json.loads((PREVIOUS / name).read_text(encoding="utf-8"))
    if name == "commands.json":
        identify = found["gallery identify"]["--face"]
        assert identify["is"] == 'option, else "largest"'
        identify["is"] = 'option, else "all"'  # since 0.2.0 everyone on a photograph is identified
        assert found["gallery enroll"]["--days"]["is"] == "option, from 0 to None"
        found["gallery enroll"]["--days"]["is"] = "option"  # 0, NaN and infinity are refused in one sentence, too
    if name == "answers.json":
        rebuilt = found["gallery with crops"]["rebuild"]["json"]
        assert rebuilt["model_sha256"].startswith("ffdb358d7a8f")
        rebuilt["model_sha256"] = model_digest(shipped_model(MINI))  # since 0.2.0 mini is another network
    if "watching" in found:  # since 0.2.0 only every third frame of a steady scene, 25 a second, is searched
        for line, former in zip(found["watching"]["lines"][1:], (1.0, 1.16), strict=True):
            assert line["seconds"] == former
            line["seconds"] = 1.12
    return _with_interpolation(found)


def _with_interpolation(kept: Any) -> Any:
    """Since 0.2.0 the threshold of a gallery is interpolated between calibrated rates, which were 0.01 and 0.001."""
    if isinstance(kept, list):
        return [_with_interpolation(entry) for entry in kept]
    if not isinstance(kept, dict):
        return kept
    kept = {key: _with_interpolation(entry) for key, entry in kept.items()}
    if "answers" in kept and kept.get("value") == 0.8:
        needed = 1 - 0.99 ** (1 / kept["people"])
        kept |= {"value": 0.7 + 0.1 * math.log10(0.01 / needed), "fpir": 0.01}
        kept["source"] += ", interpolated between the calibrated false match rates 0.01 and 0.001"
    return kept


@pytest.fixture(scope="module", autouse=True)
def _untouched() -> Iterator[None]:
    """Commands get copies."""
    before = _digests()
    yield
    assert _digests() == before


def _digests() -> dict[str, str]:
    files = sorted(path for path in PREVIOUS.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Threads of so small nets wait for each other, and longer where others want the cores, too."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_was_stored_is_opened_and_answered_alike(name: str, tmp_path: Path) -> None:
    for module in NEEDED.get(name, ()):
        if module == "torch" and pytest.importorskip(module).cuda.is_available():
            pytest.skip("the answers are those of a processor, and training would take the GPU")
        pytest.importorskip(module)
    with _one_thread():
        found = json.loads(json.dumps(QUESTIONS[name](opened(tmp_path))))
    assert list(differences(kept("answers.json")[name], found)) == []


def test_every_command_takes_the_same_options() -> None:
    assert list(differences(kept("commands.json"), json.loads(json.dumps(commands())))) == []


def test_keys_and_digests_are_the_same() -> None:
    pytest.importorskip("torch")
    assert list(differences(kept("keys.json"), json.loads(json.dumps(keys())))) == []


# --- All imports from within edgefr stand below: a renaming changes them here, and what is expected stays. ---


def commands() -> dict[str, Any]:
    """Every verb with its arguments and options."""
    import typer

    from edgefr.cli import app

    def told(command: Any, verb: str) -> dict[str, Any]:
        found = {}
        for name, below in getattr(command, "commands", {}).items():
            found |= told(below, f"{verb} {name}".strip())
        return found or {verb: _parameters(command.params)}

    return told(typer.main.get_command(app), "")


def _parameters(parameters: list[Any]) -> dict[str, Any]:
    """Options by their first long names, arguments by their places, for nobody types their names."""
    arguments = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
    options = [parameter for parameter in parameters if parameter not in arguments]
    found = {f"argument {place}": _parameter(parameter) for place, parameter in enumerate(arguments, 1)}
    long = {parameter: [name for name in parameter.opts if name.startswith("--")] for parameter in options}
    return found | {(names or parameter.opts)[0]: _parameter(parameter) for parameter, names in long.items()}


def _parameter(parameter: Any) -> dict[str, Any]:
    kind = getattr(parameter, "type", parameter)  # Typer's own parameters have no type, click's have the bounds there
    described = getattr(parameter, "type_descriptor", None)
    choices = getattr(kind, "choices", ()) if described is None else _literals(described.annotation)
    least, most = getattr(kind, "min", None), getattr(kind, "max", None)
    told = ["argument" if parameter.param_type_name == "argument" else "flag" if parameter.is_flag else "option"]
    told += ["needed"] if parameter.required else []
    told += ["several"] if parameter.nargs != 1 or getattr(parameter, "multiple", False) else []
    told += [f"from {least} to {most}"] if (least, most) != (None, None) else []
    told += [] if parameter.default in (None, False) else [f"else {json.dumps(parameter.default, default=str)}"]
    found: dict[str, Any] = {"is": ", ".join(told)}
    if len(names := (*parameter.opts, *parameter.secondary_opts)) > 1:
        found["names"] = dict.fromkeys(names, "")
    return found | ({"choices": dict.fromkeys(map(str, choices), "")} if choices else {})


def _literals(annotation: Any) -> tuple[Any, ...]:
    """The values of a Literal, or of one that may be left out."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(value for part in get_args(annotation) for value in _literals(part))


def keys() -> dict[str, Any]:
    """Keys of things that are stored, for what is fixed here."""
    return {"seals": _seals(), "engines": _engines(), "stage": _stage(), "tensors": _tensors()}


def _seals() -> dict[str, Any]:
    """How a gallery's key is used, and where things belong."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from edgefr.gallery.crypto.encryption import Keys, SealContext, decrypt, encrypt
    from edgefr.gallery.stores.remote_row_codec import RemoteRowCodec

    key, nonce, context = bytes(range(32)), bytes(12), SealContext("0123456789abcdef" * 2)
    belongs = context.associated_data("image", 7)
    derived = Keys.of(key)
    sealed = nonce + AESGCM(key).encrypt(nonce, b"a face", belongs)
    ours = encrypt(key, b"another", belongs)
    return {
        "key": key.hex(),
        "place": belongs.decode(),
        "derived": {use: getattr(derived, use).hex() for use in ("people", "log", "header", "digests")},
        "digest": derived.digest(b"person", b"", b"record").hex(),
        "token": RemoteRowCodec(context, derived, "", 8).name_hash("Zoë Nemo"),
        "sealed": sealed.hex(),
        "opened": decrypt(key, sealed, belongs, "").decode(),
        "sealed here": AESGCM(key).decrypt(ours[:12], ours[12:], b"0123456789abcdef0123456789abcdef/image/7").decode(),
    }


def _engines() -> dict[str, str]:
    """What engines and measured kernels are called."""
    from edgefr.engines.engine_cache import engine_folder
    from edgefr.engines.timing_cache import timing_cache_file
    from edgefr.runtimes.engine_file import EngineKey, Target

    target = Target("tensorrt", "10.3.0", "Orin SM87", "540.4.0")
    key = EngineKey("ab" * 32, "fp16", target, "as ever")
    root = Path("cache")
    return {
        "engine": str(engine_folder(root, "a model (1)", key)),
        "timings": str(timing_cache_file(root, target)),
        "elsewhere": EngineKey("ab" * 32, "int8", Target("openvino", "2026.1", "any")).digest(),
    }


def _stage() -> str:
    """The key of a stage of two processes, from what it is made; paths do not count."""
    from contextlib import ExitStack
    from dataclasses import asdict

    from edgefr.training.common.parallel import World
    from edgefr.training.common.progress import no_progress
    from edgefr.training.common.recipes import AugmentationConfig, CompositeConfig, DataConfig, Schedule
    from edgefr.training.common.stages import Stages

    asked = [
        asdict(part) for part in (DataConfig(Path("faces")), CompositeConfig(), Schedule(steps=3), AugmentationConfig())
    ]
    with ExitStack() as stack:
        stages = Stages(Path("runs"), "name", 5, no_progress, World(rank=1, size=2))
        return stages.open("A stage", asked, stack)({}, [], Schedule(steps=3), 8).key


def _tensors() -> dict[str, str]:
    """Names and shapes of the tensors of every net, by which checkpoints are known."""
    import torch

    from edgefr.nn.architectures import ARCHITECTURES, build_backbone
    from edgefr.nn.bottleneck import Bottleneck
    from edgefr.nn.fusion import EmbeddingMlp, Fusion
    from edgefr.nn.margin_heads import build_head
    from edgefr.nn.spot_network import Spot
    from edgefr.spec import FusionSpec

    specs = {
        "full": FusionSpec(),
        "inside": FusionSpec(
            project="inside", positions="learned", readout="mean", skip="embeddings", embedding_dim=1024
        ),
        "fold": FusionSpec(project="fold", positions="sincos", global_branch=False, vib=False, depth=2),
        "global": FusionSpec(local_branch=False, kv="split"),
    }
    heads = ("softmax", "sphereface", "cosface", "arcface", "adaface", "curricularface", "magface")
    with torch.device("meta"):
        nets: dict[str, torch.nn.Module] = {arch: build_backbone(arch) for arch in ARCHITECTURES}
        nets |= {f"fusion {name}": Fusion(spec, 512) for name, spec in specs.items()}
        nets |= {f"head {name}": build_head(name, 8, 3) for name in heads}
        nets |= {"spot": Spot(), "mlp": EmbeddingMlp(1024)}
    for name, spec in specs.items():
        nets[f"bottleneck {name}"] = Bottleneck(spec, 64, (512, 512))
    found = {}
    for name, net in nets.items():
        lines = [f"{key} {tuple(value.shape)} {value.dtype}" for key, value in net.state_dict().items()]
        found[name] = f"{len(lines)} {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}"
    return found
