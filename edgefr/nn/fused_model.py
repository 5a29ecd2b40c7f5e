"""The fused model (two frozen backbones, fusion and bottleneck) and its file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from edgefr.errors import EdgefrError, WrongModelError
from edgefr.io.files import atomic_write
from edgefr.nn.architectures import build_backbone
from edgefr.nn.backbone import Backbone
from edgefr.nn.bottleneck import Bottleneck, Code
from edgefr.nn.fusion import EmbeddingMlp, Fusion, map_adapter
from edgefr.nn.graph_backbone import GRAPH_ARCH, GraphBackbone
from edgefr.spec import ModelSpec
from edgefr.types import METADATA_KEY


class BackboneFeatures(NamedTuple):
    """Output of both frozen backbones: maps (B, C_a, 7, 7) and (B, C_b, 7, 7), concatenated unit embeddings (B, D)."""

    map_a: Tensor
    map_b: Tensor
    embeddings: Tensor


class Output(NamedTuple):
    """Output of the model: `embedding` (B, K) of unit length, `norm` (B,) of mu, `uncertainty` (B,), the mean
    log-variance of the code."""

    embedding: Tensor
    norm: Tensor
    uncertainty: Tensor | None


class FusedModel(nn.Module):
    """Two backbones, fusion and bottleneck (arXiv 2309.13137, Fig. 1)."""

    def __init__(self, spec: ModelSpec, backbone_a: Backbone, backbone_b: Backbone) -> None:
        """Freeze two backbones and add a new fusion.

        Args:
            spec: The choices of the model.
            backbone_a: First backbone.
            backbone_b: Second backbone.

        Raises:
            EdgefrError: The backbones or the options of the fusion do not fit together.
        """
        super().__init__()
        self.spec = spec
        self.backbone_a = backbone_a
        self.backbone_b = backbone_b
        for backbone in (backbone_a, backbone_b):
            backbone.tap = spec.fusion.tap
            backbone.requires_grad_(False)
        dims = backbone_a.embedding_dim, backbone_b.embedding_dim
        self.fusion = EmbeddingMlp(sum(dims)) if spec.fusion.body == "mlp" else _fusion_of(spec, backbone_a, backbone_b)
        self.bottleneck = Bottleneck(spec.fusion, self.fusion.width, dims)

    @classmethod
    def random(cls, spec: ModelSpec) -> FusedModel:
        """A model with random weights in eval mode, for counting, timing and tests."""
        return cls(spec, build_backbone(spec.arch_a), build_backbone(spec.arch_b)).eval()

    def train(self, mode: bool = True) -> FusedModel:
        """Set the mode of fusion and bottleneck; the frozen backbones stay in eval mode."""
        super().train(mode)
        self.backbone_a.eval()
        self.backbone_b.eval()
        return self

    def backbone_features(self, image: Tensor) -> BackboneFeatures:
        """(B, 3, 112, 112) RGB in [-1, 1] -> maps (B, C_a, 7, 7), (B, C_b, 7, 7) and embeddings (B, D)."""
        a, b = self.backbone_a(image), self.backbone_b(image)
        embeddings = torch.cat([F.normalize(a.embedding), F.normalize(b.embedding)], 1)  # (B, D)
        return BackboneFeatures(a.map, b.map, embeddings)

    def encode(self, features: BackboneFeatures) -> Code:
        """Features of B faces -> the code, mu and logvar (B, K)."""
        fused = self.fusion(features.map_a, features.map_b, features.embeddings)
        code: Code = self.bottleneck(fused, features.embeddings)
        return code

    def forward(self, image: Tensor) -> Output:
        """uint8 (B, 112, 112, 3) RGB -> embedding (B, K), norm (B,), uncertainty (B,); faces are compared by cosine."""
        return self.output(self.backbone_features(normalise(image)))

    def output(self, features: BackboneFeatures) -> Output:
        """Features of B faces -> embedding (B, K), norm (B,), uncertainty (B,)."""
        mu, logvar = self.encode(features)
        uncertainty = None if logvar is None else logvar.mean(1)
        norm = mu.norm(dim=1)
        return Output(mu / norm.clamp_min(1e-12).unsqueeze(1), norm, uncertainty)


def _fusion_of(spec: ModelSpec, *backbones: Backbone) -> Fusion:
    """The fusion, with as many channels as the wider map."""
    channels = max(backbone.map_channels for backbone in backbones)
    return Fusion(spec.fusion, channels, *(map_adapter(backbone, channels) for backbone in backbones))


def normalise(image: Tensor) -> Tensor:
    """uint8 (B, 112, 112, 3) -> float (B, 3, 112, 112) in [-1, 1]: p / 127.5 - 1."""
    return image.permute(0, 3, 1, 2).float() / 127.5 - 1


def save_fused(model: FusedModel, path: Path) -> None:
    """Write weights and description as one safetensors file."""
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    header = {METADATA_KEY: json.dumps(asdict(model.spec))}
    with atomic_write(path) as temporary:
        save_file(weights, temporary, header)


def is_fused(path: Path) -> bool:
    """Whether a file was written by `save_fused`."""
    try:
        with safe_open(path, "pt") as file:
            return METADATA_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def load_fused(path: Path) -> FusedModel:
    """Load a fused checkpoint.

    Args:
        path: A file that `save_fused` wrote.

    Returns:
        The model in eval mode.

    Raises:
        EdgefrError: The file is missing, damaged, not a fused checkpoint, or has missing or extra tensors.
        WrongModelError: A weight is NaN or infinite.
    """
    if not path.is_file():
        raise EdgefrError(f"a fused checkpoint at {path}", "no file", "make one with `edgefr train`")
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(METADATA_KEY)
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise EdgefrError(
            f"a fused checkpoint in {path}",
            f"a file that is not safetensors ({error})",
            "make it again with `edgefr train`",
        ) from error
    if header is None:
        raise WrongModelError(
            f"a fused checkpoint in {path}",
            "safetensors without edgefr's description",
            "if it is a backbone, name it in [a] or [b] of a recipe (train/README.md)",
        )
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise WrongModelError(f"finite weights in {path}", f"NaN or infinity in {name}", "train the model again")
    spec = _read_spec(header, path)
    a, b = (_empty_backbone(arch, state.get(f"{seat}.graph"), path) for arch, seat in _seats(spec))
    model = FusedModel(spec, a, b).eval()
    load_strictly(model, state, str(path))
    return model


def _seats(spec: ModelSpec) -> tuple[tuple[str, str], tuple[str, str]]:
    return (spec.arch_a, "backbone_a"), (spec.arch_b, "backbone_b")


def _empty_backbone(arch: str, graph: Tensor | None, path: Path) -> Backbone:
    """A backbone whose weights are loaded afterwards; the graph of one that is an ONNX graph says its shapes."""
    if arch != GRAPH_ARCH:
        return build_backbone(arch)
    if graph is None or graph.dtype != torch.uint8 or graph.ndim != 1:
        raise WrongModelError(f"the ONNX graph of a backbone in {path}", "none", "train the model again")
    return GraphBackbone(graph)


def _read_spec(header: str, path: Path) -> ModelSpec:
    try:
        raw = json.loads(header)
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        raise EdgefrError(
            f"edgefr's description in {path}", "other text", "make the checkpoint again with `edgefr train`"
        )
    return ModelSpec.from_dict(raw, str(path))


def load_strictly(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load a state dict with a short error instead of torch's list.

    Args:
        module: Receives the tensors.
        state: The tensors by name.
        source: Name of the file for messages.

    Raises:
        WrongModelError: Tensors are missing, left over or of another shape.
    """
    wanted = module.state_dict()
    faults = {
        "missing": sorted(wanted.keys() - state.keys()),
        "extra": sorted(state.keys() - wanted.keys()),
        "of another shape": sorted(
            key for key in wanted.keys() & state.keys() if wanted[key].shape != state[key].shape
        ),
    }
    found = [f"{len(keys)} {fault} ({', '.join(keys[:2])})" for fault, keys in faults.items() if keys]
    if found:
        raise WrongModelError(
            f"the {len(wanted)} tensors of {type(module).__name__} in {source}",
            " and ".join(found),
            "give a checkpoint of this architecture",
        )
    module.load_state_dict(state, strict=True)
