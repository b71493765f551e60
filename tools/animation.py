"""Makes docs/flcourse.webp, the animation of README, from what `flcourse demo` plays: points, blinks, and a mask.

    .venv/bin/python tools/animation.py

To be run again when the shipped weights or an overlay have changed.
"""

from pathlib import Path

from PIL import Image

from flcourse.apps.reel import NAMES, play
from flcourse.data.company import RATE
from flcourse.face.landmarker import FaceLandmarker

OUT = Path(__file__).resolve().parents[1] / "docs" / "flcourse.webp"
SHOWN = ("points", "attention", "pose", "mask")
QUALITY = 60  # of WebP; the file stays below a megabyte


def main() -> None:
    """Write the animation and say how large it is."""
    frames = [Image.fromarray(shown.image) for shown in play(FaceLandmarker()) if NAMES[shown.scene] in SHOWN]
    options = {"duration": round(1000 / RATE), "loop": 0, "quality": QUALITY, "method": 6}
    frames[0].save(OUT, save_all=True, append_images=frames[1:], **options)
    print(f"{OUT.name}: {len(frames)} frames, {len(frames) / RATE:.1f} s, {OUT.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
