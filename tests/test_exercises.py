"""Every check of the notebooks: folded solutions pass, stubs are "not yet", usual wrong answers are told apart."""

import ast
import builtins
import contextlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from flcourse.exercises import cifar10_cnn, ibug_dataset, live_landmarks, numpy_mnist, pytorch_mnist, xception_landmarks
from flcourse.exercises.verdict import NOT_YET
from flcourse.points import MIRROR

MODULES = {
    "01": numpy_mnist,
    "02": pytorch_mnist,
    "03": cifar10_cnn,
    "04": ibug_dataset,
    "05": xception_landmarks,
    "06": live_landmarks,
}
NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
STUB = re.compile(r"^check\.(\w+)\((\w+)\)$", re.MULTILINE)
USED = re.compile(r"^(\w+) = check\.(\w+)\.use\(", re.MULTILINE)
SOLUTION = re.compile(r"<details><summary>Solution</summary>.*?```python\n(.*?)```", re.DOTALL)


def exercises():
    """(notebook, check's name, answer's name, stub, solution), as the notebooks have them."""
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for i, cell in enumerate(cells):
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and (asked := STUB.search(source)):
                solution = SOLUTION.search("".join(cells[i + 1]["source"]))
                assert solution, f"{path.name}, {asked[1]}: no folded solution follows"
                yield pytest.param(path, *asked.groups(), source, solution[1], id=f"{path.stem[:2]}-{asked[1]}")


def namespace(path, stub):
    """What a notebook itself has imported and defined above an exercise, and nothing that a test hands it.

    Its imports, functions, classes and plain values, in order, and answers that are used from a cell on
    (`share = check.share.use(my_share)`); nothing is computed, so this takes no time.
    """
    check, names = MODULES[path.stem[:2]], {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if source == stub:
            return names
        if cell["cell_type"] != "code":
            continue
        for node in ast.parse(source).body:
            kept = isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)
            if kept or (isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)):
                with contextlib.suppress(NameError):  # a default that is computed
                    exec(compile(ast.Module([node], []), path.name, "exec"), names)
        names |= {name: getattr(check, used).reference for name, used in USED.findall(source)}
    raise AssertionError(f"{path.name}: the cell is not there")


@pytest.mark.parametrize("path, name, answer, stub, solution", list(exercises()))
def test_stub_and_solution(path, name, answer, stub, solution):
    for code, right in ((stub, False), (solution, True)):
        scope = namespace(path, stub)
        assert scope["check"] is MODULES[path.stem[:2]]
        exec(code, scope)
        verdict = getattr(scope["check"], name)(scope[answer])
        assert verdict.right == right, verdict
        assert right or verdict.text == NOT_YET


def bound(tree):
    """The names that code binds anywhere: imports, assignments, definitions, arguments, loops."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]


@pytest.mark.parametrize("path, name, answer, stub, solution", list(exercises()))
def test_a_solution_uses_only_names_that_its_notebook_has_by_then(path, name, answer, stub, solution):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    known = {*dir(builtins), *bound(ast.parse("\n".join([*code[: code.index(stub)], solution])))}
    used = {n.id for n in ast.walk(ast.parse(solution)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    assert used <= known, f"{sorted(used - known)}: not imported or made in a cell above"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_four_exercises_or_more(path):
    assert sum(param.values[0] == path for param in exercises()) >= 4


@pytest.mark.parametrize("module", MODULES.values(), ids=lambda m: m.__name__.split(".")[-1])
def test_every_check_has_its_exercise_and_its_wrong_answers(module):
    functions = [f for f in ast.parse(Path(module.__file__).read_text()).body if isinstance(f, ast.FunctionDef)]
    checks = {f.name for f in functions if f.decorator_list}
    assert checks == {param.values[1] for param in exercises() if param.values[1] in vars(module)}
    assert checks <= {check.__name__ for check, _, _ in WRONG}


def softmax_rows(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def step(zero=True, twice=False, back=True, move=True, reduction="mean", item=True, after=False):
    """A training step with the mistakes asked for."""

    def training_step(model, optimizer, inputs, labels):
        if zero:
            optimizer.zero_grad()
        logits = model(inputs)
        loss = F.cross_entropy(logits.softmax(1) if twice else logits, labels, reduction=reduction)
        if back:
            loss.backward()
        if move:
            optimizer.step()
        if after:
            loss = F.cross_entropy(model(inputs), labels)
        return loss.item() if item else loss

    return training_step


def adam(w, g, state, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """Notebook 02's, which the solution of exercise 2.3 calls."""
    t = state["t"] = state.get("t", 0) + 1
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
    state["s"] = beta2 * state.get("s", 0) + (1 - beta2) * g**2
    return w - lr * (state["m"] / (1 - beta1**t)) / ((state["s"] / (1 - beta2**t)).sqrt() + eps)


