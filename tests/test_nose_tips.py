"""Crops of drawn faces with the tip of the nose: the point moves with the image, anew in every epoch."""

import numpy as np
import torch

from flcourse.data.drawn_faces import draw_face
from flcourse.data.nose_tips import CROP, DRAWN, NOSE_TIP, NoseTips


def test_the_point_moves_with_the_image():
    tips = NoseTips(range(4))
    for index in range(4):
        face = draw_face(index, DRAWN, plain=True)
        for epoch in range(5):
            image, tip = tips[epoch, index]
            assert image.shape == (1, CROP, CROP) and image.dtype == tip.dtype == torch.float32
            corner = (face.points[NOSE_TIP] - (tip.numpy() * CROP - 0.5)).round().astype(int)  # from the point alone
            x, y = corner
            grey = face.image[y : y + CROP, x : x + CROP] @ [0.299, 0.587, 0.114]
            assert np.abs((image[0].numpy() + 1) * 127.5 - grey).max() < 1.5  # the same place by the image
            assert (np.abs(corner - (DRAWN - CROP) // 2) <= 8).all()


def test_every_epoch_has_its_own_crops_and_asking_in_another_order_changes_nothing():
    tips = NoseTips(range(6))
    batch = tips.__getitems__([(3, 5), (2, 0), (3, 1)])
    for key, (image, tip) in zip([(3, 5), (2, 0), (3, 1)], batch, strict=True):
        assert torch.equal(image, tips[key][0]) and torch.equal(tip, tips[key][1])
    assert len({tuple(tips[epoch, 0][1].tolist()) for epoch in range(10)}) > 7
