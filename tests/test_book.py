"""The book: what `course.py book` makes is whole, loads nothing from elsewhere, and runs nothing."""

import importlib.util
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The book, as `course.py book` builds it, but into a folder of its own; a warning would have ended it."""
    spec = importlib.util.spec_from_file_location("course", ROOT / "course.py")
    course = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(course)
    course.PYTHON, course.BUILD = Path(course.sys.executable), tmp_path_factory.mktemp("build")
    assert course.book() == 0
    return course.BUILD / "book"


class Page(HTMLParser):
    """What a page of the book refers to and says."""

    def __init__(self, path):
        super().__init__()
        self.path, self.links, self.loaded, self.images, self.ids, self.relations = path, [], [], [], set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        self.ids |= {told[key] for key in ("id", "name") if told.get(key)}
        if tag == "a" and "href" in told:
            self.links.append(told["href"])
        elif tag == "link" and told.get("rel") in ("prev", "next"):
            self.relations.add(told["rel"])
        elif tag in ("link", "script", "img") and (place := told.get("src") or told.get("href")):
            self.loaded.append(place)
        if tag == "img":
            self.images.append(told.get("alt"))


@pytest.fixture(scope="module")
def pages(site):
    return {
        path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html") if "_static" not in path.parts
    }


def test_every_page_is_there_with_its_neighbours(pages):
    wanted = {f"notebooks/{path.stem}.html" for path in NOTEBOOKS}
    wanted |= {path.relative_to(ROOT).with_suffix(".html").as_posix() for path in (ROOT / "docs").glob("*.md")}
    wanted |= {"README.html", "index.html", "search.html", "genindex.html", "notebooks/README.html"}
    assert wanted <= set(pages)
    for path in NOTEBOOKS:
        assert pages[f"notebooks/{path.stem}.html"].relations == {"prev", "next"}


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for name, page in pages.items():
        for place in page.loaded:
            assert not urlsplit(place).netloc and not urlsplit(place).scheme, f"{name} loads {place}"
            assert (page.path.parent / unquote(urlsplit(place).path)).exists(), f"{name} loads {place}"
    for style in site.rglob("*.css"):
        assert not re.findall(r"url\(['\"]?https?:|@import\s+['\"]http", style.read_text(encoding="utf-8")), style


def test_links_lead_somewhere(site, pages):
    for name, page in pages.items():
        for link in page.links:
            target = urlsplit(link)
            if target.scheme or target.netloc:
                continue
            place = (page.path.parent / unquote(target.path)).resolve() if target.path else page.path
            assert place.is_file(), f"{name} links to {link}"
            if target.fragment and place.suffix == ".html" and "search" not in place.name:
                there = pages[place.relative_to(site.resolve()).as_posix()]
                assert unquote(target.fragment) in there.ids, f"{name} links to {link}"


def test_outputs_are_the_committed_ones_and_images_say_what_they_are(pages):
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
        page = pages[f"notebooks/{path.stem}.html"]
        assert len(page.images) >= sum("image/png" in data for data in outputs) > 0
        tables = sum("\n|--" in "".join(data.get("text/markdown", "")) for data in outputs)
        assert page.path.read_text(encoding="utf-8").count("<table") >= tables > 0
    for name, page in pages.items():
        for text in page.images:
            assert text and not re.search(r"[0-9a-f]{32}", text), f"{name}: an image without an alternative text"


def test_mathematics_needs_no_script(site):
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
        formulas = len(re.findall(r"(?<!\\)\$\$.*?\$\$|(?<!\\)\$[^$\n]+\$", text, re.DOTALL))
        html = (site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        assert html.count("<math ") >= formulas, path.name
        assert not re.search(r"<mi>\\", html), f"{path.name}: a command of LaTeX that was not understood"


def test_the_api_has_every_module(site):
    listed = (site / "py-modindex.html").read_text(encoding="utf-8")
    for path in (ROOT / "flcourse").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.stem not in ("__init__", "__main__"):
            assert f"module-{name}" in listed, f"{name}: name its folder in a page of docs/book"


def test_search_knows_what_is_in_the_pages(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert all(f'"{word}"' in index or f"{word}:" in index for word in ("backpropag", "landmark", "webcam"))