def adam_l2(w, g, state, lr, weight_decay=0.01):
    return adam(w, g + weight_decay * w, state, lr)


def field(multiply_first):
    def receptive_field(layers):
        size, jump = 1, 1
        for kernel, stride in layers:
            jump *= stride if multiply_first else 1
            size += (kernel - 1) * jump
            jump *= 1 if multiply_first else stride
        return size

    return receptive_field


def alpha(g):
    return g.mean(dim=(1, 2))[:, None, None]


def eyes(points):
    return np.linalg.norm(points[36] - points[45])


def pupils(points):
    return np.linalg.norm(points[36:42].mean(axis=0) - points[42:48].mean(axis=0))


def mean_distance(p, t):
    return np.linalg.norm(p - t, axis=1).mean()


def turn(angle, centre):
    linear = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.column_stack([linear, np.array(centre) - linear @ np.array(centre)])


def expected(logits):
    """The soft-argmax by a second way: weighting a grid of the cells' centres."""
    n, k, h, w = logits.shape
    y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
    weights = logits.reshape(n, k, h * w).exp()
    weights = weights / weights.sum(dim=2, keepdim=True)
    return torch.einsum("nkc,cd->nkd", weights, torch.stack([x.flatten(), y.flatten()], dim=1))


def cells(logits):
    return torch.tensor([logits.shape[3], logits.shape[2]], dtype=torch.float32)


