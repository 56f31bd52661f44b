"""The page of a study: says what it is, what was not seen, and runs nothing that the data
contain."""

import re
import shutil
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from tools.film import film
from utils import inference, metrics, prepare, rsna
from utils.crops import POINT_MM, point_table
from utils.errors import LumbarError
from utils.inference import report
from utils.inference.levels import level_doubt
from utils.presets import Preset
from utils.rsna import CANAL, GRADE_COLUMNS, TARGETS

SCRIPT = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
BROKEN = "<img src=x onerror='window.hacked=1'>.dcm"


@pytest.fixture
def predictions(tables, whole_study):
    """Invented probabilities at the annotated points; the canal of L1/L2 has the prior's."""
    prior = metrics.prior(tables.labels, smoothing=4)
    run = inference.Run(Path("run"), "run 123", Preset("test"), (), prior, 1.0)
    table = inference.prior_prediction(run, whole_study, "it was dark")
    p = np.random.default_rng(0).dirichlet((1, 1, 1), len(TARGETS))
    p[1] = 0.05, 0.05, 0.9
    table.loc[1:, list(GRADE_COLUMNS)] = p[1:]
    table.loc[1:, "note"] = ""
    table.loc[1:, "source"] = inference.MODEL
    table[POINT_MM] = point_table(prepare.prepare_study(tables, whole_study).points)
    return table


def test_it_says_what_it_is_what_was_predicted_and_what_was_not_seen(
    tables, predictions, whole_study, tmp_path
):
    out = tmp_path / "new" / "study.html"
    page = report.write_report(tables, whole_study, predictions, out, "run 123").read_text()
    assert page.count(report.NOT_FOR_DIAGNOSIS) == 2
    assert f"run 123 · data {tables.root.name} · lumbar-spine-notebooks " in page
    assert page.count("<td>") == len(TARGETS)
    assert page.count("not seen: prior") == 1
    reason = "weighted prior; the study could not be graded: it was dark"
    assert f"<li>{CANAL} L1/L2: {reason}</li>" in page
    assert f"{CANAL} L2/L3: Severe 90\u00a0%; instance " in page  # the image at the point


def test_how_the_spine_is_curved_is_told_once_where_it_was_measured(
    tables, predictions, whole_study, tmp_path
):
    path = tmp_path / "page.html"
    curved = predictions.assign(lordosis_degrees=44.6, scoliosis_degrees=3.2)
    text = report.write_report(tables, whole_study, curved, path, "a run").read_text()
    said = "lordosis from L1/L2 to L5/S1 45°, the canal bends sideways by 3°"
    assert text.count(said) == 1
    unknown = predictions.assign(lordosis_degrees=float("nan"), scoliosis_degrees=float("nan"))
    text = report.write_report(tables, whole_study, unknown, path, "a run").read_text()
    assert "lordosis" not in text


def test_its_frame_in_a_notebook_shows_it_whole_with_and_without_measures(
    tables, predictions, whole_study, browser
):
    measured = predictions.assign(
        sac_mm=9.9, sac_mm2=99.0, disc_mm=5.5, bulge_mm=5.0, slip_mm=-5.0, lordosis_degrees=44.0
    )
    for given in (predictions, measured):
        page = browser.new_page(viewport={"width": 1080, "height": 900})
        page.set_content(report.as_html(tables, whole_study, given, "run 123").data)
        frame = page.frames[-1]
        frame.wait_for_load_state()
        needs, has = frame.evaluate("[document.documentElement.scrollHeight, innerHeight]")
        assert needs <= has
        page.close()


def test_inside_a_notebook_it_is_the_same_page_without_viewer_and_scripts(
    tables, predictions, whole_study, tmp_path
):
    arguments = tables, whole_study, predictions
    whole = report.write_report(*arguments, tmp_path / "study.html", "run 123").read_text()
    shown = report.as_html(*arguments, "run 123").data
    page = unescape(re.search(r'srcdoc="([^"]*)"', shown)[1])
    body = page.partition("<body>")[2]
    findings, origin = body.removesuffix("</body></html>").rsplit("<p class=small>", 1)
    assert findings in whole
    assert origin in whole
    assert body.count("<td>") == len(TARGETS)
    assert "<script" not in page


def test_a_note_alone_does_not_make_a_prediction_the_priors(
    tables, predictions, whole_study, tmp_path
):
    noted = predictions.assign(note="prior used: doubtful", source=inference.MODEL)
    page = report.write_report(tables, whole_study, noted, tmp_path / "study.html").read_text()
    assert f"<li>{CANAL} L1/L2: prior used: doubtful</li>" in page
    assert "not seen: prior" not in page
    assert "weighted prior; " not in page


def test_a_study_without_predictions_is_refused_with_what_to_do(tables, predictions, tmp_path):
    with pytest.raises(LumbarError, match=r"study 1 is not among .* grade it first"):
        report.write_report(tables, 1, predictions, tmp_path / "x.html")


