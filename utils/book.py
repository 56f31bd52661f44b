"""The executed notebooks, the glossary and the released run's card as one book: pages that lead to each other.

python -m utils.book out       # out/01_eda.ipynb … -> out/book/index.html, which opens from disk
"""

from __future__ import annotations

import re
import sys
import tomllib
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup

from utils.pages import PROJECT, anchor, cells, whole


class Page(NamedTuple):
    """file  its name in the book · label  its name in the bar · source  the path in the project of what it is made from"""

    file: str
    label: str
    source: str


COVER = Page("index.html", "Cover", "README.md")
NOTEBOOKS = (
    Page("01_eda.html", "1 · Look", "01_eda.ipynb"),
    Page("02_preprocess.html", "2 · Prepare", "02_preprocess.ipynb"),
    Page("03_train.html", "3 · Train", "03_train.ipynb"),
    Page("04_infer.html", "4 · Predict and doubt", "04_infer.ipynb"),
)
GLOSSARY = Page("glossary.html", "Glossary", "docs/glossary.md")
KAGGLE, CARD = Page("kaggle.html", "Kaggle", "docs/kaggle.md"), Page("card.html", "Card", "released/CARD.md")
PAGES = (COVER, *NOTEBOOKS, GLOSSARY, KAGGLE, CARD)
FILES = {PROJECT / page.source: page.file for page in PAGES}
IGNORED = set((PROJECT / ".gitignore").read_text("utf-8").replace("/", "").split())
REPOSITORY = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]
MORE = f"""
Words you do not know are in the [glossary](docs/glossary.md); what the run that ships with the project can do, and what it
cannot, is on [its card](released/CARD.md); [On Kaggle](docs/kaggle.md) says how to run all this with the internet off.

These pages show the notebooks as they ran, and need no network: their viewers work. To change something and see what comes of
it, run [the project]({REPOSITORY}) yourself.
"""


def build(out: str | Path) -> Path:
    """Write out/book from the executed notebooks in out; returns the path of its cover."""
    out = Path(out)
    (out / "book").mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        shown = cells(_read(page, out), (PROJECT / page.source).parent)
        if page == GLOSSARY:
            for word in shown.select("tr > td:first-child"):
                word["id"] = anchor(word.get_text())
        _redirect(shown, page)
        (out / "book" / page.file).write_text(whole(shown, _bar(page), _foot(page)), encoding="utf-8")
    return out / "book" / COVER.file


def _read(page: Page, out: Path) -> nbformat.NotebookNode:
    """A notebook as it was executed; a text as a notebook of one cell."""
    if page in NOTEBOOKS:
        if not (out / page.source).is_file():
            raise FileNotFoundError(f"{out / page.source} is not there; `make book` runs the notebooks first")
        return nbformat.read(out / page.source, 4)
    text = (PROJECT / page.source).read_text("utf-8")
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(_cover(text, out) if page == COVER else text)])


def _cover(readme: str, out: Path) -> str:
    """The README's beginning; in place of its table, each notebook with the promise in bold that its first cell makes."""
    lines = ""
    for page in NOTEBOOKS:
        promise = re.search(r"^\*\*(.+)\*\*$", _read(page, out).cells[0].source, re.M)
        lines += f"- **[{page.label}]({page.source})** {promise[1] if promise else ''}\n"
    return re.sub(r"(^\|.*\n)+", lambda _: lines, readme.partition("\n## ")[0], count=1, flags=re.M) + MORE


def _redirect(shown: BeautifulSoup, page: Page) -> None:
    """Make the links lead to pages of the book, or else to the project on GitHub; what is in neither is not linked."""
    for link in shown.select("a[href]"):
        address = _address(link["href"], page)
        if address:
            link["href"] = address
        else:
            link.unwrap()


def _address(href: str, page: Page) -> str | None:
    url = urlsplit(href)
    if url.scheme in ("http", "https", "mailto"):
        return href
    place = f"#{anchor(unquote(url.fragment))}" if url.fragment else ""
    if not url.path:
        return place
    target = (PROJECT / page.source).parent.joinpath(unquote(url.path)).resolve()
    file = FILES.get(target)
    if file and not (file == COVER.file and place):  # the cover is not all of the README
        return f"{file}{place}"
    if target.exists() and target.is_relative_to(PROJECT):
        path = target.relative_to(PROJECT)
        return None if IGNORED & {*path.parts} else f"{REPOSITORY}/blob/main/{path.as_posix()}{place}"
    return None


def _bar(page: Page) -> str:
    """Links to all pages; the one that is open is marked."""
    now = {page: ' aria-current="page"'}
    links = "".join(f'<a href="{other.file}"{now.get(other, "")}>{escape(other.label)}</a>\n' for other in PAGES)
    return f'<nav class="bar" aria-label="Pages">\n{links}</nav>\n'


def _foot(page: Page) -> str:
    """Links to the page before and the page after."""
    k = PAGES.index(page)
    before, after = PAGES[max(k - 1, 0) : k], PAGES[k + 1 : k + 2]
    links = "".join(f'<a rel="prev" href="{other.file}">← {escape(other.label)}</a>\n' for other in before)
    links += "".join(f'<a rel="next" href="{other.file}">{escape(other.label)} →</a>\n' for other in after)
    return f'<nav class="foot" aria-label="Before and after">\n{links}</nav>\n'


if __name__ == "__main__":
    print(build(sys.argv[1]))
