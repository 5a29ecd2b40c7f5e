"""`edgefr data attack` and `edgefr eval --attack`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("skimage")
pytest.importorskip("onnx")

from skimage import data

from edgefr.liveness.liveness_net import LivenessNet
from tests.liveness.nets import mean_net

PHOTO = data.astronaut()


def test_attacks_are_made_and_measured(edgefr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A net that takes a bright ground for paper: the photographs have a dark one."""
    for person in ("Ada", "Grace"):
        (tmp_path / "living" / person).mkdir(parents=True)
        picture = cv2.cvtColor(PHOTO if person == "Ada" else np.ascontiguousarray(PHOTO[:, ::-1]), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(tmp_path / "living" / person / "1.jpg"), picture)
    (tmp_path / "living" / "Nobody").mkdir()
    cv2.imwrite(str(tmp_path / "living" / "Nobody" / "1.jpg"), np.full((200, 200, 3), 90, np.uint8))
    attacks = tmp_path / "attacks"
    made = edgefr("data", "attack", tmp_path / "living", "-o", attacks, "--json")
    assert made.json["pictures"] == 4
    assert [entry["name"] for entry in made.json["left_out"]] == ["Nobody/1.jpg"]
    assert sorted(path.relative_to(attacks).as_posix() for path in attacks.rglob("*.png")) == [
        f"{species}/{person}/1.png" for species in ("print", "screen") for person in ("Ada", "Grace")
    ]
    net = mean_net(tmp_path / "net.onnx", {"scale": 1.0, "std": 255.0}, logits=False)
    found = edgefr("eval", net, tmp_path / "living", "--attack", attacks, "--json").json
    (row,) = found["nets"]
    assert row["pictures"] == {"bona fide": 2, "print": 2, "screen": 2}
    assert row["without_face"]["bona fide"] == 1
    assert set(row["usual"]["apcer"]) == {"print", "screen"}
    scored, score = [], LivenessNet.score
    monkeypatch.setattr(LivenessNet, "score", lambda *given: scored.append(given[0]) or score(*given))
    both = edgefr("eval", net, tmp_path / "living", "--attack", attacks, "--beside", net)
    assert "net.onnx + net.onnx" in both.out
    assert len(scored) == 2 * 6, "each of the two nets scores each of the six faces once"
    assert "say little about real ones" in both.out
    assert "BPCER" in both.out
    again = edgefr("data", "attack", tmp_path / "living", "-o", attacks)
    assert "expected a new folder" in again.sentence


def test_attacks_without_species_are_refused(edgefr, tmp_path: Path) -> None:
    (tmp_path / "living" / "Ada").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "living" / "Ada" / "1.jpg"), cv2.cvtColor(PHOTO, cv2.COLOR_RGB2BGR))
    net = mean_net(tmp_path / "net.onnx", {"scale": 1.0, "std": 255.0})
    refused = edgefr("eval", net, tmp_path / "living", "--attack", tmp_path / "living")
    assert "attacks as SPECIES/Name/picture.jpg" in refused.sentence


@pytest.mark.parametrize("option", [("--html", "report.html"), ("--limit", "9"), ("--runtime", "openvino")])
def test_options_that_change_nothing_for_a_liveness_net_are_refused(edgefr, tmp_path: Path, option) -> None:
    """A report that was asked for and is not written would be missed late."""
    net = mean_net(tmp_path / "net.onnx", {"scale": 1.0, "std": 255.0})
    refused = edgefr("eval", net, tmp_path, "--attack", tmp_path, *option)
    assert "found options for a recogniser" in refused.sentence
