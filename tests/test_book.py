"""The book, opened from disk in a real Chromium with the network off: links lead to its pages, and
its viewers work."""

import base64
import functools
import io
import re
import shutil
from html import escape
from pathlib import Path
from urllib.parse import urldefrag

import ipywidgets
import nbformat
import pytest
from bs4 import BeautifulSoup
from ipywidgets.embed import embed_data
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from screen import SAGITTAL_T1, Screen
from test_viewer import STUDY, predictions, write_study

from tools import api, book, pages
from utils import dicom, metrics, prepare, rsna, viewer

ROOT = Path(__file__).parent.parent
MARKUP = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
FOLDED = """<details><summary>Solutions</summary>

```python
print('the answer')
```
</details>

after it"""
GITHUB = f"{book.REPOSITORY}/blob/main"
LINKS = {
    "02_preprocess.ipynb": "02_preprocess.html",
    # a heading's id as JupyterLab writes it, and as GitHub does
    "02_preprocess.ipynb#2-·-Second-part": "02_preprocess.html#2--second-part",
    "02_preprocess.ipynb#2--second-part": "02_preprocess.html#2--second-part",
    "#1--first-part": "#1--first-part",
    "docs/glossary.md": "glossary.html",
    "docs/glossary.md#the-spine": "glossary.html#the-spine",
    "docs/glossary.md#stenosis-narrowing": "glossary.html#stenosis-narrowing",
    "docs/kaggle.md": "kaggle.html",
    "released/CARD.md": "card.html",
    "utils": "api.html",
    "utils#metrics-rsna_score": "api.html#metrics-rsna_score",
    "README.md": "index.html",
    # the cover has only the first part of the README
    "README.md#the-viewer": f"{GITHUB}/README.md#the-viewer",
    "LICENSE": f"{GITHUB}/LICENSE",
    "benchmarks": f"{GITHUB}/benchmarks",
    "https://example.org/a?b#C": "https://example.org/a?b#C",
    "out/report/1.html": None,  # a result: neither in the book nor in the project
    ".venv": None,  # exists, but git ignores it
    "..": None,
    "/etc/passwd": None,
}


def png(size: tuple[int, int] = (40, 30)) -> str:
    data = io.BytesIO()
    Image.new("L", size, 255).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def with_output(output) -> nbformat.NotebookNode:
    return new_code_cell("1 + 1", outputs=[output])


