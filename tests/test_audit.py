"""The audit: every fault that was made on purpose is found by name, and the real data set's published ones too."""

import shutil
from pathlib import Path

import pandas as pd
import pydicom
import pytest

from utils import audit, phantom, prepare, rsna, viewer
from utils.prepare import prepare_study

# What each quirk of the phantom is called when it is found.
FOUND_AS = {
    "several axial series": "several axial series",
    "sides on different series": "sides on different series",
    "missing series": "missing series",
    "missing tags": "missing tags",
    "mixed sizes": "mixed sizes",
    "upside down order": "order against anatomy",
    "instances from 5031": "instances do not begin at 1",
    "truncated file": "unreadable file",
    "empty file": "unreadable file",
    "cervical series": "wrong body part",
    "duplicate instances": "duplicate instances",
    "swapped sides": "sides exchanged",
    "placeholder points": "placeholder point",
    "label without point": "label without point",
    "point without label": "point without label",
}


@pytest.fixture(scope="module")
def findings(quirky_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("audit") / "audit.csv"
    table = audit.audit(quirky_root, out)
    assert pd.read_csv(out, keep_default_na=False).shape == table.shape
    return table


@pytest.mark.parametrize("quirk", phantom.QUIRKS)
def test_each_injected_fault_is_found_in_its_study(findings, quirky_root, quirk):
    dealt = pd.read_csv(quirky_root / "truth" / "quirks.csv")
    by_points = quirk == "sides on different series"  # which test studies do not have
    for study in dealt[(dealt.quirk == quirk) & ~(by_points & (dealt.split == "test"))].study_id:
        assert FOUND_AS[quirk] in set(findings[findings.study_id == study].kind)


def test_nothing_is_found_where_nothing_is_wrong(findings, quirky_root):
    dealt = pd.read_csv(quirky_root / "truth" / "quirks.csv")
    usual = {"order against anatomy", "missing label"}  # as often as in reality, in any study
    expected = {(study, FOUND_AS[quirk]) for study, quirk in zip(dealt.study_id, dealt.quirk)}
    # a study without a series has labels that nobody could point at; one with a neck too; two axial series are several
    follows = {("missing series", "label without point"), ("cervical series", "label without point")}
    follows |= {("sides on different series", "several axial series")}
    expected |= {(study, kind) for study, quirk in zip(dealt.study_id, dealt.quirk) for q, kind in follows if q == quirk}
    found = set(zip(findings.study_id, findings.kind))
    assert {pair for pair in found if pair[1] not in usual} <= expected


def test_counts_are_right(findings):
    counts = findings.kind.value_counts()
    assert counts["duplicate instances"] == 3
    assert counts["placeholder point"] == 2
    assert counts["unreadable file"] == 2  # one truncated, one empty, in the training studies
    assert counts["sides exchanged"] == 10  # both points of five levels


def test_a_clean_phantom_has_nothing_but_numbering(phantom_root):
    table = audit.audit(phantom_root)
    assert set(table.kind) <= {"order against anatomy", "missing label"}


def test_the_summary_says_what_is_done(findings):
    table = audit.summary(findings)
    assert table.findings.sum() == len(findings)
    assert (table.done.str.len() > 5).all()


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_quirky_study_can_be_prepared(quirky_root, split):
    tables = rsna.load_tables(quirky_root)
    for study in tables.studies(split):
        ready = prepare_study(tables, study)
        assert len(ready.series) >= 2


def test_exchanged_and_placeholder_points_do_not_reach_the_store(quirky_root):
    tables = rsna.load_tables(quirky_root)
    dealt = pd.read_csv(quirky_root / "truth" / "quirks.csv").query("split == 'train'").set_index("quirk").study_id
    swapped = prepare_study(tables, dealt["swapped sides"])
    assert not swapped.points.condition.str.contains("Foraminal").any()
    assert "the left point lies" in " ".join(why for _, why in swapped.left_out)
    assert (prepare_study(tables, dealt["placeholder points"]).points.condition == rsna.CANAL).sum() == 3


def test_folders_that_are_not_there(phantom_root, tmp_path):
    root = shutil.copytree(phantom_root, tmp_path / "data")
    tables = rsna.load_tables(root)
    whole, cut = tables.studies()[:2]
    shutil.rmtree(tables.folder(whole))
    shutil.rmtree(tables.folder(cut, tables.series_of(cut).series_id.iloc[0]))
    shutil.rmtree(root / "test_images")
    table = audit.audit(root).set_index("kind")
    assert table.loc["series without images", "study_id"] == cut
    seen = table.loc[["study without images"]]
    assert whole in set(seen.study_id.dropna())
    assert "2 of 2 test studies" in " ".join(seen.seen)


def test_points_that_lie_nowhere_are_found(phantom_root, whole_study, tmp_path):
    root = shutil.copytree(phantom_root, tmp_path / "data")
    points = pd.read_csv(root / "train_label_coordinates.csv")
    canal = points.index[(points.study_id == whole_study) & (points.condition == rsna.CANAL)]
    points.loc[canal[0], "x"] = 5000.0
    points.loc[canal[1], "instance_number"] = 999
    points.loc[canal[[3, 4]], "level"] = points.loc[canal[[4, 3]], "level"].to_numpy()
    points.to_csv(root / "train_label_coordinates.csv", index=False)
    table = audit.audit(root)
    counts = table[table.study_id == whole_study].kind.value_counts()
    assert counts["point outside the image"] == counts["point on a missing slice"] == 1
    assert counts["levels out of order"] == 2


def test_any_folder_of_files_goes_through(tmp_path):
    """Every test file of pydicom (broken ones, colour, other scanners, no images at all) as one series."""
    (tmp_path / "train_series_descriptions.csv").write_text("study_id,series_id,series_description\n1,2,Axial T2\n")
    folder = tmp_path / "train_images" / "1" / "2"
    folder.mkdir(parents=True)
    files = [p for p in sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*")) if p.is_file()]
    for k, path in enumerate(files):
        shutil.copy(path, folder / f"{k}-{path.name}")
    table = audit.audit(tmp_path)
    assert (table.kind == "unreadable file").sum() > 100
    assert "mixed sizes" in set(table.kind)


def test_nobodys_name_reaches_store_audit_or_viewer(phantom_root, tmp_path):
    root = shutil.copytree(phantom_root, tmp_path / "data")
    tables = rsna.load_tables(root)
    study = tables.studies()[0]
    for path in tables.folder(study).rglob("*.dcm"):
        data = pydicom.dcmread(path)
        data.PatientName, data.PatientID, data.PatientBirthDate = "DOE^JANE<script>", "MRN-0815", "19501224"
        data.save_as(path)
    spoiled = next(tables.folder(study).rglob("*.dcm"))
    spoiled.write_bytes(spoiled.read_bytes()[:1500])
    prepare.save_study(prepare_study(tables, study), tmp_path)
    audit.audit(root, tmp_path / "audit.csv")
    (tmp_path / "viewer.html").write_text(viewer.viewer_html(viewer.payload(tables, study)))
    for path in tmp_path.glob("*.*"):
        content = path.read_bytes()
        assert not any(secret in content for secret in (b"DOE^JANE", b"MRN-0815", b"19501224")), path.name


def test_the_real_tables_show_the_published_faults(real_root):
    table = audit.audit(real_root)
    counts = table.kind.value_counts()
    assert counts["missing label"] + counts["point without label"] == 572
    assert (counts["placeholder point"], counts["several axial series"], counts["missing series"]) == (13, 335, 3)
    assert counts["known fault"] == len(rsna.known_faults())  # every id of the register exists
    read = table[(table.study_id == 100206310) & ~table.kind.isin(["known fault"])]
    assert set(read.kind) <= {"order against anatomy"}  # the one study whose images are here is sound
