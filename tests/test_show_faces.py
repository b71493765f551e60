"""Figures of faces: points on the right pixels, and every control of the augmentation's explorer does something."""

import io
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from toys import template, toy_face

from flcourse import metrics
from flcourse.data.augment import Augment
from flcourse.data.face_dataset import FaceDataset
from flcourse.errors import CourseError
from flcourse.points import MIRROR, N_POINTS
from flcourse.show.augmentation import (
    SETTINGS,
    augment_code,
    augmentation_figure,
    explore_augmentation,
    kept_augment,
)
from flcourse.show.faces import face_gallery, number_directions

POINTS = template() * 70 + 49.5


def pixels(figure, dpi=100):
    """What a figure looks like, (H, W, 3) RGB."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(buffer.getvalue(), np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def shown(explorer):
    return cv2.imdecode(np.frombuffer(explorer.image.value, np.uint8), cv2.IMREAD_COLOR).astype(int)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    return [toy_face(folder, number, np.random.default_rng(number)) for number in range(3)]


# --- galleries ---


@pytest.mark.parametrize("place", [(10, 5), (0, 0), (24.5, 18.25), (39, 29)])
def test_points_land_on_their_pixels(place):
    """One dot on a white image with one black pixel at its place: their middles are the same in the figure."""
    white = np.full((30, 40, 3), 255, np.uint8)
    points = np.full((N_POINTS, 2), np.nan)
    points[33] = place
    figure = face_gallery([white], [points], size=4)
    [ax] = figure.axes
    found = pixels(figure)
    height = len(found)
    rows, columns = np.nonzero(found.min(axis=2) < 200)
    expected = ax.transData.transform(place)  # from the figure's lower left
    assert (columns.mean() + 0.5, height - rows.mean() - 0.5) == pytest.approx(tuple(expected), abs=1)
    # And the axes put that place where the image has it: half a pixel from its edges at the first and last one.
    left, bottom, width, high = ax.get_window_extent().bounds
    x, y = (np.array(place) + 0.5) / (40, 30)
    assert expected == pytest.approx((left + x * width, bottom + (1 - y) * high))


def test_a_black_pixel_is_covered_by_its_point():
    image = np.full((60, 60, 3), 255, np.uint8)
    image[20, 41] = (255, 0, 0)
    points = np.full((N_POINTS, 2), np.nan)
    plain = pixels(face_gallery([image], size=3))
    points[0] = 41, 20
    marked = pixels(face_gallery([image], [points], size=3))
    red = (plain[..., 0].astype(int) - plain[..., 1]) > 100
    dot = np.abs(plain.astype(int) - marked).max(axis=2) > 60
    for axis in (0, 1):
        assert np.nonzero(red)[axis].mean() == pytest.approx(np.nonzero(dot)[axis].mean(), abs=1)


@pytest.mark.parametrize("n", [1, 7, 8, 9])
def test_gallery_of_any_number(n):
    images = [np.full((50, 50, 3), 90, np.uint8)] * (n - 1) + [np.full((60, 50), 90, np.uint8)]
    points = [POINTS / 2] * (n - 1) + [None]
    figure = face_gallery(images, points, [f"face {i}" for i in range(n)])
    assert [len(ax.images) for ax in figure.axes][:n] == n * [1]
    assert [len(ax.collections) > 0 for ax in figure.axes][:n] == (n - 1) * [True] + [False]
    for ax in figure.axes[: n - 1]:  # points outside leave the view alone
        assert ax.get_xlim() == (-0.5, 49.5) and ax.get_ylim() == (49.5, -0.5)
    assert figure.get_figwidth() == pytest.approx(1.46 * min(n, 8))


def test_numbers_stand_beside_their_points():
    figure = face_gallery([np.zeros((100, 100, 3), np.uint8)], [POINTS], size=6, numbers=True)
    [ax] = figure.axes
    assert [text.get_text() for text in ax.texts] == [str(i) for i in range(68)]
    for i, text in enumerate(ax.texts):
        assert tuple(text.xy) == tuple(POINTS[i])
    away = number_directions(POINTS)
    assert np.hypot(*away.T) == pytest.approx(1)
    assert away[8] == pytest.approx((0, 1), abs=0.01)  # below the chin
    assert away[0][0] < -0.9 and away[16][0] > 0.9  # outside the jaw
    assert away[51] == pytest.approx((0, -1), abs=0.1) and away[57] == pytest.approx((0, 1), abs=0.1)


def test_numbers_turn_with_the_face():
    turn = np.array([[0, 1], [-1, 0]])
    rim = [0, 4, 8, 16, 19, 36, 45, 48, 54]
    assert number_directions(POINTS @ turn)[rim] == pytest.approx(number_directions(POINTS)[rim] @ turn, abs=0.01)


def test_wrong_input_is_named():
    image = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(ValueError, match="1 sets of points for 2 images"):
        face_gallery([image, image], [POINTS])
    with pytest.raises(ValueError, match=r"shape \(67, 2\), expected \(68, 2\)"):
        face_gallery([image], [POINTS[:67]])
    with pytest.raises(ValueError, match="no image"):
        face_gallery([])
    with pytest.raises(ValueError, match="no face"):
        explore_augmentation([])


# --- augmentation ---


def test_figure_shows_what_training_sees(faces):
    augment = Augment(rotation=20, mirror=1, brightness=0.5)
    figure = augmentation_figure(faces[0], augment, seed=5, size=64, samples=4)
    before, after, *more = figure.axes
    assert len(more) == 4
    assert (before.images[0].get_array() == FaceDataset([faces[0]], 64).crop(0)[0]).all()
    dataset = FaceDataset([faces[0]], 64, augment, seed=5)
    for epoch, ax in enumerate([after, *more]):
        crop, points = dataset.crop(0, epoch)
        assert (ax.images[0].get_array() == crop).all()
        dots = ax.collections[-1].get_offsets()
        assert np.asarray(dots) == pytest.approx(points)
    # Mirrored, so the points have changed places: the first is still at the image's left.
    assert dots[0, 0] < dots[16, 0] and MIRROR[0] == 16


def test_points_can_be_left_out(faces):
    for ax in augmentation_figure(faces[0], Augment(), points=False).axes:
        assert not ax.collections and len(ax.images) == 1


def test_without_samples(faces):
    assert len(augmentation_figure(faces[0], Augment(), samples=0).axes) == 2


def test_every_number_of_augment_has_a_control(faces):
    """Add a field to `Augment`, and this asks for its control in `SETTINGS`."""
    assert list(SETTINGS) == [field.name for field in fields(Augment)]
    explorer = explore_augmentation(faces)
    assert list(explorer.controls) == [*SETTINGS, "face", "seed", "points"]
    for name, setting in SETTINGS.items():
        control = explorer.controls[name]
        assert (control.min, control.max, control.value) == (0, setting.high, setting.start)
        assert control.description == setting.label and not control.continuous_update
        steps = np.array([setting.start, setting.high]) / setting.step
        assert steps == pytest.approx(steps.round())  # reached by the arrow keys
        assert 0 <= setting.start < setting.high


def test_every_control_changes_the_image(faces):
    explorer = explore_augmentation(faces)
    last = shown(explorer)
    for end in ("high", "low"):
        for name, setting in SETTINGS.items():
            explorer.controls[name].value = setting.high if end == "high" else 0
            assert explorer.status.value == ""
            now = shown(explorer)
            changed = np.abs(now - last).max(axis=(0, 2)) > 8  # columns of the image
            before, rest = np.array_split(changed, [int(len(changed) * 0.29)])
            assert rest.any(), (name, end)
            assert not before.any(), (name, end)  # "before" stays as it is
            last = now
    for name, value in (("rotation", 20), ("seed", 7), ("points", False), ("face", 1)):
        explorer.controls[name].value = value
        assert (shown(explorer) != last).any(), name
        last = shown(explorer)


def test_any_values_together_make_an_image(faces):
    """Both ends and random middles of every control at once, through the function that the explorer draws with."""
    rng = np.random.default_rng(0)
    draw = explore_augmentation(faces).figure_function
    for parts in (np.zeros(len(SETTINGS)), np.ones(len(SETTINGS)), *rng.random((3, len(SETTINGS)))):
        values = {name: part * setting.high for part, (name, setting) in zip(parts, SETTINGS.items(), strict=True)}
        before, *others = draw(face=0, seed=3, points=True, **values).axes
        images = [ax.images[0].get_array() for ax in others]
        assert len(images) == 13 and all(image.shape == (112, 112, 3) for image in images)
        assert all((image == before.images[0].get_array()).all() for image in images) == (not parts.any())


def test_opens_with_something_to_see(faces):
    explorer = explore_augmentation(faces)
    opening = {name: control.value for name, control in explorer.controls.items()}
    before, after, *_ = explorer.figure_function(**opening).axes
    crop, augmented = (ax.images[0].get_array().astype(int) for ax in (before, after))
    assert np.abs(crop - augmented).mean() > 5
    points = np.asarray(after.collections[-1].get_offsets())
    assert (points > 0).all() and (points < 112).all()  # mild: the whole face is still inside


# --- the settings, taken along ---


class Middle:
    """A network that says of every crop that all points are in its middle."""

    name, engine, size, still_size, accept = "middle", "none", 96, 96, 0.0

    def __call__(self, crops):
        assert crops.shape[1:] == (1, 96, 96) and np.abs(crops).max() <= 1
        return {"points01": np.full((len(crops), 68, 2), 0.5, np.float32)}


def test_the_settings_are_kept_and_read_back(faces, tmp_path):
    keep = tmp_path / "data" / "my_augment.json"
    explorer = explore_augmentation(faces, keep=keep)
    opened = explorer.augment
    assert kept_augment(keep, opened) is opened  # nothing kept yet
    explorer.controls["rotation"].value = 31
    explorer.controls["mirror"].value = 0.0
    assert "rotation=31" in explorer.code.value and "mirror" not in explorer.code.value
    assert augment_code(explorer.augment) in explorer.code.value
    [button] = [b for b in explorer.buttons.children if "Keep" in b.description]
    button.click()
    assert "notebook 5" in explorer.code.value
    assert kept_augment(keep, opened) == explorer.augment == replace(opened, rotation=31, mirror=0.0)
    explorer.reset()
    assert explorer.augment == opened and "notebook 5" not in explorer.code.value
    explorer.set(Augment())
    assert explorer.augment == Augment() and "<code>Augment()</code>" in explorer.code.value
    for text in ("[]", "{", '{"rotation": "much"}', '{"spin": 1}'):
        keep.write_text(text)
        with pytest.raises(CourseError, match="keep others in notebook 4"):
            kept_augment(keep, opened)


def test_a_reset_draws_once(faces, monkeypatch):
    explorer = explore_augmentation(faces)
    explorer.controls["noise"].value = 20
    drawn = []
    monkeypatch.setattr(explorer, "_png", lambda: drawn.append(explorer.augment) or b"")
    explorer.reset()
    assert drawn == [explorer.augment] and explorer.augment.noise == SETTINGS["noise"].start


def test_a_network_is_judged_on_every_draw(faces):
    augment = Augment(rotation=30)
    figure = augmentation_figure(faces[0], augment, seed=1, samples=6, network=Middle())
    dataset = FaceDataset(faces[:1], 96, augment, seed=1)
    middle = np.full((1, 68, 2), 47.5)
    errors = [float(metrics.nme(middle, dataset.crop(0, epoch)[1][None])[0]) for epoch in range(1, 8)]
    assert figure.axes[1].get_title() == f"after: NME {errors[0]:.1f} %"
    assert [ax.texts[0].get_text() for ax in figure.axes[2:]] == [f"{error:.1f}" for error in errors[1:]]
    assert f"mean NME {np.mean(errors[1:]):.1f} %, worst {max(errors[1:]):.1f} %" in figure.texts[0].get_text()