def test_predictions_of_an_earlier_version_are_refused_with_what_to_do(
    tables, predictions, whole_study, tmp_path
):
    old = predictions.drop(columns="source")
    with pytest.raises(LumbarError, match=r"no column 'source'.* predict again"):
        report.write_report(tables, whole_study, old, tmp_path / "x.html")


@pytest.fixture
def hostile(phantom_root, whole_study, tmp_path):
    """Markup in every text field of the headers, in a broken file's name, in the tables, in the
    predictions' notes."""
    root = shutil.copytree(phantom_root, tmp_path / "data")
    for path in (root / "train_images" / str(whole_study)).rglob("*.dcm"):
        data = pydicom.dcmread(path)
        data.PatientName = "<script>window.hacked^</script>"
        for tag in (
            "SeriesDescription",
            "StudyDescription",
            "ProtocolName",
            "InstitutionName",
            "ImageComments",
        ):
            setattr(data, tag, SCRIPT[:64])
        data.save_as(path)
    (path.parent / BROKEN).write_bytes(b"broken")
    tables = rsna.load_tables(root)
    more = tables.series[tables.series.study_id == whole_study].iloc[:1]
    shutil.copytree(
        tables.folder(whole_study, int(more.series_id.iloc[0])), tables.folder(whole_study, 666)
    )
    labels = tables.labels.assign(note=SCRIPT)
    series = pd.concat([tables.series, more.assign(series_description=SCRIPT, series_id=666)])
    return replace(tables, series=series, labels=labels)  # past the check of the tables


def test_no_text_of_the_data_becomes_markup(hostile, predictions, whole_study, tmp_path, browser):
    noted = predictions.assign(note=SCRIPT, run=SCRIPT)
    path = report.write_report(hostile, whole_study, noted, tmp_path / "study.html", SCRIPT)
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector(".spine-viewer canvas")
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0
    assert SCRIPT in page.inner_text("body")  # it is shown, as text
    assert BROKEN in page.inner_text("body")
    page.close()


def test_markup_in_the_tables_stays_text(phantom_root, predictions, whole_study, tmp_path):
    root = shutil.copytree(phantom_root, tmp_path / "data")
    path = root / "train_series_descriptions.csv"
    rows = pd.read_csv(path)
    first = rows.index[rows.study_id == whole_study][0]
    rows.loc[first, "series_description"] = "<script>document.title = 'taken'</script>"
    rows.to_csv(path, index=False)
    tables = rsna.load_tables(root)
    page = report.write_report(tables, whole_study, predictions, tmp_path / "study.html")
    text = page.read_text()
    assert "<script>document" not in text
    assert "&lt;script&gt;document" in text  # named among what was left out


def test_it_prints_without_the_viewer(tables, predictions, whole_study, tmp_path, browser):
    path = report.write_report(tables, whole_study, predictions, tmp_path / "study.html")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.emulate_media(media="print")
    assert not page.locator(".spine-viewer").first.is_visible()
    assert page.locator("table.grid").is_visible()
    assert len(page.pdf(format="A4")) > 10_000
    page.close()


def test_a_doubt_about_the_levels_is_said_once_above_the_grades(
    tables, predictions, whole_study, tmp_path
):
    """And what else there is to say of a prediction is said where it was."""
    canal = predictions.condition == CANAL
    moved = predictions.z_mm.where(~canal | (predictions.level != "L4/L5"), predictions.z_mm + 25)
    doubtful = predictions.assign(z_mm=moved)
    doubt = level_doubt(doubtful.loc[canal, POINT_MM].to_numpy(float))
    assert doubt
    notes = [f"{doubt}; seen without Axial T2" if k == 3 else doubt for k in range(len(TARGETS))]
    noted = doubtful.assign(note=notes)
    page = report.write_report(tables, whole_study, noted, tmp_path / "study.html").read_text()
    above_the_viewer = page[: page.index("Images, labels and predictions")]
    assert above_the_viewer.count(escape(doubt)) == 1
    assert page.index(escape(doubt)) < page.index("<table class=grid")
    assert above_the_viewer.count("level doubtful") == len(TARGETS)
    assert f"<li>{CANAL} L4/L5: seen without Axial T2</li>" in page


def test_a_film_of_the_viewer_moves_and_is_small(
    tables, predictions, whole_study, tmp_path, browser
):
    page = report.write_report(tables, whole_study, predictions, tmp_path / "study.html")
    shown = Image.open(film(browser, page, tmp_path / "film.webp"))
    assert shown.n_frames > 8
    assert (tmp_path / "film.webp").stat().st_size < 2e6
    shipped = Path(__file__).parent.parent / "docs" / "viewer.webp"
    assert Image.open(shipped).n_frames > 8
    assert shipped.stat().st_size < 2e6
