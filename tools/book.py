"""The executed notebooks, the glossary, the released run's card and the API as one book of linked
pages.

python -m tools.book out       # out/01_eda.ipynb … -> out/book/index.html, which opens from disk
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
from nbformat.v4 import new_markdown_cell, new_notebook

from tools import api
from tools.pages import PROJECT, anchor, html_page, render


class Page(NamedTuple):
    """One page of the book.

    file    its name in the book
    label   its name in the navigation bar
    source  the path in the project of what it is made from
    """

    file: str
    label: str
    source: str


def _repository() -> str:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    return project["urls"]["Repository"]


COVER = Page("index.html", "Cover", "README.md")
NOTEBOOKS = (
    Page("01_eda.html", "1 · Look", "01_eda.ipynb"),
    Page("02_preprocess.html", "2 · Prepare", "02_preprocess.ipynb"),
    Page("03_train.html", "3 · Train", "03_train.ipynb"),
    Page("04_infer.html", "4 · Predict and doubt", "04_infer.ipynb"),
)
GLOSSARY = Page("glossary.html", "Glossary", "docs/glossary.md")
KAGGLE = Page("kaggle.html", "Kaggle", "docs/kaggle.md")
CARD = Page("card.html", "Card", "released/CARD.md")
API = Page("api.html", "API", "utils")
PAGES = (COVER, *NOTEBOOKS, GLOSSARY, KAGGLE, CARD, API)
FILES = {PROJECT / page.source: page.file for page in PAGES}
IGNORED = set((PROJECT / ".gitignore").read_text("utf-8").replace("/", "").split())
REPOSITORY = _repository()
COVER_END = f"""
The [glossary](docs/glossary.md) explains the terms; the [card of the released
run](released/CARD.md) says what it can and cannot do; [On Kaggle](docs/kaggle.md) says how to run
all this with the internet off; the [API](utils) lists what the packages export, with examples.

These pages show the notebooks as they ran, and need no network: their viewers work, on the first
studies of each list. To change something and see the effect, run [the project]({REPOSITORY})
yourself.
"""


def build(out: str | Path) -> Path:
    """Write out/book from the executed notebooks in out; returns the path of its cover.

    Raises FileNotFoundError where a notebook has not been executed.
    """
    out = Path(out)
    book = out / "book"
    book.mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        content = _content(page, out)
        _redirect_links(content, page)
        html = html_page(content, _navigation_bar(page), _footer(page))
        (book / page.file).write_text(html, encoding="utf-8")
    return book / COVER.file


def _content(page: Page, out: Path) -> BeautifulSoup:
    """A page without its navigation, its links as they are in the project."""
    if page == API:
        return api.content()
    content = render(_notebook_of(page, out), (PROJECT / page.source).parent)
    if page == GLOSSARY:
        _link_terms(content)
    return content


def _notebook_of(page: Page, out: Path) -> nbformat.NotebookNode:
    """A notebook as it was executed; a Markdown file as a notebook of one cell."""
    if page in NOTEBOOKS:
        path = out / page.source
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there; `make book` runs the notebooks first")
        return nbformat.read(path, 4)
    text = (PROJECT / page.source).read_text("utf-8")
    if page == COVER:
        text = _cover(text, out)
    return new_notebook(cells=[new_markdown_cell(text)])


def _cover(readme: str, out: Path) -> str:
    """The first part of the README; a list of the notebooks, each with the promise in bold of its
    first cell, replaces its table."""
    lines = ""
    for page in NOTEBOOKS:
        first_cell = _notebook_of(page, out).cells[0].source
        promise = re.search(r"^\*\*(.+)\*\*$", first_cell, re.M)
        lines += f"- **[{page.label}]({page.source})** {promise[1] if promise else ''}\n"
    opening = readme.partition("\n## ")[0]
    return re.sub(r"(^\|.*\n)+", lambda _: lines, opening, count=1, flags=re.M) + COVER_END


def _link_terms(glossary: BeautifulSoup) -> None:
    """Give each term of the glossary an id, so that links reach it."""
    for term in glossary.select("tr > td:first-child"):
        term["id"] = anchor(term.get_text())


# --- links ----------------------------------------------------------------------------------------


def _redirect_links(content: BeautifulSoup, page: Page) -> None:
    """Links lead to pages of the book, or else to the project on GitHub; a link to what is in
    neither becomes plain text."""
    for link in content.select("a[href]"):
        address = _address(str(link["href"]), page)
        if address:
            link["href"] = address
        else:
            link.unwrap()


def _address(href: str, page: Page) -> str | None:
    """Where a link of a page leads in the book; None if nowhere."""
    url = urlsplit(href)
    if url.scheme in ("http", "https", "mailto"):
        return href
    fragment = f"#{anchor(unquote(url.fragment))}" if url.fragment else ""
    if not url.path:
        return fragment
    target = (PROJECT / page.source).parent.joinpath(unquote(url.path)).resolve()
    file = FILES.get(target)
    if file and not (file == COVER.file and fragment):  # the cover is not all of the README
        return f"{file}{fragment}"
    return _on_github(target, fragment)


def _on_github(target: Path, fragment: str) -> str | None:
    """The address of a file of the project; None if git does not have it."""
    if not (target.exists() and target.is_relative_to(PROJECT)):
        return None
    path = target.relative_to(PROJECT)
    if IGNORED.intersection(path.parts):
        return None
    return f"{REPOSITORY}/blob/main/{path.as_posix()}{fragment}"


def _navigation_bar(page: Page) -> str:
    """Links to all pages; the one that is open is marked."""
    links = ""
    for other in PAGES:
        current = ' aria-current="page"' if other == page else ""
        links += f'<a href="{other.file}"{current}>{escape(other.label)}</a>\n'
    return f'<nav class="bar" aria-label="Pages">\n{links}</nav>\n'


def _footer(page: Page) -> str:
    """Links to the page before and the page after."""
    k = PAGES.index(page)
    links = ""
    for other in PAGES[max(k - 1, 0) : k]:
        links += f'<a rel="prev" href="{other.file}">← {escape(other.label)}</a>\n'
    for other in PAGES[k + 1 : k + 2]:
        links += f'<a rel="next" href="{other.file}">{escape(other.label)} →</a>\n'
    return f'<nav class="foot" aria-label="Before and after">\n{links}</nav>\n'


if __name__ == "__main__":
    print(build(sys.argv[1]))
