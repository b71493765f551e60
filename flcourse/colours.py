"""Okabe and Ito's colours, which colour-blind readers can tell apart: RGB, 0 to 255, for images, figures and widgets.

M. Okabe and K. Ito, "Color Universal Design", 2008.
"""

RGB = tuple[int, int, int]

ORANGE: RGB = (230, 159, 0)
SKY: RGB = (86, 180, 233)
GREEN: RGB = (0, 158, 115)
YELLOW: RGB = (240, 228, 66)
BLUE: RGB = (0, 114, 178)
VERMILION: RGB = (213, 94, 0)
PINK: RGB = (204, 121, 167)
WHITE: RGB = (255, 255, 255)
BLACK: RGB = (0, 0, 0)


def hex_code(colour: RGB) -> str:
    """A colour as HTML, CSS and matplotlib write it: (0, 114, 178) -> "#0072B2"."""
    return "#{:02X}{:02X}{:02X}".format(*colour)
