"""The detector's network: what each of its places says, and what that means in pixels."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgefr.nn.spot_network import Spot, SpotContract, anchor_points, decode  # noqa: E402


@pytest.fixture(scope="module")
def net() -> Spot:
    torch.manual_seed(0)
    return Spot().eval()


def test_it_is_small(net: Spot) -> None:
    assert sum(parameter.numel() for parameter in net.parameters()) < 500_000


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (320, 128)])
def test_every_anchor_point_has_a_prediction_at_any_size(net: Spot, height: int, width: int) -> None:
    with torch.no_grad():
        answers = net(torch.zeros(2, 3, height, width))
    grid = anchor_points(height, width)
    assert answers.shape == (2, len(grid), 15)
    assert len(grid) == sum(height * width // stride**2 for stride in (8, 16, 32))


def test_places_are_the_centres_of_their_squares() -> None:
    grid = anchor_points(64, 96).numpy()
    finest = grid[grid[:, 2] == 8]
    assert finest[0].tolist() == [4, 4, 8]
    assert finest[13].tolist() == [12, 12, 8]  # 12 squares in a row
    assert grid[grid[:, 2] == 32].tolist() == [[x, y, 32] for y in (16, 48) for x in (16, 48, 80)]


def test_offsets_are_in_strides_from_the_anchor_point() -> None:
    answer = torch.tensor([[0.5, -1, np.log(2), np.log(3), 1, 0, 0, 1, -1, 0, 0, -1, 2, 2, -0.7]], dtype=torch.float32)
    row = decode(answer[None], torch.tensor([[48.0, 80.0, 32.0]]))[0, 0]
    box, points, logit = row[:4], row[4:14].reshape(5, 2), row[14]
    assert box.tolist() == pytest.approx([64 - 32, 48 - 48, 64, 96])
    assert points.tolist() == [[80, 80], [48, 112], [16, 80], [48, 48], [112, 144]]
    assert logit == pytest.approx(-0.7)


def test_distant_pixels_do_not_change_a_fine_anchor_point(net: Spot) -> None:
    """Rows and columns are not exchanged on the way: a change at the right moves answers at the right."""
    picture = torch.rand(1, 64, 1024, 3).mul(255).byte()
    changed = picture.clone()
    changed[:, :, 960:] = 0
    with torch.no_grad():
        before, after = (SpotContract(net)(image) for image in (picture, changed))
    x = anchor_points(64, 1024)[:, 0]
    moved = (before - after).abs().amax(1)
    assert moved[x > 960].min() > 0
    assert moved[x < 300].max() < 1e-4


def test_an_untrained_net_sees_no_face(net: Spot) -> None:
    picture = torch.randint(0, 256, (1, 96, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        faces = SpotContract(net)(picture)
    assert faces[:, 14].max() < 0.3
    assert torch.isfinite(faces).all()
