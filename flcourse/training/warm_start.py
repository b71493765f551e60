"""First weights from a network of another shape: what fits is kept, what does not is made to fit."""

from torch import Tensor

from flcourse.training.xception import EXIT_CHANNELS, Xception


def with_middle_blocks(weights: dict[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """An `Xception`'s weights with `blocks` of its middle blocks left, evenly spaced; all where it has no more.

    A residual block only adds to what passes through, so a network works on, a little worse, without some of them
    (Veit, Wilber and Belongie, "Residual Networks Behave Like Ensembles", 2016), and soon relearns what they did.
    """
    prefix = "middle."
    there = sorted({int(name.split(".")[1]) for name in weights if name.startswith(prefix)})
    kept = [there[i * len(there) // blocks] for i in range(blocks)] if blocks <= len(there) else there
    new = {}
    for name, value in weights.items():
        if name.startswith(prefix):
            old, rest = name.removeprefix(prefix).split(".", 1)
            if int(old) not in kept:
                continue
            name = f"{prefix}{kept.index(int(old))}.{rest}"
        new[name] = value
    return new


def with_exit_convolutions(weights: dict[str, Tensor], network: Xception) -> dict[str, Tensor]:
    """An `Xception`'s weights for `network`, whose exit flow lacks the last convolution where it does.

    What read that convolution then begins with `network`'s own weights, and must be learned anew.
    """
    if len(network.exit) == 1 + 3 * (len(EXIT_CHANNELS) - 1) or not any(name.startswith("exit.4.") for name in weights):
        return weights
    own = network.state_dict()
    anew = [name for name in ("head.up.0.weight", "head.linear.weight") if name in own]
    rest = {name: value for name, value in weights.items() if not name.startswith(("exit.4.", "exit.5."))}
    return rest | {name: own[name] for name in anew}


def with_refiner(weights: dict[str, Tensor], network: Xception) -> dict[str, Tensor]:
    """An `Xception`'s weights with `network`'s refiner where they have none, which moves no point yet.

    Without it where `network` has none.
    """
    prefix = "refiner."
    own = {name: value for name, value in network.state_dict().items() if name.startswith(prefix)}
    rest = {name: value for name, value in weights.items() if own or not name.startswith(prefix)}
    return own | rest


def with_stem_stride(weights: dict[str, Tensor], stride: int) -> dict[str, Tensor]:
    """An `Xception`'s weights with a first convolution in steps of `stride` instead of half as many.

    Each of its weights is spread over 2 x 2 pixels, so that on a picture twice as large the network says what it said
    on the picture averaged over 2 x 2 pixels; training then finds the finer detail. Unchanged where it has that stride.
    """
    first = "entry.stem.0.weight"
    kernel = weights[first]
    if kernel.shape[-1] == 3 * stride // 4:
        return weights | {first: kernel.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) / 4}
    return weights