def hard_argmax(logits):
    h, w = logits.shape[2:]
    best = logits.flatten(2).argmax(dim=2)
    return torch.stack([(best % w + 0.5) / w, (best // w + 0.5) / h], dim=2)


def my_wing(error, w=0.04, e=0.008):
    size = error.abs()
    return torch.where(size < w, w * torch.log(1 + size / e), size - (w - w * np.log(1 + w / e)))


def lids(eye):
    return np.linalg.norm(eye[1] - eye[5]), np.linalg.norm(eye[2] - eye[4])


def eye_width(eye):
    return np.linalg.norm(eye[0] - eye[3])


def n6_blinks(values, closed, opened):
    count, was_open = 0, False
    for value in values:
        if value > opened:
            was_open = True
        elif value < closed and was_open:
            count, was_open = count + 1, False
    return count


def falls(values, threshold):
    """How often values fall below one threshold."""
    return int(((values[1:] < threshold) & (values[:-1] >= threshold)).sum())


n1, n2, n3, n4, n5, n6 = MODULES.values()
WRONG = [  # check, answer, a word of the hint that fits it
    (n1.parameters, 234752, "bias"),
    (n1.parameters, 235000, "inputs times outputs"),
    (n1.parameters, 234752 + 1178, "pixels"),
    (n1.parameters, 1178, "counts neurons"),
    (n1.parameters, "many", "expected numbers"),
    (n1.softmax, lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), "overflows"),
    (n1.softmax, lambda z: np.exp(z - z.max()) / np.exp(z - z.max()).sum(axis=1, keepdims=True), "whole batch"),
    (n1.softmax, lambda z: np.exp(z) / np.exp(z).sum(), "axis=1"),
    (n1.softmax, lambda z: np.exp(z) / np.exp(z).sum(axis=0), "columns"),
    (n1.softmax, lambda z: np.log(softmax_rows(z)), "logarithms"),
    (n1.softmax, lambda z: softmax_rows(z)[0], "shape"),
    (n1.softmax, lambda z: z, "softmax of"),
    (n1.softmax, lambda z: np.exp(z) / np.exp(z).sum(axis=1), "raised ValueError"),
    (n1.softmax, softmax_rows(np.zeros((1, 2))), "expected a function"),
    (n1.softmax, lambda z: None, "returns nothing"),
    (n1.untrained_loss, np.log2(10), "base 2"),
    (n1.untrained_loss, 1.0, "base 10"),
    (n1.untrained_loss, 0.1, "probability"),
    (n1.untrained_loss, np.log(0.1), "positive"),
    (n1.untrained_loss, 5.0, "is not it"),
    (n1.tanh_backward, lambda d, a: 1 - a**2, "chain rule"),
    (n1.tanh_backward, lambda d, a: d * (1 - np.tanh(a) ** 2), "already"),
    (n1.tanh_backward, lambda d, a: d * (1 - a), "square"),
    (n1.tanh_backward, lambda d, a: d * (a > 0), "ReLU"),
    (n1.tanh_backward, lambda d, a: d * a * (1 - a), "sigmoid"),
    (n1.tanh_backward, lambda d, a: d * a, "not yet"),
    (n1.momentum_step, lambda w, v, g, lr, mu: w - lr * g, "two things"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w + mu * v + lr * g, mu * v + lr * g), "uphill"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w, mu * v - (1 - mu) * lr * g), "average"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w, mu * (v - lr * g)), "old velocity only"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w, v), "the velocity is"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w + v, mu * v - lr * g), "by the old velocity"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w - lr * g, mu * v - lr * g), "plain gradient"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w + lr * (mu * v - lr * g), mu * v - lr * g), "learning rate"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w, mu * v - lr * g), "the weights are"),
    (n1.diagnosis, {"A": "rate too low"}, "1 not right, A"),
    (n2.accumulated_gradient, 6, "first gradient"),
    (n2.accumulated_gradient, 5, "second gradient"),
    (n2.accumulated_gradient, 24, "derivatives"),
    (n2.accumulated_gradient, 30, "is not it"),
    (n2.training_step, step(zero=False), "zero_grad"),
    (n2.training_step, step(twice=True), "softmax comes twice"),
    (n2.training_step, step(back=False), "have not moved"),
    (n2.training_step, step(move=False), "have not moved"),
    (n2.training_step, step(reduction="sum"), "mean"),
    (n2.training_step, step(item=False), "loss.item()"),
    (n2.training_step, step(after=True), "before the step"),
    (n2.adamw, lambda w, g, state, lr, wd: adam(w, g, state, lr), "plain Adam"),
    (n2.adamw, adam_l2, "divides it by sqrt(s)"),
    (n2.adamw, lambda w, g, state, lr, wd: adam(w - wd * w, g, state, lr), "learning rate"),
    (n2.adamw, lambda w, g, state, lr, wd: adam(w + lr * wd * w, g, state, lr), "grow"),
    (n2.adamw, lambda w, g, state, lr, wd: w - lr * wd * w, "not yet"),
    (n2.dropout, lambda x, keep, p, training: x * keep / (1 - p), "in use"),
    (n2.dropout, lambda x, keep, p, training: x * keep if training else x, "divided"),
    (n2.dropout, lambda x, keep, p, training: x * keep / p if training else x, "keeping"),
    (n2.dropout, lambda x, keep, p, training: x * keep * (1 - p) if training else x, "grow"),
    (n2.dropout, lambda x, keep, p, training: x * (1 - keep) / (1 - p) if training else x, "keep is 1"),
    (n2.dropout, lambda x, keep, p, training: x, "not yet"),
    (n2.prepare, lambda image: torch.from_numpy(image)[None, None] / 127.5 - 1, "the paper is 1"),
    (n3.output_size, lambda n, k, s, p: (n + 2 * p - k) // s, "+ 1"),
    (n3.output_size, lambda n, k, s, p: (n + p - k) // s + 1, "both sides"),
    (n3.output_size, lambda n, k, s, p: (n + 2 * p - k + 1) // s, "divide first"),
    (n3.output_size, lambda n, k, s, p: (n + 2 * p - k) / s + 1, "half places"),
    (n3.output_size, lambda n, k, s, p: n, "expected"),
    (n3.receptive_field, lambda layers: 1 + sum(k - 1 for k, _ in layers), "strides are ignored"),
    (n3.receptive_field, lambda layers: sum(k for k, _ in layers), "overlap"),
    (n3.receptive_field, field(multiply_first=True), "after adding"),
    (n3.receptive_field, lambda layers: field(False)(layers) - 1, "one too small"),
    (n3.receptive_field, lambda layers: 7, "expected"),
    (n3.count_parameters, lambda i, o, k, n, m: o * (i * k**2 + 1), "two things"),
    (n3.count_parameters, lambda i, o, k, n, m: (o * i * k**2, m * n), "bias"),
    (n3.count_parameters, lambda i, o, k, n, m: (o * (k**2 + 1), m * (n + 1)), "every input channel"),
    (n3.count_parameters, lambda i, o, k, n, m: (o * (i * k + 1), m * (n + 1)), "squared"),
    (n3.count_parameters, lambda i, o, k, n, m: (o * i * (k**2 + 1), m * (n + 1)), "one bias in all"),
    (n3.count_parameters, lambda i, o, k, n, m: (1, m * (n + 1)), "convolution 64"),
    (n3.count_parameters, lambda i, o, k, n, m: (o * (i * k**2 + 1), n * (m + 1)), "dense"),
    (n3.grad_cam, lambda a, g: alpha(g) * a, "channels are still there"),
    (n3.grad_cam, lambda a, g: (alpha(g) * a).sum(0), "ReLU is missing"),
    (n3.grad_cam, lambda a, g: (alpha(g).relu() * a).sum(0).relu(), "not on alpha"),
    (n3.grad_cam, lambda a, g: (g * a).sum(0).relu(), "place by place"),
    (n3.grad_cam, lambda a, g: (alpha(g) * a).relu().sum(0), "after the sum"),
    (n3.grad_cam, lambda a, g: (alpha(g) * a).mean(0).relu(), "mean"),
    (n3.grad_cam, lambda a, g: (alpha(g) * a).sum((1, 2)), "(h, w)"),
    (n3.grad_cam, lambda a, g: a.sum(0).relu(), "not yet"),
    (n3.split, lambda photo, share: np.split(np.arange(len(photo)), [int(len(photo) * (1 - share))]), "both sides"),
    (n4.nme, lambda p, t: mean_distance(p, t) / eyes(t), "percent"),
    (n4.nme, mean_distance, "pixels"),
    (n4.nme, lambda p, t: 100 * mean_distance(p, t) / pupils(t), "pupils"),
    (n4.nme, lambda p, t: 100 * mean_distance(p, t) / eyes(p), "predicted"),
    (n4.nme, lambda p, t: 100 * np.abs(p - t).mean() / eyes(t), "averages x and y"),
    (n4.nme, lambda p, t: 100 * np.sqrt(((p - t) ** 2).sum(1).mean()) / eyes(t), "mean square"),
    (n4.nme, lambda p, t: 7.0, "got 7.000"),
    (n4.to01, lambda p, n: p / n, "left edge"),
    (n4.to01, lambda p, n: p / (n - 1), "outer edges"),
    (n4.to01, lambda p, n: (p - 0.5) / n, "add a half"),
    (n4.to01, lambda p, n: 2 * (p + 0.5) / n - 1, "[-1, 1]"),
    (n4.to01, lambda p, n: p, "not yet"),
    (n4.rotation, lambda d, c: turn(np.deg2rad(d), c)[:, :2], "R alone"),
    (n4.rotation, lambda d, c: np.eye(3), "expected (2, 3)"),
    (n4.rotation, lambda d, c: turn(-np.deg2rad(d), c), "clockwise"),
    (n4.rotation, lambda d, c: turn(d, c), "radians"),
    (n4.rotation, lambda d, c: turn(np.deg2rad(d), (0, 0)), "about (0, 0)"),
    (n4.rotation, lambda d, c: turn(np.deg2rad(d), c) + np.array([[0, 0, 1], [0, 0, 0]]), "stay"),
    (n4.rotation, lambda d, c: turn(1.0, c), "rotation is another"),
    (n4.mirror, lambda p, w: p * (-1, 1) + (w - 1, 0), "old order"),
    (n4.mirror, lambda p, w: p[MIRROR], "not moved"),
    (n4.mirror, lambda p, w: (p * (-1, 1) + (w, 0))[MIRROR], "half a pixel"),
    (n4.mirror, lambda p, w: (p * (1, -1) + (0, w - 1))[MIRROR], "upside down"),
    (n4.mirror, lambda p, w: p, "not yet"),
    (n4.leaks, lambda train, val: bool({p for p, _ in train} & {p for p, _ in val}), "yes or no"),
    (n4.leaks, lambda train, val: {photo for _, photo in train} & {photo for _, photo in val}, "photographs on both"),
    (n4.leaks, lambda train, val: {p for p, _ in train} | {p for p, _ in val}, "union"),
    (n4.box_map, lambda found, wanted: n4.box_map.reference(wanted, found), "wrong way round"),
    (n4.box_map, lambda found, wanted: (found[:, 2].mean(), 0, 0), "expected about"),
    (n5.parameters, lambda i, o, k: (i * o * k, i * k * k + i * o), "dense"),
    (n5.parameters, lambda i, o, k: (i * o * k * k, i * k * k), "depthwise half"),
    (n5.parameters, lambda i, o, k: (i * o * k * k, o * k * k + i * o), "before they are mixed"),
    (n5.parameters, lambda i, o, k: (i * o * k * k, i * k * k * o), "separable: got"),
    (n5.separable, lambda x, d, p: F.conv2d(x, d, padding=1, groups=x.shape[1]), "depthwise half"),
    (n5.separable, lambda x, d, p: F.conv2d(F.conv2d(x, d, groups=x.shape[1]), p), "border"),
    (n5.separable, lambda x, d, p: F.conv2d(F.conv2d(x, d, padding=1, groups=6), p, padding=1), "no padding"),
    (n5.separable, lambda x, d, p: F.conv2d(F.conv2d(x, d, padding=1, groups=6).relu(), p), "no ReLU"),
    (n5.separable, lambda x, d, p: F.conv2d(F.conv2d(x, p), d[:4], padding=1, groups=4), "not yet"),
    (n5.separable, lambda x, d, p: F.conv2d(x, d, padding=1), "your code raised RuntimeError"),
    (n5.soft_argmax, lambda s: s.flatten(2).softmax(2), "expected (2, 68, 2)"),
    (n5.soft_argmax, lambda s: expected(s).flip(2), "swapped"),
    (n5.soft_argmax, lambda s: expected(s) - 0.5 / cells(s), "half a cell"),
    (n5.soft_argmax, lambda s: expected(s) * cells(s) - 0.5, "these are cells"),
    (n5.soft_argmax, lambda s: (expected(s) * cells(s) - 0.5) / (cells(s) - 1), "outer cells"),
    (n5.soft_argmax, lambda s: hard_argmax(s), "arg max"),
    (n5.soft_argmax, lambda s: expected(s / 2), "not yet"),
    (n5.soft_argmax, lambda s: expected(s).detach(), "no gradient"),
    (n5.wing, lambda e: my_wing(e).mean(), "one loss for each"),
    (n5.wing, lambda e: my_wing(e.clamp(min=0)), "negative"),
    (n5.wing, lambda e: 0.04 * torch.log1p(e / 0.008), "negative"),
    (n5.wing, lambda e: torch.where(e.abs() < 0.04, my_wing(e), e.abs()), "jumps"),
    (n5.wing, lambda e: torch.where(e.abs() < 0.04, my_wing(e), 2 * e.abs() - my_wing(e)), "sign of C"),
    (n5.wing, lambda e: 0.04 * torch.log1p(e.abs() / 0.008), "everywhere"),
    (n5.wing, lambda e: e**2, "not yet"),
    (n5.gap, lambda x, g: (np.median(x[g]) - np.median(x[~g]), 0), "medians"),
    (n5.gap, lambda x, g: (n5.gap.reference(x, g)[0], x[g].std()), "standard error: got"),
    (n5.biased, {"A": "all", "B": "front", "C": "one side"}, "A and B"),
    (n5.biased, {"A": "one side", "B": "all", "C": "front"}, "C: compare"),
    (n6.back, lambda p, m: p[:, 0], "expected (68, 2)"),
    (n6.back, lambda p, m: p @ m[:, :2].T + m[:, 2], "undone"),
    (n6.back, lambda p, m: p @ np.linalg.inv(m[:, :2]).T - m[:, 2], "first take the shift away"),
    (n6.back, lambda p, m: p @ np.linalg.inv(m[:, :2]).T, "shift is missing"),
    (n6.back, lambda p, m: (p - m[:, 2]) @ m[:, :2], "transpose"),
    (n6.back, lambda p, m: (p - m[:, 2]) @ np.linalg.inv(m[:, :2]), "rows"),
    (n6.back, lambda p, m: p, "not yet"),
    (
        n6.surplus,
        lambda s, r, low, high: r[(s >= low) & (s < high)].mean() - s[(s >= low) & (s < high)].mean(),
        "round",
    ),
    (n6.one_euro, lambda v, seconds, least, beta: v, "nothing is smoothed"),
    (n6.own_zero, lambda a, f: a - a.mean(), "frontal frames"),
    (n6.share, lambda c, s: 1 - 1 / (1 + 1 / (2 * np.pi * c * s)), "stays of the old"),
    (n6.share, lambda c, s: 1 / (1 + 1 / (c * s)), "2 pi"),
    (n6.share, lambda c, s: 2 * np.pi * c * s, "beyond 1"),
    (n6.share, lambda c, s: 0.5, "expected"),
    (n6.openness, lambda e: sum(lids(e)) / eye_width(e), "two widths"),
    (n6.openness, lambda e: 2 * eye_width(e) / sum(lids(e)), "width by height"),
    (n6.openness, lambda e: sum(lids(e)) / 2, "pixels"),
    (n6.openness, lambda e: (np.hypot(*(e[1] - e[4])) + np.hypot(*(e[2] - e[5]))) / 2 / eye_width(e), "crossed"),
    (n6.openness, lambda e: np.abs(e[[1, 2], 1] - e[[5, 4], 1]).sum() / 2 / eye_width(e), "tilted"),
    (n6.openness, lambda e: 0.5, "expected"),
    (n6.blinks, lambda v, c, o: int((v < c).sum()), "frames with closed eyes"),
    (n6.blinks, lambda v, c, o: 0, "two blinks"),
    (n6.blinks, lambda v, c, o: falls(v, c), "trembles"),
    (n6.blinks, lambda v, c, o: n6_blinks(np.r_[1, v], c, o), "begins with closed"),
    (n6.blinks, lambda v, c, o: n6_blinks(v, o, o), "half closed"),
]


@pytest.mark.parametrize("check, answer, hint", WRONG, ids=[f"{c.__name__}-{h}" for c, _, h in WRONG])
def test_wrong_answers_are_told_what_is_wrong(check, answer, hint):
    verdict = check(answer)
    assert not verdict.right
    assert hint in verdict.text
    assert repr(verdict) == f"✗ {verdict.text}"
