"""Xception: the shapes of every flow, its cost, timm as oracle, and the two heads."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from flcourse.training.heatmaps import Calibration, Landmarks, confidence, log_spread, soft_argmax
from flcourse.training.nets import MLP, ConvBlock, DigitCNN, OriginalCNN, Residual, ResidualCNN
from flcourse.training.warm_start import with_exit_convolutions, with_middle_blocks, with_stem_stride
from flcourse.training.xception import SeparableConv2d, Xception, scaled


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def full() -> Xception:
    return Xception(in_channels=3, width=1.0, head="regression").eval()


def test_parameters_are_timms(full):
    oracle = timm.create_model("legacy_xception", num_classes=0)
    assert count(full) - count(full.head) == count(oracle) == 20_806_952
    # Not only the sum: the same tensors, but for how timm wraps them.
    shapes = sorted(tuple(p.shape) for name, p in full.named_parameters() if not name.startswith("head"))
    assert shapes == sorted(tuple(p.shape) for p in oracle.parameters())


@torch.inference_mode()
def test_shapes_of_every_flow(full):
    x = torch.zeros(1, 3, 299, 299)
    stem = full.entry.stem(x)
    assert stem.shape == (1, 64, 150, 150)
    one = full.entry.block1(stem)
    assert one.shape == (1, 128, 75, 75)
    assert full.entry.block2(one).shape == (1, 256, 38, 38)
    stride16, *finer = full.entry(x)
    assert stride16.shape == (1, 728, 19, 19)
    assert [maps.shape for maps in finer] == [(1, 256, 38, 38), (1, 128, 75, 75), (1, 64, 150, 150)]
    assert len(full.middle) == 8
    middle = full.middle(stride16)
    assert middle.shape == (1, 728, 19, 19)
    assert full.exit(middle).shape == (1, 2048, 10, 10)
    output = full.head(full.exit(middle), finer[0])
    assert output.points01.shape == (1, 68, 2) and output.logits is None


@torch.inference_mode()
def test_heatmap_head_keeps_stride_16_and_gives_maps_at_stride_8():
    network = Xception(width=0.25).eval()
    stride16, stride8, *_ = network.entry(torch.zeros(2, 1, 112, 112))
    features = network.exit(network.middle(stride16))
    assert features.shape == (2, 512, 7, 7)
    output = network.head(features, stride8)
    assert output.logits.shape == (2, 68, 16, 16)  # 14 and a ring
    assert output.points01.shape == (2, 68, 2) and log_spread(output).shape == (2,)


@pytest.mark.parametrize("inner, outer", [(64, 128), (728, 728)])
def test_separable_against_dense_cost(inner, outer):
    dense = count(nn.Conv2d(inner, outer, 3, bias=False))
    assert count(SeparableConv2d(inner, outer)) == 9 * inner + inner * outer
    assert count(SeparableConv2d(inner, outer)) / dense == pytest.approx(1 / outer + 1 / 9)


def test_separable_is_a_dense_convolution_of_low_rank():
    """Its 3x3 filters, written out, give the same result through a dense convolution."""
    separable = SeparableConv2d(5, 7)
    dense = nn.Conv2d(5, 7, 3, padding=1, bias=False)
    with torch.no_grad():
        dense.weight.copy_(separable.pointwise.weight * separable.depthwise.weight[:, 0])
        x = torch.randn(2, 5, 9, 8)
        assert torch.allclose(separable(x), dense(x), atol=1e-6)


@pytest.mark.parametrize("width", [0.05, 0.3, 0.5, 1.0])
def test_width_scales_channels_to_multiples_of_eight(width):
    network = Xception(width=width, head="regression")
    channels = network.head.linear.in_features
    assert channels == scaled(2048, width) and channels % 8 == 0 and abs(channels - 2048 * width) <= 4


@pytest.mark.parametrize(
    "options, message",
    [
        ({"head": "maps"}, "head='maps', expected one of regression, heatmap"),
        ({"stem_stride": 3}, "stem_stride=3, expected one of 2, 4"),
        ({"refine": True, "head": "regression"}, "refine=True, head='regression': expected head='heatmap'"),
        ({"exit_convolutions": 0}, "exit_convolutions=0, expected one of 1, 2"),
    ],
)
def test_unknown_options(options, message):
    with pytest.raises(ValueError, match=message):
        Xception(**options)


@pytest.mark.parametrize("head", ["heatmap", "regression"])
@pytest.mark.parametrize("stem_stride, exit_convolutions, blocks", [(4, 2, 2), (2, 1, 1), (4, 1, 3)])
def test_leaner_networks_give_the_same_kind_of_answer(head, stem_stride, exit_convolutions, blocks):
    options = {"middle_blocks": blocks, "stem_stride": stem_stride, "exit_convolutions": exit_convolutions}
    network = Xception(width=0.05, head=head, **options).eval()
    side = 24 * stem_stride
    output = network(torch.randn(3, 1, side, side))
    assert output.points01.shape == (3, 68, 2)
    if head == "heatmap":
        assert output.logits.shape == (3, 68, 8, 8)  # 24 / 4 cells and the ring
    last = Xception(width=0.05, head=head, middle_blocks=blocks)
    fewer = sum(p.numel() for p in network.exit.parameters()) < sum(p.numel() for p in last.exit.parameters())
    assert fewer == (exit_convolutions == 1)


@torch.inference_mode()
def test_a_larger_first_step_sees_what_the_smaller_one_saw():
    """On an image twice as large, until training teaches it to see more."""
    coarse, fine = Xception(width=0.05).eval(), Xception(width=0.05, stem_stride=4).eval()
    fine.load_state_dict(with_stem_stride(coarse.state_dict(), 4))
    x = torch.randn(2, 1, 48, 48)
    large = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.allclose(coarse(x).points01, fine(large).points01, atol=1e-5)
    assert with_stem_stride(fine.state_dict(), 4).keys() == fine.state_dict().keys()
    assert all(
        torch.equal(a, b)
        for a, b in zip(with_stem_stride(coarse.state_dict(), 2).values(), coarse.state_dict().values(), strict=True)
    )


def test_a_shorter_exit_keeps_what_comes_before_it():
    long, short = Xception(width=0.05), Xception(width=0.05, exit_convolutions=1)
    short.load_state_dict(with_exit_convolutions(long.state_dict(), short))
    own = short.state_dict()
    same = [name for name, value in long.state_dict().items() if name in own and torch.equal(own[name], value)]
    assert {name for name in own if name not in same} == {"head.up.0.weight"}
    again = with_exit_convolutions(long.state_dict(), long)
    assert again.keys() == long.state_dict().keys()


def gaussian_logits(x: float, y: float, sigma: float = 1.0) -> torch.Tensor:
    cells = torch.arange(16) - 1 + 0.5  # in cells of the crop, a ring of one
    distance = (cells[None, :] - 14 * x) ** 2 + (cells[:, None] - 14 * y) ** 2
    return (-distance / (2 * sigma**2)).expand(1, 68, 16, 16)


@pytest.mark.parametrize("x, y", [(0.5, 0.5), (0.31, 0.77), (0.2, 0.9), (0.95, 0.08)])
def test_soft_argmax_finds_a_peak_to_a_fraction_of_a_cell(x, y):
    points = soft_argmax(gaussian_logits(x, y), ring=1)
    limit = 0.05 if 0.15 < min(x, y) and max(x, y) < 0.85 else 0.4  # near the rim the maps cut the peak's flank off
    assert np.abs(14 * (points[0, 0] - torch.tensor([x, y])).numpy()).max() < limit


def test_confidence_falls_where_maps_blur_or_split():
    def of(logits: torch.Tensor) -> float:
        return confidence(Landmarks(soft_argmax(logits, 1), logits), Calibration(slope=17.6, bias=16.1)).item()

    peak, wide = gaussian_logits(0.5, 0.5), gaussian_logits(0.5, 0.5, sigma=3)
    two = torch.logaddexp(gaussian_logits(0.3, 0.5), gaussian_logits(0.7, 0.5))
    assert of(peak) > 0.9  # as sharp as training asks for
    assert max(of(wide), of(two), of(torch.zeros(1, 68, 16, 16))) < 0.01
    # The spread is the variance in x and in y together, in cells: twice 1 cell, and 2.8 cells apart from the mean.
    spread = [log_spread(Landmarks(soft_argmax(logits, 1), logits)).exp().item() for logits in (peak, two)]
    assert spread == pytest.approx([2, 2 + (0.2 * 14) ** 2], rel=0.01)


def test_a_calibration_turns_spread_into_a_chance():
    logits = torch.cat([gaussian_logits(0.5, 0.5), gaussian_logits(0.4, 0.6, sigma=2)])
    output = Landmarks(soft_argmax(logits, 1), logits)
    chance = confidence(output, Calibration(slope=2.0, bias=1.0))
    assert torch.allclose(chance, 1 / (1 + torch.exp(2 * log_spread(output) - 1)))


@torch.inference_mode()
def test_a_deep_network_without_some_of_its_middle_blocks():
    deep = Xception(width=0.05, middle_blocks=8).eval()
    flat = Xception(width=0.05, middle_blocks=4).eval()
    flat.load_state_dict(with_middle_blocks(deep.state_dict(), 4))
    x = torch.randn(2, 1, 48, 48)
    stride16, stride8, *_ = deep.entry(x)
    for i in (0, 2, 4, 6):
        stride16 = deep.middle[i](stride16)
    assert torch.equal(flat(x).points01, deep.head(deep.exit(stride16), stride8).points01)
    same = with_middle_blocks(flat.state_dict(), 4)
    assert same.keys() == flat.state_dict().keys()
    with pytest.raises(RuntimeError, match="Missing key"):  # blocks are left out, not invented
        deep.load_state_dict(with_middle_blocks(flat.state_dict(), 8))


def test_gradients_reach_every_weight():
    for head in ("regression", "heatmap"):
        network = Xception(width=0.05, head=head)
        network(torch.randn(2, 1, 64, 64)).points01.square().sum().backward()
        without = [n for n, p in network.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
        assert not without


# --- classification ---


def test_mlp_counts_and_hidden_layers():
    assert sum(p.numel() for p in MLP(784, 256, 128, 10).parameters()) == 235_146  # notebook 01's figure
    kinds = [type(layer).__name__ for layer in MLP(784, 64, 32, 10, batch_norm=True, dropout=0.5)]
    assert kinds == ["Flatten", *2 * ["Linear", "BatchNorm1d", "ReLU", "Dropout"], "Linear"]


@pytest.mark.parametrize(
    "make, side, parameters",
    [
        (DigitCNN, (1, 28, 28), 70_330),
        (OriginalCNN, (3, 32, 32), 38_111_114),
        (ResidualCNN, (3, 32, 32), 760_874),
    ],
)
def test_cnns_take_images_and_every_weight_learns(make, side, parameters):
    net = make()
    assert sum(p.numel() for p in net.parameters()) == parameters  # the figures that the notebooks tell
    logits = net(torch.randn(4, *side))
    assert logits.shape == (4, 10)
    logits.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for name, p in net.named_parameters() if "weight" in name)


def test_residual_adds_its_body_to_its_input():
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(Residual(torch.nn.Identity(), torch.nn.ReLU())(x), x + x.relu())


def test_pooling_in_a_block_is_pooling_after_it():
    """ReLU and batch norm with a positive scale keep order, so that the largest stays the largest."""
    block = ConvBlock(2, 4, pool=True).eval()
    convolution, pool, norm, relu = block
    x = torch.randn(1, 2, 8, 8)
    assert torch.allclose(block(x), pool(relu(norm(convolution(x)))))