def displayed(widget) -> nbformat.NotebookNode:
    view = {pages.WIDGET_VIEW: {"model_id": widget.model_id}, "text/plain": "a widget"}
    return with_output(new_output("display_data", view))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_study(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def executed(tmp_path_factory, root) -> Path:
    """Four small executed notebooks; the first has one of everything that a notebook shows."""
    out = tmp_path_factory.mktemp("out")
    for page in book.NOTEBOOKS:
        nbformat.write(small_notebook(page.label), out / page.source)
    notebook = nbformat.read(out / "01_eda.ipynb", 4)
    picker = viewer.StudyPicker(root, [STUDY], predictions(note=MARKUP))
    note = ipywidgets.HTML(escape(MARKUP))
    figure = {"image/png": png(), "text/plain": "a figure"}
    notebook.cells += [
        new_markdown_cell("\n\n".join(f"[`{href}`]({href})" for href in LINKS)),
        new_markdown_cell(FOLDED),
        with_output(new_output("stream", text=MARKUP)),
        displayed(note),
        displayed(picker),
        with_output(new_output("display_data", figure)),
    ]
    state = embed_data(views=[picker, note])["manager_state"]
    notebook.metadata.widgets = {pages.WIDGET_STATE: state}
    nbformat.write(notebook, out / "01_eda.ipynb")
    return out


def small_notebook(label: str) -> nbformat.NotebookNode:
    badge = "[![Open in Colab](https://example.org/badge.svg)](https://example.org)"
    first = f"{badge}\n\n# {label}\n\n**In a minute you will know {label}.**"
    texts = (first, "## 1 · First part", "## 2 · Second part")
    return new_notebook(cells=[new_markdown_cell(text) for text in texts])


@pytest.fixture(scope="module")
def built(executed) -> Path:
    return book.build(executed).parent


@pytest.fixture
def visit(browser, built):
    """visit("01_eda.html") opens a page from disk, with the network off; its errors and requests
    are in the screen's noise."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)

    def open_file(name, folder=built, **media):
        screen = Screen(context.new_page(), None)
        screen.page.emulate_media(**media)
        screen.page.goto((folder / name).as_uri())
        return screen

    yield open_file
    context.close()


@functools.cache
def parsed(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


def dead_links(folder: Path) -> list[str]:
    """Links to a file, or to an id in a file, that is not in the folder."""
    whole = {path.name: parsed(path) for path in folder.iterdir()}
    ids = {name: {element["id"] for element in page.select("[id]")} for name, page in whole.items()}
    dead = []
    for name, page in whole.items():
        for link in page.select("a[href]"):
            url, fragment = urldefrag(link["href"])
            if url.startswith("https://"):
                continue
            file = url or name
            if file not in ids or fragment not in {"", *ids[file]}:
                dead.append(f"{name}: {link['href']}")
    return dead


# --- opened from disk ---------------------------------------------------------------------------


@pytest.mark.parametrize("page", book.PAGES, ids=lambda page: page.file)
def test_a_page_requests_nothing_but_itself_and_logs_no_error(visit, page):
    screen = visit(page.file)
    screen.page.wait_for_timeout(100)
    assert screen.noise == [screen.page.url]
    assert screen.page.get_by_role("heading", level=1).count() == 1


def test_so_does_the_page_that_make_run_writes_beside_a_notebook(visit, executed, tmp_path):
    shutil.copy(executed / "01_eda.ipynb", tmp_path)
    screen = visit(pages.write_page(tmp_path / "01_eda.ipynb").name, tmp_path)
    screen.page.wait_for_selector(".spine-viewer canvas")
    assert screen.noise == [screen.page.url]


def test_the_viewer_in_a_page_scrolls_with_the_wheel(visit):
    screen = visit("01_eda.html")
    screen.view(SAGITTAL_T1).hover()
    before = screen.slice(SAGITTAL_T1)
    screen.page.mouse.wheel(0, -100)
    assert screen.slice(SAGITTAL_T1) == before - 1


def test_no_text_of_the_data_becomes_markup(visit):
    page = visit("01_eda.html").page
    page.wait_for_selector(".spine-viewer canvas")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0
    assert page.inner_text("main").count(MARKUP) == 2  # as printed, and in a widget
    assert page.locator("[data-mime-type='text/plain']", has_text=MARKUP).count() == 2


def test_a_folded_solution_stays_folded_until_it_is_opened(visit):
    page = visit("01_eda.html").page
    solution = page.get_by_text("the answer")
    assert not solution.is_visible()
    assert page.get_by_text("after it").is_visible()
    page.get_by_text("Solutions").click()
    assert solution.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_light_and_dark(visit, scheme):
    page = visit("01_eda.html", color_scheme=scheme).page
    paper = luminance(page, "body", "backgroundColor")
    assert (paper < 0.05) == (scheme == "dark")
    selectors = ("main p", "main a", ".bar a", "[aria-current]")
    for ink in (*selectors, ".highlight pre", ".jp-OutputArea pre"):
        light, dark = sorted((paper + 0.05, luminance(page, ink, "color") + 0.05), reverse=True)
        assert light / dark > 4.5, ink  # WCAG's AA
    # figures are made for white paper
    assert luminance(page, ".jp-RenderedImage img", "backgroundColor") == pytest.approx(1)


def luminance(page, selector: str, what: str) -> float:
    """WCAG's relative luminance of a colour that the browser has computed."""
    colour = page.locator(selector).first.evaluate(f"element => getComputedStyle(element).{what}")
    numbers = colour.removeprefix("rgb(").removesuffix(")").split(",")
    channels = [int(number) / 255 for number in numbers]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_on_a_phone_nothing_is_wider_than_the_page(visit):
    page = visit("01_eda.html").page
    page.set_viewport_size({"width": 360, "height": 740})
    page.wait_for_selector(".spine-viewer canvas")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    room = page.locator("main").bounding_box()["width"]
    assert page.locator(".spine-viewer").evaluate("host => host.scrollWidth") <= room
    printed = page.locator(".jp-OutputArea pre").first
    assert printed.evaluate("pre => pre.scrollWidth") <= room


@pytest.mark.parametrize(("size", "is_wide"), [((640, 200), True), ((300, 300), False)])
def test_a_wide_figure_stays_readable_on_a_phone_and_scrolls(browser, tmp_path, size, is_wide):
    figure = {"image/png": png(size), "text/plain": "a figure"}
    cells = [with_output(new_output("display_data", figure))]
    nbformat.write(new_notebook(cells=cells), tmp_path / "figure.ipynb")
    page = browser.new_page(viewport={"width": 360, "height": 740})
    page.goto(pages.write_page(tmp_path / "figure.ipynb").as_uri())
    image = page.locator(".jp-RenderedImage img").bounding_box()
    assert image["width"] == (720 if is_wide else 300)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.close()


# --- several studies in a page, where no kernel can be asked --------------------------------------


def page_with(picker: viewer.StudyPicker, folder: Path) -> Path:
    """A saved page of a picker."""
    notebook = new_notebook(cells=[new_markdown_cell("# Studies"), displayed(picker)])
    state = embed_data(views=[picker])["manager_state"]
    notebook.metadata.widgets = {pages.WIDGET_STATE: state}
    path = folder / "picker.ipynb"
    nbformat.write(notebook, path)
    return pages.write_page(path)


@pytest.fixture(scope="module")
def page_of_picker(phantom_root, tmp_path_factory) -> Path:
    """Of six studies, the first of which is on show."""
    return page_with(viewer.StudyPicker(phantom_root), tmp_path_factory.mktemp("picker"))


@pytest.fixture
def several(visit, page_of_picker):
    screen = visit(page_of_picker.name, page_of_picker.parent)
    screen.page.wait_for_selector(".spine-viewer canvas")
    return screen


def shown_study(screen) -> str:
    """Of the one viewer that is to be seen."""
    (title,) = [one for one in screen.page.locator("strong").all() if one.is_visible()]
    return title.inner_text().removeprefix("Study ")


def listed(screen) -> list[str]:
    return screen.page.get_by_label("Study", exact=True).locator("option").all_inner_texts()


def test_a_page_has_the_first_studies_of_its_picker_and_says_how_many_it_has_not(several, tables):
    ids = [line.split(" · ")[0] for line in listed(several)]
    assert ids == [str(study) for study in tables.studies()[:4]]
    assert "severe" in listed(several)[0]
    said = several.page.get_by_text("4 of the 4 in this page; the running notebook has 6")
    assert said.is_visible()
    assert several.noise == [several.page.url]


def test_next_and_previous_step_through_them_and_round(several, tables):
    first, second, *_, last = map(str, tables.studies()[:4])
    assert shown_study(several) == first
    several.button("›").first.click()
    assert shown_study(several) == second
    several.button("‹").first.click()
    several.button("‹").first.click()
    assert shown_study(several) == last
    several.button("›").first.click()
    assert shown_study(several) == first


def test_the_search_finds_them_as_in_the_notebook(several, phantom_root):
    picker = viewer.StudyPicker(phantom_root, rsna.load_tables(phantom_root).studies()[:4])
    for words in ("severe canal", "moderate l4/l5", "left sub severe"):
        picker.search.value = words
        several.page.get_by_label("Search").fill(words)
        found = [str(study) for _, study in picker.list.options]
        assert [line.split(" · ")[0] for line in listed(several)] == found
        assert shown_study(several) == str(picker.viewer.study["id"])
    several.page.get_by_label("Search").fill("no such words")
    assert several.page.get_by_text("0 of the 4 in this page").is_visible()
    assert len(listed(several)) == len(found)


def test_a_quiz_goes_on_in_the_next_study_and_the_list_hides_its_grades(several, tables):
    several.button("Quiz").first.click()
    several.button("›").first.click()
    assert shown_study(several) == str(tables.studies()[1])
    assert several.page.get_by_text("Your grade? 0 of").last.is_visible()
    assert listed(several) == [str(study) for study in tables.studies()[:4]]


def test_a_page_that_opens_with_a_quiz_hides_the_grades_at_once(
    visit, phantom_root, tmp_path, tables
):
    page = page_with(viewer.StudyPicker(phantom_root, quiz=True), tmp_path)
    screen = visit(page.name, page.parent)
    screen.page.wait_for_selector(".spine-viewer canvas")
    assert listed(screen) == [str(study) for study in tables.studies()[:4]]


# --- from page to page --------------------------------------------------------------------------


def test_every_link_inside_the_book_leads_somewhere(built):
    assert dead_links(built) == []


@pytest.mark.slow
def test_so_does_every_link_in_the_projects_own_texts_and_each_notebook_makes_a_promise(tmp_path):
    for page in book.NOTEBOOKS:
        shutil.copy(ROOT / page.source, tmp_path)
    cover = book.build(tmp_path)
    assert dead_links(cover.parent) == []
    lines = [line.get_text() for line in parsed(cover).select("main li")]
    for page, line in zip(book.NOTEBOOKS, lines, strict=True):
        assert line.startswith(page.label)
        assert len(line) > 60


@pytest.mark.parametrize(("href", "address"), LINKS.items())
def test_a_link_leads_to_a_page_of_the_book_or_to_the_project_or_is_none(built, href, address):
    paragraphs = parsed(built / "01_eda.html").select("main p")
    paragraph = next(p for p in paragraphs if p.get_text() == href)
    assert (paragraph.a and paragraph.a["href"]) == address


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("6 · Train", "6--train"),
        ("How often is each grade?", "how-often-is-each-grade"),
        ("T1, T2, STIR", "t1-t2-stir"),
        ("zero-shot", "zero-shot"),
        ("L5/S1 on snake_case", "l5s1-on-snake_case"),
    ],
)
def test_headings_have_the_ids_that_github_gives_them(heading, name):
    assert pages.anchor(heading) == name


