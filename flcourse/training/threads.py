"""How many of PyTorch's threads a training takes on the CPU: all, or one where several would wait for each other."""

import time

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from flcourse.training.devices import Device, to_device

# Of a batch's forward pass. On two idle cores, ms a step with one thread and two: `DigitCNN` 6 and 5 with 0.4 billion
# operations, 21 and 14 with 1.4; `ResidualCNN` 86 and 55 with 6; `recipes.RECIPES["detail"]` 436 and 261. So little is
# not worth comparing for, nor results whose last digits follow what else the machine does.
SMALL = 1e9

# Beside one busy program two threads on these cores took 1,100 ms (`DigitCNN`), 2,300 and 4,900, one thread 20, 87 and
# 431: a layer's threads wait for each other, and the one that waits keeps the other from the CPU that they share.
EVERY = 30.0  # s between two comparisons of one thread with all, and
RARELY = 40  # times as long as a comparison takes
WAITING = 1.1  # times one thread's time: so long only threads take that wait for each other
SPAN = 0.25  # s that one thread is timed for at least, or chance decides


class Threads:
    """PyTorch's threads on the CPU during a training, a context; afterwards their number is the caller's again.

    All that the caller has set, but one for a network whose batch costs less than `SMALL`, and one as long as other
    programs keep the machine so busy that all take longer than one: `adapt` finds out, by forward passes of a batch
    that change nothing.
    """

    def __init__(self, model: nn.Module, image: Tensor, batch_size: int, device: Device) -> None:
        """`image` is one input of the network, on the device."""
        self.model, self.image, self.batch_size, self.device = model, image, batch_size, device
        self.all = torch.get_num_threads()
        self.choice = self.all > 1 and image.device.type == "cpu"
        self.due = 0.0  # when to compare again, of `time.monotonic`

    def __enter__(self) -> "Threads":
        if self.choice and _operations(self.model, self.image) * self.batch_size < SMALL:
            self.choice = False
            torch.set_num_threads(1)
        self.adapt()
        return self

    def __exit__(self, *_) -> None:
        torch.set_num_threads(self.all)

    def adapt(self) -> None:
        """Compare one thread with all, if that is due, and go on with what is faster; to be called between steps."""
        if not self.choice or time.monotonic() < self.due:
            return
        started = time.monotonic()
        torch.set_num_threads(1 if self._wait_for_each_other() else self.all)
        now = time.monotonic()
        self.due = now + max(EVERY, RARELY * (now - started))

    @torch.inference_mode()
    def _wait_for_each_other(self) -> bool:
        batch = to_device(self.image.expand(self.batch_size, *self.image.shape), self.device.device)
        training = self.model.training
        self.model.eval()  # which neither draws at random nor moves batch norm's averages

        def seconds(threads: int) -> float:
            torch.set_num_threads(threads)
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.device.bfloat16):
                self.model(batch)
            return time.perf_counter() - started

        if not self.due:  # the first pass with each number prepares what later ones find ready
            seconds(1)
            seconds(self.all)
        alone, together, passes = 0.0, 0.0, 0
        while alone < SPAN:
            alone += seconds(1)
            passes += 1
        while passes and together <= WAITING * alone:
            together += seconds(self.all)
            passes -= 1
        self.model.train(training)
        return together > WAITING * alone


@torch.inference_mode()
def _operations(model: nn.Module, image: Tensor) -> int:
    """Of a network's forward pass for one input, as PyTorch counts them: two for each multiplication and addition."""
    training = model.training
    with FlopCounterMode(display=False) as counter:
        model.eval()(image[None])  # batch norm in training wants more than one
    model.train(training)
    return counter.get_total_flops()
