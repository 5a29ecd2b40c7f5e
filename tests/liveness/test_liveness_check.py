"""Liveness nets of several makers: what goes in, what comes out, and which files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

from edgefr.detection.base import Face
from edgefr.errors import EdgefrError, InvalidArgumentError, WrongModelError
from edgefr.liveness.liveness_check import Liveness, LivenessCheck
from edgefr.manifest import Manifest, write_manifest
from edgefr.types import TEMPLATE, Image
from tests.liveness.nets import mean_net

FACE = Face((20, 20, 40, 40), TEMPLATE, 0.9)
UNIT = {"scale": 2.0, "std": 255.0}


def picture(*colour: int) -> Image:
    return np.full((100, 100, 3), colour, np.uint8)


@pytest.mark.parametrize(("colour", "red", "blue"), [("rgb", 1.0, 0.0), ("bgr", 0.0, 1.0)])
def test_channels_are_given_in_the_order_of_the_net(tmp_path: Path, colour: str, red: float, blue: float) -> None:
    check = LivenessCheck([mean_net(tmp_path / "net.onnx", UNIT | {"colour": colour})])
    assert check.check(picture(255, 0, 0), FACE).score == pytest.approx(red, abs=1e-3)
    assert check.check(picture(0, 0, 255), FACE).score == pytest.approx(blue, abs=1e-3)


def test_pixels_are_normalised_and_probabilities_are_taken_as_they_are(tmp_path: Path) -> None:
    spec = {"scale": 2.0, "colour": "rgb", "mean": 55.0, "std": 200.0}
    check = LivenessCheck([mean_net(tmp_path / "net.onnx", spec, logits=False)])
    assert check.check(picture(155, 0, 0), FACE).score == pytest.approx(0.5, abs=1e-3)


def test_another_class_can_stand_for_a_living_face(tmp_path: Path) -> None:
    net = mean_net(tmp_path / "net.onnx", UNIT | {"colour": "rgb", "live": 0}, logits=False)
    assert LivenessCheck([net]).check(picture(51, 0, 0), FACE).score == pytest.approx(0.8, abs=1e-3)


def test_the_mean_of_several_nets_decides(tmp_path: Path) -> None:
    red = mean_net(tmp_path / "red.onnx", UNIT | {"colour": "rgb"}, logits=False)
    green = mean_net(tmp_path / "green.onnx", UNIT | {"colour": "rgb"}, channel=1, logits=False)
    found = LivenessCheck([red, green], threshold=0.6).check(picture(255, 0, 0), FACE)
    assert found.score == pytest.approx(0.5, abs=1e-3)
    assert not found.live
    assert LivenessCheck([red, green], threshold=0.4).check(picture(255, 0, 0), FACE).live


def test_the_window_of_a_net_has_its_scale(tmp_path: Path) -> None:
    """Everything outside the box is red, so a larger window has more of it."""
    image = picture(255, 0, 0)
    image[20:60, 20:60] = 0
    shares = []
    for scale in (1.0, 2.0):
        spec = {"scale": scale, "colour": "rgb", "std": 255.0}
        net = mean_net(tmp_path / f"scale{scale:.0f}.onnx", spec, logits=False)
        shares.append(LivenessCheck([net]).check(image, FACE).score)
    assert shares[0] < 0.1
    assert shares[1] == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (None, "a file that the catalogue does not know"),
        ({"colour": "rgb"}, "scale"),
        ({"scale": "wide"}, "scale"),
        ({"scale": 0.0}, "from 0.5 to 20, found 0"),
        ({"scale": 2.7, "colour": "grey"}, "grey"),
        ({"scale": 2.7, "std": 0.0}, "std in .* from 0.001"),
        ({"scale": 2.7, "live": 3}, "3 classes, and none of number 3. Correct `live`"),
    ],
)
def test_a_net_whose_convention_is_unknown_or_invalid_is_refused(
    tmp_path: Path, spec: dict[str, Any] | None, found: str
) -> None:
    with pytest.raises(EdgefrError, match=found):
        LivenessCheck([mean_net(tmp_path / "net.onnx", spec)])


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({}, "a manifest without the scale"),
        ({"scale": "2.7"}, "a manifest without the scale"),
        ({"scale": 1e9}, "from 0.5 to 20"),
        ({"scale": float("nan")}, "from 0.5 to 20"),
    ],
)
def test_a_manifest_without_a_usable_scale_is_refused(tmp_path: Path, spec: dict[str, Any], found: str) -> None:
    net = mean_net(tmp_path / "net.onnx", None)
    write_manifest(net, Manifest("liveness", "net", spec=spec))
    with pytest.raises(EdgefrError, match=found):
        LivenessCheck([net])


def test_a_net_of_one_number_is_refused(tmp_path: Path) -> None:
    """The softmax of one number is 1, so that every face would be a living one."""
    with pytest.raises(WrongModelError, match="an answer of one number"):
        LivenessCheck([mean_net(tmp_path / "net.onnx", UNIT | {"live": 0}, classes=1)])


def test_other_files_are_refused(tmp_path: Path) -> None:
    from edgefr.models import MINI, SPOT

    for name in (MINI, SPOT):
        with pytest.raises(EdgefrError, match="found a file of the kind"):
            LivenessCheck([name])
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(mean_net(tmp_path / "net.onnx", UNIT).read_bytes()[:200])
    torn.with_suffix(".toml").write_text((tmp_path / "net.toml").read_text())
    with pytest.raises(EdgefrError):
        LivenessCheck([torn])
    with pytest.raises(EdgefrError, match=r"found no file\. Check the path\.$"):
        LivenessCheck([tmp_path / "missing.onnx"])
    with pytest.raises(EdgefrError, match="edgefr export"):
        LivenessCheck([tmp_path / "net.pth"])


def test_a_score_that_equals_the_threshold_is_that_of_a_living_face() -> None:
    assert Liveness(0.5, 0.5).live
    assert not Liveness(0.4999, 0.5).live


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_probability(tmp_path: Path, threshold: float) -> None:
    with pytest.raises(InvalidArgumentError, match="between 0 and 1"):
        LivenessCheck([mean_net(tmp_path / "net.onnx", UNIT)], threshold)
