"""The refiner: it moves nothing at first, learns from fine maps and from the other points, and fits older weights."""

import torch

from flcourse.points import N_POINTS
from flcourse.training.heatmaps import Landmarks
from flcourse.training.losses import heatmap_loss
from flcourse.training.refiner import PointRefiner
from flcourse.training.warm_start import with_refiner
from flcourse.training.xception import HeatmapHead, Xception


@torch.inference_mode()
def test_it_moves_nothing_until_it_is_trained():
    plain, refined = Xception(width=0.05).eval(), Xception(width=0.05, refine=True).eval()
    refined.load_state_dict(with_refiner(plain.state_dict(), refined))
    x = torch.randn(2, 1, 48, 48)
    before, after = plain(x), refined(x)
    assert before.first01 is None and after.first01 is not None
    assert torch.equal(after.points01, before.points01) and torch.equal(after.first01, before.points01)
    assert plain.load_state_dict(with_refiner(refined.state_dict(), plain))  # and back
    again = with_refiner(refined.state_dict(), Xception(width=0.05, refine=True))
    assert all(torch.equal(value, again[name]) for name, value in refined.state_dict().items())  # its own is kept


def blobs(points: torch.Tensor, cells: int, sigma: float) -> torch.Tensor:
    """One Gaussian, `sigma` cells wide, about each of N x 68 points: (N, 68, cells, cells), the highest value 0."""
    at = (torch.arange(cells) + 0.5) / cells
    x, y = (cells * (at - points[..., k, None]) for k in (0, 1))
    return -(x[..., None, :] ** 2 + y[..., :, None] ** 2) / (2 * sigma**2)


def fitted(make, steps: int = 150) -> tuple[float, float]:
    """Mean errors, in parts of the crop, before and after a refiner that was trained on `make(n)` moves other points.

    `make` returns found points (N, 68, 2), true ones, and the one of the three maps that says anything.
    """
    torch.manual_seed(0)
    refiner = PointRefiner((1, 1, 1))
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=2e-3)

    def look(n):
        found, true, fine = make(n)
        maps = fine, torch.zeros(n, 1, 8, 8), torch.zeros(n, 1, 8, 8)
        return refiner(Landmarks(found, blobs(found, 8, 1.0)), maps), true

    for _ in range(steps):
        output, true = look(16)
        loss = (output.points01 - true).norm(dim=2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        output, true = look(64)
        return tuple(float((points - true).norm(dim=2).mean()) for points in (output.first01, output.points01))


def test_it_sees_fine_maps_around_each_point():
    """The points are off, each on its own; only the map, bright at the true points, tells where they are."""
    rows = torch.cartesian_prod(torch.arange(9), torch.arange(8))[:N_POINTS] / 9 + 0.08  # far from each other

    def make(n):
        true = rows.expand(n, N_POINTS, 2)
        found = true + 0.02 * torch.randn(n, N_POINTS, 2)
        return found, true, blobs(true, 64, 2.0).exp().amax(dim=1, keepdim=True)

    before, after = fitted(make)
    assert after < 0.6 * before


def test_points_that_are_seen_place_those_that_are_not():
    """Faces of one shape, moved as a whole. A third was found anywhere: the others tell where."""
    shape = torch.rand(N_POINTS, 2, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.25

    def make(n):
        true = shape + 0.1 * torch.randn(n, 1, 2)
        lost = torch.arange(N_POINTS) % 3 == 0
        return true + 0.15 * torch.randn(n, N_POINTS, 2) * lost[:, None], true, torch.zeros(n, 1, 64, 64)

    before, after = fitted(make)
    assert after < 0.5 * before


def test_both_answers_are_trained():
    """The loss's gradient reaches the maps by the moved points and by their own means."""
    network = Xception(width=0.05, refine=True)
    output = network(torch.randn(2, 1, 48, 48))
    true = torch.rand(2, N_POINTS, 2)
    loss = heatmap_loss(output, true)
    plain = heatmap_loss(Landmarks(output.points01, output.logits), true)
    assert loss > plain
    loss.backward()
    assert all(p.grad is not None for p in network.refiner.parameters())
    assert isinstance(network.head, HeatmapHead) and network.head.maps.weight.grad.abs().max() > 0
