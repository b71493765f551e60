"""Run notebooks from top to bottom and save them with their outputs, as they are committed (for contributors).

    .venv/bin/python tools/save.py notebooks/01_numpy_mnist.ipynb ...

Like *Restart & Run All*, but without what does not belong into the repository: the state and views of widgets, which a
reader without a kernel could not use, and what programs say on stderr (progress bars). Images are stored with 256
colours, a third of the size: GitHub does not show notebooks of more than 1 MB.
"""

import base64
import io
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

WIDGET = "application/vnd.jupyter.widget-view+json"
CELL_SECONDS = 2 * 3600  # a training of MINUTES = 40, twice, on a slow machine


def with_256_colours(png: str) -> str:
    """A PNG, in base64 as notebooks hold it, with a palette of 256 colours.

    An octree's: the median cut, which follows the commonest colours, takes them from thin lines beside a photograph.
    """
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    packed = io.BytesIO()
    image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(packed, "png", optimize=True)
    return base64.b64encode(packed.getvalue()).decode()


def cleaned(outputs: list, alt: str | None) -> list:
    """A cell's outputs without widgets and stderr; what was printed in several pieces becomes one.

    Its figures get the alternative text `alt`, which stands in the cell's metadata.
    """
    kept = []
    for output in outputs:
        if output.get("name") == "stderr" or WIDGET in output.get("data", {}):
            continue
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = with_256_colours(output.data["image/png"])
            if alt:
                output.metadata["image/png"] = {"alt": alt}
        if kept and output.output_type == kept[-1].output_type == "stream":
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def save(path: Path) -> None:
    """Run one notebook in its folder and save it; where a cell fails, raise and leave the file as it was."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": path.parent}}, store_widget_state=False
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
        if cell.cell_type == "code":
            cell.outputs = cleaned(cell.outputs, cell.metadata.get("alt"))
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        started = time.monotonic()
        save(Path(name))
        print(f"{name}: {time.monotonic() - started:.0f} s")
