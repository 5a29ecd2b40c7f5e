"""The description of a recognition network: its backbones and the fusion between them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from edgefr.errors import EdgefrError, InvalidArgumentError


@dataclass(frozen=True)
class FusionSpec:
    """The options of the fusion network. The defaults are the paper's full model (arXiv 2309.13137).

    Where the paper leaves a choice open, several readings are available.

    Attributes:
        body: `transformers`, the paper's two over the feature maps, or `mlp` on both embeddings, for comparison.
        embedding_dim: Length K of the fused embedding.
        local_branch: Whether there is a local transformer.
        global_branch: Whether there is a global transformer.
        vib: Whether there is a variational information bottleneck.
        tap: Feature map after the trunk's last BatchNorm (`bn`) or before it (`conv`).
        project: How the local block turns the channels of both maps into those of one: by a Conv1x1 `after` the
            block, by the block's own last Conv1x1 (`inside`, with a Conv1x1 shortcut as in ResNet), or by the sum of
            both halves (`fold`).
        positions: Position codes of the 49 local tokens.
        kv: The map that keys and values come from: that of the other net than the query's (`cross`), that of the same
            net (`self`), or keys from the same net and values from the other (`split`).
        readout: All tokens (`flatten`), or the mean of the local tokens with both global rows (`mean`).
        skip: `embeddings` adds a linear path from the embeddings of the backbones to mu, an extension of ours.
        depth: Number of transformer layers.
        heads: Number of attention heads.
        ffn: Width of the feed-forward layers.
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
        for name, kind in get_type_hints(FusionSpec).items():
            value, allowed = getattr(self, name), get_args(kind)
            if allowed and value not in allowed:
                raise InvalidArgumentError(
                    f"fusion.{name} to be one of {', '.join(allowed)}", f"{value!r}", "correct the recipe"
                )
            if kind is int and (type(value) is not int or value < 1):
                raise InvalidArgumentError(
                    f"fusion.{name} to be a positive whole number", f"{value!r}", "correct the recipe"
                )
        if not (self.local_branch or self.global_branch):
            raise InvalidArgumentError(
                "fusion.local_branch or fusion.global_branch to be on", "both off", "correct the recipe"
            )


@dataclass(frozen=True)
class ModelSpec:
    """A fused model.

    Attributes:
        arch_a: Architecture of backbone A, a name of `nn.architectures`.
        arch_b: Architecture of backbone B.
        loss_a: Loss that backbone A was trained with.
        loss_b: Loss that backbone B was trained with.
        fusion: The network that fuses them.
    """

    arch_a: str
    arch_b: str
    loss_a: str = "arcface"
    loss_b: str = "adaface"
    fusion: FusionSpec = FusionSpec()

    def to_dict(self) -> dict[str, Any]:
        """The description as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any], source: str) -> ModelSpec:
        """Read what `to_dict` returned; `source` is the file it comes from, for messages.

        Raises:
            EdgefrError: A field is unknown, missing or out of range.
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