def test_of_two_headings_of_the_same_text_each_has_its_own_id():
    content = pages.render(new_notebook(cells=[new_markdown_cell("## Score\n\n## Score")]))
    assert [heading["id"] for heading in content("h2")] == ["score", "score-1"]


@pytest.mark.parametrize("page", book.PAGES, ids=lambda page: page.file)
def test_the_bar_leads_everywhere_and_marks_the_page_that_is_open(built, page):
    bar = parsed(built / page.file).select_one(".bar")
    links = [(link.get_text(), link["href"]) for link in bar("a")]
    assert links == [(other.label, other.file) for other in book.PAGES]
    assert [link["href"] for link in bar.select("[aria-current=page]")] == [page.file]


def test_next_goes_through_all_pages_and_previous_back(visit):
    page = visit("index.html").page
    forth, back = [page.url], []
    while page.locator("[rel=next]").count():
        page.locator("[rel=next]").click()
        forth.append(page.url)
    while page.locator("[rel=prev]").count():
        back.append(page.url)
        page.locator("[rel=prev]").click()
    assert [Path(url).name for url in forth] == [other.file for other in book.PAGES]
    assert [*back, page.url] == forth[::-1]


def test_the_bar_works_from_the_keyboard(visit):
    page = visit("index.html").page
    for key in ("Tab", "Tab", "Tab", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url("**/02_preprocess.html")


def test_the_contents_of_a_page_unfold_and_lead_to_its_sections(visit):
    page = visit("01_eda.html").page
    section = page.get_by_role("link", name="2 · Second part", exact=True)
    assert not section.is_visible()
    page.get_by_text("On this page").click()
    assert page.locator(".contents a").all_inner_texts() == ["1 · First part", "2 · Second part"]
    page.set_viewport_size({"width": 1200, "height": 200})
    section.click()
    heading, bar = (page.locator(name).bounding_box() for name in ("h2:target", ".bar"))
    assert heading["y"] > bar["height"], "the heading is hidden under the bar"


def test_on_a_wide_screen_the_contents_are_open_beside_the_text(visit):
    page = visit("01_eda.html").page
    page.set_viewport_size({"width": 1440, "height": 900})
    assert page.get_by_role("link", name="2 · Second part", exact=True).is_visible()
    assert not page.get_by_text("On this page").is_visible()
    beside, text = (page.locator(name).bounding_box() for name in (".contents", "main"))
    assert beside["x"] + beside["width"] < text["x"]


# --- the API ------------------------------------------------------------------------------------

DOCSTRING = """A function of <two> values, like `bootstrap` and `another`.

    first, second  a list, whose lines
                   go on
    third          or not
    Raises nothing. A layout::

        a  b
          c

    >>> 1 + 1
    2
    """
MODULES = api.modules()


def test_the_api_has_every_package():
    packages = {path.parent.name for path in (ROOT / "utils").glob("*/__init__.py")}
    assert packages <= set(api.LISTED)


def begins_with_what(value, entry) -> bool:
    """Whether the first paragraph of an entry is how the docstring of a value begins."""
    said = " ".join(entry.find_next("p").get_text().split())
    return bool(said) and " ".join(value.__doc__.replace("`", "").split()).startswith(said)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_has_an_entry_that_says_what_it_is_and_leads_to_its_source(built, module):
    page = parsed(built / "api.html")
    assert begins_with_what(module, page.find(id=api.entry_id(module)))
    for name, value in api.public_names(module).items():
        entry = page.find(id=api.entry_id(module, name))
        if entry.name == "tr":  # a constant: its value
            assert entry.code.get_text() == name
            assert entry("td")[1].get_text()
            continue
        source = ROOT / entry.a["href"].removeprefix(f"{GITHUB}/")
        assert re.search(rf"^(def|class) {name}\b", source.read_text("utf-8"), re.M), name
        assert begins_with_what(value, entry), name


def test_a_docstring_has_paragraphs_lists_layouts_and_examples():
    def documented():
        pass

    documented.__doc__ = DOCSTRING
    html = BeautifulSoup(api.docstring_html(documented, metrics), "html.parser")
    first, after = (p.get_text() for p in html("p"))
    assert first == "A function of <two> values, like bootstrap and another."
    assert [link["href"] for link in html("a")] == ["#metrics-bootstrap"]
    terms = [(dt.get_text(), dt.find_next("dd").get_text()) for dt in html("dt")]
    assert terms == [("first, second", "a list, whose lines go on"), ("third", "or not")]
    assert after == "Raises nothing. A layout:"
    layout, example = (pre.get_text() for pre in html("pre"))
    assert layout == "a  b\n  c"
    assert example == ">>> 1 + 1\n2\n"


def test_a_signature_is_as_it_is_written_and_a_long_one_has_a_line_for_each_parameter():
    short = api.signature("resample", prepare.resample)
    assert short == "resample(one: Slice, spacing_mm: float = 0.75) -> Slice"
    first, *parameters, last = api.signature("prepare", prepare.prepare).splitlines()
    assert (first, last) == ("prepare(", ") -> pd.DataFrame")
    assert parameters[0] == "    root: str | Path | Source,"
    assert api.signature("DicomError", dicom.DicomError) == "DicomError"


def test_the_api_tells_nothing_of_the_machine_that_made_it(built):
    text = (built / "api.html").read_text("utf-8")
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text
    assert " at 0x" not in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_api_is_read_in_light_and_dark_and_on_a_phone(visit, scheme):
    page = visit("api.html", color_scheme=scheme).page
    paper = luminance(page, ".highlight", "backgroundColor")
    for ink in (".highlight pre", ".highlight .gp", ".highlight .go", "dt code", "h3 .source"):
        light, dark = sorted((paper + 0.05, luminance(page, ink, "color") + 0.05), reverse=True)
        assert light / dark > 4.5, ink
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


# --- the cover ----------------------------------------------------------------------------------


def test_the_cover_lists_the_notebooks_in_order_with_their_own_promises(visit):
    page = visit("index.html").page
    lines = page.locator("main li").all_inner_texts()
    assert lines == [
        f"{each.label} In a minute you will know {each.label}." for each in book.NOTEBOOKS
    ]
    links = [a.get_attribute("href") for a in page.locator("main li a").all()]
    assert links == [each.file for each in book.NOTEBOOKS]
    assert page.locator("main table").count() == 0, "the README's table, which says the same"
    assert "not for diagnosis" in page.inner_text("main")


def test_its_image_is_there_and_has_an_alt_text(visit):
    (image,) = visit("index.html").page.locator("img").all()
    assert "viewer" in image.get_attribute("alt")
    assert image.evaluate("image => image.naturalWidth") > 500


def test_a_figure_is_named_after_its_section(built):
    (image,) = parsed(built / "01_eda.html").select("img")
    assert image["alt"] == "Figure of 2 · Second part"


def test_a_notebook_that_was_not_executed_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"01_eda\.ipynb is not there; `make book` runs"):
        book.build(tmp_path)
