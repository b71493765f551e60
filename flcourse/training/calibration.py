"""What a network's confidence is worth: the chance that its points are right, learned from faces it was not trained on.

Faces as they come are too easy to learn failing from, so each is cut several times with everything that goes wrong in
use: crops far off, turned, covered, blurred, dark. Pieces of the same images beside the face are no faces at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor
from tqdm.auto import tqdm

from flcourse import metrics
from flcourse.data.augment import NO_AUGMENT, Augment
from flcourse.data.face_dataset import FaceDataset
from flcourse.data.imglab import Face, fingerprint, read_face_image, split_faces
from flcourse.errors import CourseError
from flcourse.images import to_input, warp
from flcourse.points import MIRROR01, Box, crop_matrix, move_points
from flcourse.training.heatmaps import Calibration, Landmarks, log_spread
from flcourse.training.losses import measure_points
from flcourse.training.xception import Xception

RIGHT = 8.0  # percent of the eye distance: the greatest NME that counts as right
DRAWS = 6  # hard crops of each face
BATCH = 32
SURE = 4  # standard errors, from which a shift of the labels is none by chance
FEWEST = 8  # photographs: each half's fit then has 24 hard crops, and with fewer it is chance

HARD = Augment(
    rotation=25,
    scale=0.25,
    offset=0.15,
    mirror=0.5,
    brightness=0.6,
    contrast=0.6,
    blur=0.4,
    noise=15,
    occlusion=0.5,
)


@dataclass(frozen=True, eq=False)
class Trial:
    """A network's answers on hard crops and on pieces that show no face."""

    log_spread: np.ndarray  # (N,), see `heatmaps.log_spread`
    right: np.ndarray  # (N,) bool: a face, and its NME is at most `RIGHT`
    face: np.ndarray  # (N,) bool
    photo: np.ndarray  # (N,) which photograph it is of
    plain: np.ndarray  # (faces,) the log spread on each face as it comes


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A calibration and how far it can be trusted, on photographs that it was not fitted on."""

    calibration: Calibration
    chance: np.ndarray  # (N,) the confidence of each crop of the trial, by the other half's fit
    trial: Trial

    def figures(self) -> dict[str, float]:
        """AUC of telling wrong faces from right ones, expected calibration error, and how many crops of what kind."""
        face = self.trial.face
        middle, share, count = metrics.reliability(self.chance, self.trial.right)
        return {
            "auc": float(roc_auc_score(self.trial.right[face], self.chance[face])),
            "calibration_error": float(np.average(np.abs(middle - share), weights=count)),
            "faces": int(face.sum()),
            "wrong_faces": int((face & ~self.trial.right).sum()),
            "non_faces": int((~face).sum()),
        }


def calibrate(network: Xception, faces: Sequence[Face], size: int, seed: int = 0, progress: bool = True) -> Calibrated:
    """Fit the confidence of a heatmap network on faces that it was not trained on.

    Logistic regression from `log_spread` to being right. For `Calibrated.chance` it is fitted twice, on each half of
    the photographs for the other half; `Calibrated.calibration` is the fit on all. Its `accept` is low enough for 99 %
    of the faces as they come. Raises `CourseError` where the
    network has no maps, or never errs, or always, and where there are too few faces.
    """
    trial = try_out(network, faces, size, seed, progress)
    if trial.right.all() or not trial.right.any():
        raise CourseError(
            f"{100 * trial.right.mean():.0f} % of the answers are right; a confidence cannot be learned from that"
        )
    second = trial.photo % 2 == 1
    photos = len(np.unique(trial.photo))
    if photos < FEWEST or any(len(np.unique(trial.right[part])) < 2 for part in (second, ~second)):
        count = "1 photograph" if photos == 1 else f"{photos} photographs"
        raise CourseError(f"{count} held out are too few to learn a confidence from, expected at least {FEWEST}")
    chance = np.empty(len(second))
    for part in (second, ~second):
        chance[part] = _chance(_fit(trial, ~part), trial.log_spread[part])
    calibration = _fit(trial, np.ones_like(second))
    # A network that learned little is never sure; faces as they come must pass all the same.
    usual = float(np.quantile(_chance(calibration, trial.plain), 0.01))
    return Calibrated(calibration._replace(accept=min(calibration.accept, usual)), chance, trial)


def label_shift(network: Xception, faces: Sequence[Face], size: int, progress: bool = True) -> float:
    """How far right of a network's answers the faces' points lie, in parts of the crop; 0 where that may be chance.

    A network that was trained on mirrored copies, too, cannot learn it: what lies right in an image lies left in its
    copy, and it answers the middle. (What lies too low it learns.) Labels that count pixels from 1, or were set with a
    pointer beside its tip, are of this kind.
    """
    dataset = FaceDataset(faces, size, progress=progress)
    crops, points01 = (torch.stack(part) for part in zip(*(dataset[i] for i in range(len(dataset))), strict=True))
    found, mirrored = (_answers(network, views).points01.numpy() for views in (crops, crops.flip(3)))
    middle = (found + move_points(mirrored, MIRROR01)) / 2
    shifts = (points01.numpy() - middle)[..., 0].mean(axis=1)  # (faces,)
    mean, chance = np.mean(shifts), np.std(shifts) / np.sqrt(len(shifts))
    return float(mean) if abs(mean) > SURE * chance else 0.0


def held_out(faces: Sequence[Face], metadata: dict) -> list[Face]:
    """Those of a training's faces that it held out, by the metadata of its network.

    Raises `CourseError` where `faces` are not those of the training: on faces that the network learned from, or on
    ones that are harder or easier, its confidence would be worth something else than it says.
    """
    try:
        recipe, counts = metadata["recipe"], list(metadata["faces"])
        kept, chosen = split_faces(faces, recipe["val_fraction"], recipe["config"]["seed"])
    except (KeyError, TypeError) as error:
        raise CourseError("the weights do not say which faces they were trained on; train them anew") from error
    there = [len(kept), len(chosen)]
    if there != counts or metadata.get("held_out", fingerprint(chosen)) != fingerprint(chosen):
        what = f"{there[0]:,} and {there[1]:,} held out" if there != counts else "other images of the same number"
        raise CourseError(
            f"these are not the faces of the training ({counts[0]:,} and {counts[1]:,} held out), but {what}; "
            "give --data the file it was trained on"
        )
    return chosen


def _fit(trial: Trial, chosen: np.ndarray) -> Calibration:
    model = LogisticRegression(C=1e3).fit(trial.log_spread[chosen, None], trial.right[chosen])
    return Calibration(slope=-float(model.coef_[0, 0]), bias=float(model.intercept_[0]))


def _chance(calibration: Calibration, log_spread: np.ndarray) -> np.ndarray:
    """`heatmaps.confidence` in NumPy."""
    return 1 / (1 + np.exp(calibration.slope * log_spread - calibration.bias))


def try_out(network: Xception, faces: Sequence[Face], size: int, seed: int = 0, progress: bool = True) -> Trial:
    """Run a network on `DRAWS` hard crops of each face, and on as many pieces in all that show no face as faces."""
    dataset = FaceDataset(faces, size, HARD, seed, progress=progress)
    photos = {photo: number for number, photo in enumerate(dict.fromkeys(face.photo for face in faces))}
    numbers = np.array([photos[face.photo] for face in faces])
    spreads, errors = [], []
    for draw in tqdm(range(DRAWS), desc="hard crops", unit="pass", disable=not progress):
        items = [dataset[draw, i] for i in range(len(dataset))]
        crops, points01 = (torch.stack(part) for part in zip(*items, strict=True))
        answers = _answers(network, crops)
        spreads.append(log_spread(answers))
        errors.append(measure_points(answers, points01)["nme"])
    rng = np.random.default_rng(seed)
    spreads.append(log_spread(_answers(network, torch.stack([non_face(face, size, rng) for face in faces]))))
    is_face = np.arange((DRAWS + 1) * len(faces)) < DRAWS * len(faces)
    right = np.zeros(len(is_face), bool)
    right[is_face] = torch.cat(errors).numpy() <= RIGHT
    dataset.augment = NO_AUGMENT
    plain = log_spread(_answers(network, torch.stack([dataset[i][0] for i in range(len(dataset))])))
    return Trial(torch.cat(spreads).numpy().astype(float), right, is_face, np.tile(numbers, DRAWS + 1), plain.numpy())


def non_face(face: Face, size: int, rng: np.random.Generator) -> Tensor:
    """A random piece of a face's image, as a network's input, that shows no whole face: a cheek, a collar, a wall."""
    image = read_face_image(face)
    height, width = image.shape[:2]
    while True:
        side = face.box.side * np.exp(rng.uniform(np.log(0.15), np.log(0.8)))
        centre = rng.uniform(0, width), rng.uniform(0, height)
        away = np.hypot(*np.subtract(centre, face.box.centre)) / face.box.side
        if away > 0.45 or side < 0.45 * face.box.side:
            matrix = crop_matrix(Box.around(centre, side), size, rotation=rng.normal(0, HARD.rotation))
            return torch.from_numpy(to_input(warp(image, matrix, size)))


@torch.inference_mode()
def _answers(network: Xception, crops: Tensor) -> Landmarks:
    """What the network says of all crops, found in batches."""
    network.eval()
    outputs = [network(part) for part in crops.split(BATCH)]
    if outputs[0].logits is None:
        raise CourseError("a regression network has no maps, and so no confidence to calibrate")
    points, maps = (torch.cat(parts) for parts in zip(*((each.points01, each.maps) for each in outputs), strict=True))
    first = [each.first01 for each in outputs if each.first01 is not None]
    return Landmarks(points, maps, torch.cat(first) if first else None)
