"""A detector's exported graph is weights again: the same answers, and normalised as training will."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("skimage")

from safetensors.torch import save_file  # noqa: E402

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.export.onnx_from_detector import onnx_from_spot  # noqa: E402
from edgefr.models import MINI, SPOT, shipped_model  # noqa: E402
from edgefr.nn.spot_network import Spot  # noqa: E402
from edgefr.training.common.parallel import World  # noqa: E402
from edgefr.training.detector.warm_start import unfold_batchnorm  # noqa: E402


def pictures() -> list[torch.Tensor]:
    rng = np.random.default_rng(3)
    return [torch.from_numpy(rng.integers(0, 256, (4, 3, 64, 96))).float() for _ in range(3)]


def taught() -> Spot:
    """A net whose every weight and statistic is some other than a new one's."""
    torch.manual_seed(1)
    net = Spot()
    for name, value in net.state_dict().items():
        if "running_var" in name or name.endswith(("bn1.weight", "bn2.weight")):
            value.uniform_(0.4, 1.6)
        elif "running_mean" in name or name.endswith("bias"):
            value.add_(0.1 * torch.randn_like(value))
    return net.eval()


def test_the_graph_of_a_net_is_that_net_again(tmp_path: Path) -> None:
    net = taught()
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    graph = onnx_from_spot(tmp_path / "net.safetensors", tmp_path / "net.onnx").path
    again = unfold_batchnorm(graph, pictures(), World())
    batch = pictures()[0]
    with torch.no_grad():
        torch.testing.assert_close(again(batch), net(batch), rtol=1e-3, atol=1e-3)


def test_it_is_normalised_by_the_pictures_and_its_weights_are_as_large_as_new_ones() -> None:
    batch = pictures()[0]
    net = unfold_batchnorm(shipped_model(SPOT), [batch], World())
    with torch.no_grad():
        calm, learning = net(batch), net.train()(batch)
    torch.testing.assert_close(learning, calm, rtol=0.01, atol=0.05)
    for mine, new in zip(net.modules(), Spot().modules(), strict=True):
        if isinstance(new, torch.nn.Conv2d) and new.bias is None:  # BatchNorm follows
            assert size_of(mine) == pytest.approx(size_of(new), rel=0.2)


def size_of(conv: torch.nn.Module) -> float:
    return float(conv.get_parameter("weight").detach().square().mean().sqrt())


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match="expected the graph of a detector"):
        unfold_batchnorm(shipped_model(MINI), pictures(), World())
    (tmp_path / "text.onnx").write_text("not a graph")
    for path in (tmp_path / "text.onnx", tmp_path / "none.onnx"):
        with pytest.raises(EdgefrError, match="expected an ONNX file"):
            unfold_batchnorm(path, pictures(), World())
