"""The book's settings for Sphinx, which `course.py book` runs: README, notebooks, how-tos and the API as a web site.

The pages stay where they lie in the repository, so that links between them work on GitHub and in the book alike.
Notebooks are shown with their committed outputs, nothing is run. Nothing is loaded from elsewhere: mathematics is
MathML, which browsers show by themselves.
"""

import re
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

import flcourse

ROOT = Path(__file__).resolve().parents[2]

project = "flcourse"
author = copyright = "flcourse contributors"
version = release = flcourse.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc"]

root_doc = "README"
include_patterns = ["*.md", "notebooks/*", "docs/*.md", "docs/book/*.md", "data/README.md", "flcourse/weights/*.md"]
exclude_patterns = [".*", "**/.*", "build", "dist", "my_notebooks", "outputs", "runs", "tests", "**/__pycache__"]

# --- Markdown and notebooks ---

nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"  # the results at a notebook's end are a table
myst_enable_extensions = ["dollarmath", "amsmath", "html_image"]
myst_heading_anchors = 4  # links to a page's sections work as on GitHub
# Widgets need a running kernel; the static figure after each stands for it.
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]

# --- the API: the docstrings, which are in plain text with names between backticks ---

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
add_module_names = False

# --- how it looks ---

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "flcourse"
html_static_path = ["book.css"]
html_css_files = ["book.css"]
html_copy_source = html_show_sourcelink = False
html_additional_pages = {"index": "first.html"}  # servers show index.html first; here the first page is README.html
templates_path = ["."]

CONTENTS = """
```{toctree}
:caption: The course
:hidden:
notebooks/README
notebooks/01_numpy_mnist
notebooks/02_pytorch_mnist
notebooks/03_cifar10_cnn
notebooks/04_ibug_dataset
notebooks/05_xception_landmarks
notebooks/06_live_landmarks
```
```{toctree}
:caption: How to
:hidden:
docs/photos
docs/own_overlay
docs/fine_tune
docs/onnx
docs/lan
docs/peers
```
```{toctree}
:caption: The package
:hidden:
docs/book/door
docs/book/foundation
docs/book/face
docs/book/data
docs/book/training
docs/book/show
docs/book/exercises
docs/book/apps
```
```{toctree}
:caption: About
:hidden:
flcourse/weights/MODEL_CARD
flcourse/weights/TRIALS
data/README
docs/tried
CONTRIBUTING
CHANGELOG
SECURITY
```
"""


def modules(folder: str, pattern: str) -> str:
    """Directives that document the modules of a folder."""
    paths = sorted(path for path in (ROOT / folder).glob(pattern) if path.stem not in ("__init__", "__main__"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    rst = "```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n"
    return "\n".join(f"## {name.removeprefix('flcourse.')}\n\n{rst.format(name=name)}" for name in names)


def complete(app: Sphinx, docname: str, source: list[str]) -> None:
    """Give README the book's contents, and pages of the API their modules."""
    if docname == root_doc:
        source[0] += CONTENTS
    place = r"^<!-- modules: ([\w/]+)/(\S+) -->$"
    source[0] = re.sub(place, lambda match: modules(match[1], match[2]), source[0], flags=re.MULTILINE)


def plain(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are text: only what stands between backticks is marked, whatever else reStructuredText might see."""
    for number, line in enumerate(lines):
        parts = re.split(r"(`[^`]+`)", line)
        parts[::2] = [re.sub(r"([*|]|_\b)", r"\\\1", part) for part in parts[::2]]
        lines[number] = re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", "".join(parts))  # `Face`s


def ours_only(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out what other packages put into our classes, as matplotlib does."""
    return True if not (getattr(obj, "__module__", None) or "flcourse").startswith("flcourse") else None


def describe_figures(app: Sphinx, doctree: nodes.document) -> None:
    """Figures that a notebook drew have no alternative text; say at least what they belong to."""
    for image in doctree.findall(nodes.image):
        if not image.get("alt"):
            part = image
            while part.parent is not None and not isinstance(part, nodes.section):
                part = part.parent
            title = part.next_node(nodes.title)
            image["alt"] = f"Figure of the code above, in: {title.astext() if title else 'this page'}"


# --- mathematics ---


def mathml(translator, node: nodes.math | nodes.math_block, display: str) -> None:
    body = convert(node.astext(), display=display)
    body = body.replace("<mi>&#x02032;</mi>", "<mo>&#x02032;</mo>")  # a prime is an operator: as a name it is not seen
    translator.body.append(body)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """What Sphinx calls once it has read this file."""
    app.connect("source-read", complete)
    app.connect("autodoc-process-docstring", plain)
    app.connect("autodoc-skip-member", ours_only)
    app.connect("doctree-read", describe_figures)
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(lambda self, node: mathml(self, node, "inline"), None),
        block_renderers=(lambda self, node: mathml(self, node, "block"), None),
    )
