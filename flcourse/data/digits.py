"""Handwritten digits as MNIST has them: scaled, centred, 28 x 28."""

import cv2
import numpy as np

MNIST_SIZE, MNIST_DIGIT = 28, 20  # pixels: the side of MNIST's images, and of the square that holds the digit in them


def centre_digit(image: np.ndarray) -> np.ndarray:
    """Bring a handwritten digit, light on dark, to MNIST's form: (H, W) uint8 or float in [0, 255] -> (28, 28) uint8.

    The digit is scaled, keeping its shape, so that it just fits into 20 x 20 pixels, and placed so that its centre of
    mass is the image's centre (Y. LeCun, C. Cortes, C. Burges, "The MNIST database"). An empty image stays empty.
    """
    image = np.asarray(image, np.float32)
    rows, columns = np.nonzero(image.max(axis=1) > 0)[0], np.nonzero(image.max(axis=0) > 0)[0]
    if not len(rows):
        return np.zeros((MNIST_SIZE, MNIST_SIZE), np.uint8)
    digit = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = MNIST_DIGIT / max(digit.shape)
    height, width = (max(1, round(side * scale)) for side in digit.shape)
    # Averaging over areas is right for shrinking; growing wants interpolation, or pixels become blocks.
    digit = cv2.resize(digit, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    digit = digit.clip(0, 255)
    rows, columns = digit.sum(axis=1), digit.sum(axis=0)
    y, x = (float(np.average(np.arange(len(weights)), weights=weights)) for weights in (rows, columns))
    middle = (MNIST_SIZE - 1) / 2
    top = int(np.clip(round(middle - y), 0, MNIST_SIZE - height))
    left = int(np.clip(round(middle - x), 0, MNIST_SIZE - width))
    centred = np.zeros((MNIST_SIZE, MNIST_SIZE), np.uint8)
    centred[top : top + height, left : left + width] = digit.round()
    return centred
