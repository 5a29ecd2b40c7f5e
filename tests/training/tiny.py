"""The smallest nets, faces and recipe for training; `python -m tests.training.tiny` is edgefr with these nets."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgefr.io.toml_dataclass import read_toml
from edgefr.nn.architectures import ARCHITECTURES
from edgefr.nn.backbone import Backbone, BackboneOutput, batch_norm
from edgefr.nn.fusion import EmbeddingMlp
from edgefr.training.common import loop
from edgefr.training.common.recipes import FusionRecipe

PEOPLE = 124
"""With two pictures each: just enough impostor pairs for the threshold."""

MLP_WIDTH = 32


class TinyNet(Backbone):
    """One convolution over 7x7 coarse pixels, and a linear layer."""

    first_conv = "conv.weight"
    embedding_dim = 8

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 512, 3, padding=1, bias=False)
        self.bn = batch_norm(512)
        self.fc = nn.Linear(512 * 49, self.embedding_dim)

    def forward(self, image: torch.Tensor) -> BackboneOutput:
        conv = self.conv(F.avg_pool2d(image, 16))
        bn = self.bn(conv)
        return BackboneOutput(self.tapped(conv, bn), self.fc(bn.flatten(1)))


class WideNet(TinyNet):
    """With a longer embedding."""

    embedding_dim = 300


NETS: dict[str, Callable[[], Backbone]] = {"tiny": TinyNet, "wide": WideNet}


def write_faces(path: Path, people: int = PEOPLE) -> Path:
    """A zip of two pictures of each of so many people, who look alike in coarse colours."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for person in range(people):
            colours = rng.integers(0, 256, (5, 5, 3))
            for picture in range(2):
                small = np.clip(colours + rng.integers(-20, 21, colours.shape), 0, 255).astype(np.uint8)
                face = cv2.resize(small, (112, 112), interpolation=cv2.INTER_LINEAR)
                archive.writestr(f"p{person:03d}/{picture}.png", cv2.imencode(".png", face)[1].tobytes())
    return path


def write_weights(path: Path, seed: int, arch: str = "tiny") -> Path:
    torch.manual_seed(seed)
    torch.save(NETS[arch]().state_dict(), path)
    return path


def write_recipe(folder: Path, faces: Path) -> Path:
    """Two tiny nets and an MLP; tests add the stages."""
    weights = [write_weights(folder / f"{seat}.pt", seed) for seed, seat in enumerate("ab")]
    path = folder / "tiny.toml"
    path.write_text(f"""
name = "tiny"
seed = 5
runs = '{folder / "runs"}'
[data]
faces = '{faces}'
[views]
variants = 2
[a]
checkpoint = '{weights[0]}'
arch = "tiny"
loss = "arcface"
[b]
checkpoint = '{weights[1]}'
arch = "tiny"
loss = "adaface"
[fusion]
body = "mlp"
embedding_dim = 16
skip = "embeddings"
""")
    return path


def tiny_recipe(folder: Path, faces: Path, *settings: str) -> FusionRecipe:
    return read_toml(FusionRecipe, write_recipe(folder, faces), settings)


def stopping(title: str, images: int) -> Callable[[str, int], AbstractContextManager[Callable[[int], None]]]:
    """A progress that is interrupted, as by Ctrl-C, where the bar of this title comes to so many images."""

    @contextmanager
    def progress(name: str, _total: int) -> Iterator[Callable[[int], None]]:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if name.startswith(title) and done >= images:
                raise KeyboardInterrupt

        yield advance

    return progress


def use() -> None:
    """Make the nets known to this process."""
    ARCHITECTURES.update(NETS)
    EmbeddingMlp.width = MLP_WIDTH


if __name__ == "__main__":
    from edgefr.cli import main, train

    use()
    torch.set_num_threads(1)
    if stop := os.environ.get("TINY_STOP"):  # TITLE/IMAGES
        title, images = stop.split("/")
        loop.SAVE_SECONDS = 0.0
        train.progress = stopping(title, int(images))
    main()
