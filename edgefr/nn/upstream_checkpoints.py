"""Loading backbones as their upstream repositories publish them.

Understood: arcface_torch (`backbone.pth`, `model.pt`, resume files), AdaFace Lightning `.ckpt`, CVLFace
`model.pt` and `model.safetensors`, foamliu's MobileFaceNet. Colour order is settled here, in the first
convolution's weights: every loaded backbone takes RGB.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from edgefr.errors import EdgefrError
from edgefr.nn.architectures import ARCHITECTURES, build_backbone
from edgefr.nn.backbone import Backbone
from edgefr.nn.fused_model import load_strictly
from edgefr.nn.torch_unpickler import load_torch_file

Colour = Literal["rgb", "bgr"]

CVLFACE_PREFIXES = ("model.net.", "net.")
PREFIXES = (*CVLFACE_PREFIXES, "model.", "module.", "backbone.")
CONTAINERS = ("state_dict_backbone", "state_dict", "model", "backbone")
"""Where a state dict lies when the file holds more: arcface_torch's resume files, Lightning, others."""


def backbone_from_checkpoint(path: Path, arch: str | None = None, colour: Colour | None = None) -> Backbone:
    """A backbone in eval mode that takes RGB in [-1, 1].

    `arch` is found from the tensors' names and shapes unless given. `colour` is what the weights were trained
    on; unless given it is what CVLFace's `model.yaml` beside the file says (RGB where it says nothing), BGR
    for AdaFace's own files, RGB for all others.

    Raises:
        EdgefrError: the file is missing, damaged, hostile, of an unknown architecture, or has missing or
            extra tensors.
    """
    prefix, state = _bare_state(_read(path), path)
    arch = arch or _arch_of(state, path)
    backbone = build_backbone(arch)
    for key, value in backbone.state_dict().items():
        if key.endswith("num_batches_tracked"):  # files of old torch versions lack these counters
            state.setdefault(key, value)
    load_strictly(backbone, state, str(path))
    if (colour or _colour_of(arch, prefix, path)) == "bgr":
        first = backbone.get_parameter(backbone.first_conv)
        first.data = first.data.flip(1)  # (out, 3, 3, 3): reversed input channels
    return backbone.requires_grad_(False)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise EdgefrError(f"a backbone checkpoint at {path}", "no file", "check the path in the recipe")
    if path.suffix != ".safetensors":
        return load_torch_file(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise EdgefrError(f"safetensors in {path}", f"something else ({error})", "get the file again") from error


def _bare_state(content: Any, path: Path) -> tuple[str, dict[str, Tensor]]:
    """The tensors of the net under their bare names, and the prefix they had."""
    for container in CONTAINERS:
        if isinstance(content, dict) and isinstance(content.get(container), dict):
            content = content[container]
            break
    if not isinstance(content, dict):
        raise EdgefrError(
            f"a state dict in {path}", str(type(content).__name__), "save `net.state_dict()` where the file comes from"
        )
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    for prefix in PREFIXES:
        bare = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
        if bare:  # what has no prefix beside it (AdaFace's `head.kernel`) belongs to the training head
            return prefix, bare
    return "", {key: value for key, value in tensors.items() if not key.startswith("head.")}


def _arch_of(state: dict[str, Tensor], path: Path) -> str:
    found = _shapes(state)
    for arch, build in ARCHITECTURES.items():
        with torch.device("meta"):
            if _shapes(build().state_dict()) == found:
                return arch
    raise EdgefrError(
        f"the tensors of one of {', '.join(ARCHITECTURES)} in {path}",
        f"{len(found)} others",
        "name the architecture (--arch, or arch in the recipe) to see which are missing or extra",
    )


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")}


def _colour_of(arch: str, prefix: str, path: Path) -> Colour:
    if prefix in CVLFACE_PREFIXES:
        description = path.with_name("model.yaml")
        text = description.read_text(encoding="utf-8", errors="replace") if description.is_file() else ""
        return "bgr" if re.search(r"^\s*color_space:\s*['\"]?BGR", text, re.MULTILINE) else "rgb"
    return "bgr" if arch.startswith("ir_") else "rgb"
