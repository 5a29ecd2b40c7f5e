"""The choices that make up a recognition network: its backbones and the fusion between them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from edgefr.errors import EdgefrError


@dataclass(frozen=True)
class FusionSpec:
    """Every choice of the fusion network; the defaults are the paper's full model (arXiv 2309.13137).

    Where the paper is silent several readings are reachable:
    `body`: the paper's two transformers over the feature maps, or, to compare with, an `mlp` on both embeddings.
    `tap`: feature map after the trunk's last BatchNorm (`bn`) or before it (`conv`).
    `project`: how both maps' channels in the local block become those of one - a Conv1x1 `after` the block, the
    block's own last Conv1x1 (`inside`, with a Conv1x1 shortcut as in ResNet), or the sum of both halves (`fold`).
    `positions`: position codes of the 49 local tokens.
    `kv`: which map keys and values come from, for a query from the other (`cross`) or the same net (`self`);
    `split` takes keys from the query's own net and values from the other.
    `readout`: all tokens (`flatten`) or the mean of the local tokens with both global rows (`mean`).
    `skip`: `embeddings` adds a linear path from the backbones' own embeddings to mu (an extension of ours).
    """

    body: Literal["transformers", "mlp"] = "transformers"
    embedding_dim: int = 512
    local_branch: bool = True
    global_branch: bool = True
    vib: bool = True
    tap: Literal["bn", "conv"] = "bn"
    project: Literal["after", "inside", "fold"] = "after"
    positions: Literal["none", "learned", "sincos"] = "none"
    kv: Literal["cross", "self", "split"] = "cross"
    readout: Literal["flatten", "mean"] = "flatten"
    skip: Literal["none", "embeddings"] = "none"
    depth: int = 1
    heads: int = 8
    ffn: int = 2048

    def __post_init__(self) -> None:
        choices = {
            "body": ("transformers", "mlp"),
            "tap": ("bn", "conv"),
            "project": ("after", "inside", "fold"),
            "positions": ("none", "learned", "sincos"),
            "kv": ("cross", "self", "split"),
            "readout": ("flatten", "mean"),
            "skip": ("none", "embeddings"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise EdgefrError(
                    f"fusion.{name} to be one of {', '.join(allowed)}", f"{getattr(self, name)!r}", "correct the recipe"
                )
        if not (self.local_branch or self.global_branch):
            raise EdgefrError("fusion.local_branch or fusion.global_branch to be on", "both off", "correct the recipe")
        for name in ("embedding_dim", "depth", "heads", "ffn"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise EdgefrError(f"fusion.{name} to be a positive whole number", f"{value!r}", "correct the recipe")


@dataclass(frozen=True)
class ModelSpec:
    """A fused model: the architectures in its two seats, how each was trained, and the fusion between them."""

    arch_a: str
    arch_b: str
    loss_a: str = "arcface"
    loss_b: str = "adaface"
    fusion: FusionSpec = FusionSpec()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any], source: str) -> ModelSpec:
        """Read what `to_dict` gave.

        Raises:
            EdgefrError: a field is unknown, missing or out of range.
        """
        known = {entry.name for entry in fields(FusionSpec)}
        fusion = raw.get("fusion", {})
        if not isinstance(fusion, dict) or set(fusion) - known:
            raise EdgefrError(
                f"the fusion options {', '.join(sorted(known))} in {source}",
                f"{fusion!r}",
                "the file was made by another version of edgefr; make it again with `edgefr train`",
            )
        try:
            return cls(**{**raw, "fusion": FusionSpec(**fusion)})
        except TypeError as error:
            raise EdgefrError(
                f"an edgefr model description in {source}", str(error), "make it again with `edgefr train`"
            ) from error
