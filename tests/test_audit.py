"""The audit: every anomaly that was injected is found by name, and the real data set's published
errors too."""

import shutil
from pathlib import Path

import pandas as pd
import pydicom
import pytest

from utils import audit, phantom, prepare, rsna, viewer
from utils.course.anomalies import FOUND_AS, found_anomalies
from utils.prepare import prepare_study

# What else an anomaly brings with it: labels without a point where there is no series to mark the
# point on, or where the neck was scanned.
FOLLOWS = {
    "missing series": "label without point",
    "cervical series": "label without point",
    "sides on different series": "several axial series",
}
# Found in any study, as often as in the real data.
USUAL = {"order against anatomy", "missing label"}
SECRETS = ("DOE^JANE", "MRN-0815", "19501224")


@pytest.fixture(scope="module")
def findings(anomalous_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("audit") / "audit.csv"
    table = audit.audit(anomalous_root, out)
    assert pd.read_csv(out, keep_default_na=False).shape == table.shape
    return table


@pytest.fixture(scope="module")
def assigned(anomalous_root):
    """Which anomaly was injected into which study: split, study_id, anomaly."""
    return pd.read_csv(anomalous_root / "truth" / "anomalies.csv")


@pytest.mark.parametrize("anomaly", phantom.ANOMALIES)
def test_each_injected_anomaly_is_found_in_its_study(findings, assigned, anomaly):
    injected = assigned[assigned.anomaly == anomaly]
    if anomaly == "sides on different series":  # seen from points, which test studies do not have
        injected = injected[injected.split == "train"]
    for study in injected.study_id:
        assert FOUND_AS[anomaly] in set(findings[findings.study_id == study].kind)


def test_a_table_ticks_what_was_found(findings, assigned):
    injected = assigned[assigned.split == "train"]
    table = found_anomalies(injected, findings)
    assert table.index.tolist() == list(phantom.ANOMALIES) == list(FOUND_AS)
    assert set(table.found) == {"✓"}
    assert "several axial series" in table["found there, too"]["sides on different series"]
    empty_file = table["the audit's name for it"] == "unreadable file"
    missed = found_anomalies(injected, findings[findings.kind != "unreadable file"])
    assert missed.found.eq("✗").tolist() == empty_file.tolist()


def test_a_finding_of_another_series_is_not_what_was_injected(findings, assigned):
    """Sagittal series are often numbered against anatomy: that says nothing of the axial one."""
    injected = assigned[(assigned.split == "train") & (assigned.anomaly == "upside down order")]
    assert found_anomalies(injected, findings).found.tolist() == ["✓"]
    of_another = findings.assign(series_id=findings.series_id + 1)
    assert found_anomalies(injected, of_another).found.tolist() == ["✗"]


def test_nothing_is_found_where_nothing_is_wrong(findings, assigned):
    expected = set()
    for study, anomaly in zip(assigned.study_id, assigned.anomaly):
        expected |= {(study, FOUND_AS[anomaly]), (study, FOLLOWS.get(anomaly))}
    unusual = findings[~findings.kind.isin(USUAL)]
    assert set(zip(unusual.study_id, unusual.kind)) <= expected


def test_counts_are_right(findings):
    counts = findings.kind.value_counts()
    assert counts["duplicate instances"] == 3
    assert counts["placeholder point"] == 2
    assert counts["unreadable file"] == 2, "one truncated, one empty, in the training studies"
    assert counts["sides exchanged"] == 10, "both points of five levels"


def test_a_clean_phantom_has_nothing_unusual(phantom_root):
    assert set(audit.audit(phantom_root).kind) <= USUAL


def test_the_summary_says_what_is_done(findings):
    table = audit.summary(findings)
    assert table.findings.sum() == len(findings)
    assert (table.done.str.len() > 5).all()


def test_a_finding_of_a_kind_that_has_no_entry_is_refused():
    assert audit.Finding("missing label").complete().done == audit.KINDS["missing label"]
    with pytest.raises(KeyError, match="no such kind"):
        audit.Finding("no such kind").complete()


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_anomalous_study_can_be_prepared(anomalous_root, split):
    tables = rsna.load_tables(anomalous_root)
    for study in tables.studies(split):
        assert len(prepare_study(tables, study).series) >= 2


def test_exchanged_and_placeholder_points_are_not_prepared(anomalous_root, assigned):
    tables = rsna.load_tables(anomalous_root)
    study_of = assigned[assigned.split == "train"].set_index("anomaly").study_id
    swapped = prepare_study(tables, study_of["swapped sides"])
    assert not swapped.points.condition.str.contains("Foraminal").any()
    assert "the left point lies" in " ".join(why for _, why in swapped.left_out)
    placeholders = prepare_study(tables, study_of["placeholder points"])
    assert (placeholders.points.condition == rsna.CANAL).sum() == 3


def test_folders_that_are_not_there_are_found(phantom_root, tmp_path):
    root = shutil.copytree(phantom_root, tmp_path / "data")
    tables = rsna.load_tables(root)
    gone, partial = tables.studies()[:2]
    shutil.rmtree(tables.folder(gone))
    shutil.rmtree(tables.folder(partial, tables.series_of(partial).series_id.iloc[0]))
    shutil.rmtree(root / "test_images")
    table = audit.audit(root).set_index("kind")
    assert table.loc["series without images", "study_id"] == partial
    studies = table.loc[["study without images"]]
    assert gone in set(studies.study_id.dropna())
    assert "2 of 2 test studies" in " ".join(studies.seen)


def test_points_that_are_on_no_image_or_out_of_order_are_found(phantom_root, whole_study, tmp_path):
    root = shutil.copytree(phantom_root, tmp_path / "data")
    path = root / "train_label_coordinates.csv"
    points = pd.read_csv(path)
    canal = points.index[(points.study_id == whole_study) & (points.condition == rsna.CANAL)]
    points.loc[canal[0], "x"] = 5000.0
    points.loc[canal[1], "instance_number"] = 999
    points.loc[canal[[3, 4]], "level"] = points.loc[canal[[4, 3]], "level"].to_numpy()
    points.to_csv(path, index=False)
    table = audit.audit(root)
    counts = table[table.study_id == whole_study].kind.value_counts()
    assert counts["point outside the image"] == 1
    assert counts["point on a missing slice"] == 1
    assert counts["levels out of order"] == 2


def test_any_folder_of_files_goes_through(tmp_path):
    """Every test file of pydicom (broken ones, colour, other scanners, no images at all) as one
    series."""
    table = "study_id,series_id,series_description\n1,2,Axial T2\n"
    (tmp_path / "train_series_descriptions.csv").write_text(table)
    folder = tmp_path / "train_images" / "1" / "2"
    folder.mkdir(parents=True)
    examples = Path(pydicom.__file__).parent / "data" / "test_files"
    for k, path in enumerate(sorted(p for p in examples.rglob("*") if p.is_file())):
        shutil.copy(path, folder / f"{k}-{path.name}")
    kinds = audit.audit(tmp_path).kind
    assert (kinds == "unreadable file").sum() > 100
    assert "mixed sizes" in set(kinds)


def test_no_patients_name_reaches_what_is_written(phantom_root, tmp_path):
    """Prepared data, audit and viewer; also of a series with a file that cannot be read."""
    root = shutil.copytree(phantom_root, tmp_path / "data")
    tables = rsna.load_tables(root)
    study = tables.studies()[0]
    name, number, birthday = SECRETS
    for path in tables.folder(study).rglob("*.dcm"):
        data = pydicom.dcmread(path)
        data.PatientName = f"{name}<script>"
        data.PatientID = number
        data.PatientBirthDate = birthday
        data.save_as(path)
    truncated = next(tables.folder(study).rglob("*.dcm"))
    truncated.write_bytes(truncated.read_bytes()[:1500])
    prepare.save_study(prepare_study(tables, study), tmp_path)
    audit.audit(root, tmp_path / "audit.csv")
    (tmp_path / "viewer.html").write_text(viewer.viewer_html(viewer.payload(tables, study)))
    written = list(tmp_path.glob("*.*"))
    assert len(written) == 5  # three of the prepared study
    for path in written:
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in SECRETS), path.name


@pytest.mark.slow
def test_the_real_tables_show_the_published_errors(real_root):
    table = audit.audit(real_root)
    counts = table.kind.value_counts()
    assert counts["missing label"] + counts["point without label"] == 572
    assert counts["placeholder point"] == 13
    assert counts["several axial series"] == 335
    assert counts["missing series"] == 3
    assert counts["known fault"] == len(rsna.known_faults()), "every id of the register exists"
    whole = table[(table.study_id == 100206310) & (table.kind != "known fault")]
    assert set(whole.kind) <= {"order against anatomy"}, "the study whose images are here is sound"


def axial_folder(root, study):
    tables = rsna.load_tables(root)
    ids = tables.series_of(study).set_index("series_description").series_id
    return tables.folder(study, ids[rsna.AXIAL_T2])


def with_second_echo(folder):
    data = pydicom.dcmread(folder / "1.dcm")
    data.EchoTime = 20
    data.decompress()
    data.PixelData = (data.pixel_array // 2).tobytes()
    data.save_as(folder / "900.dcm")


def with_scout(folder):
    data = pydicom.dcmread(folder / "1.dcm")
    data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    data.save_as(folder / "900.dcm")


def renumbered(folder):
    data = pydicom.dcmread(folder / "1.dcm")
    data.InstanceNumber = 77
    data.save_as(folder / "1.dcm")


def unnumbered(folder):
    for path in sorted(folder.iterdir()):
        data = pydicom.dcmread(path)
        data.InstanceNumber = None
        data.save_as(folder / f"{path.stem}-x")
        path.unlink()


IN_A_FOLDER = {
    "several images of one plane": with_second_echo,
    "other planes in one series": with_scout,
    "instance numbers unlike file names": renumbered,
    "unclear instance numbers": unnumbered,
}


@pytest.mark.parametrize("kind", IN_A_FOLDER)
def test_a_folder_that_is_not_one_stack_is_found(phantom_root, whole_study, tmp_path, kind):
    root = shutil.copytree(phantom_root, tmp_path / "data")
    IN_A_FOLDER[kind](axial_folder(root, whole_study))
    findings = audit.audit(root)
    assert kind in set(findings[findings.study_id == whole_study].kind)


def test_what_tables_and_folders_do_not_agree_on_is_found(phantom_root, whole_study, tmp_path):
    root = shutil.copytree(phantom_root, tmp_path / "data")
    (root / "train_images" / "77" / "78").mkdir(parents=True)
    (root / "train_images" / str(whole_study) / "79").mkdir()
    path = root / "train_series_descriptions.csv"
    rows = pd.read_csv(path)
    rows.loc[0, "series_description"] = "Axial T1"
    pd.concat([rows, rows.tail(1)]).to_csv(path, index=False)
    findings = audit.audit(root)
    unlisted = findings[findings.kind == "folder in no table"]
    assert set(unlisted.seen) == {"train_images/77", f"train_images/{whole_study}/79"}
    unknown = findings[findings.kind == "unknown description"]
    assert unknown.seen.tolist() == ["described as 'Axial T1'"]
    cells = findings[findings.kind == "unusable cell"]
    assert "is there more than once" in cells.seen.item()


def test_several_points_for_one_target_are_found(phantom_root, whole_study, tmp_path):
    root = shutil.copytree(phantom_root, tmp_path / "data")
    path = root / "train_label_coordinates.csv"
    points = pd.read_csv(path)
    again = points[points.study_id == whole_study].head(1).assign(y=lambda rows: rows.y + 20)
    pd.concat([points, again]).to_csv(path, index=False)
    findings = audit.audit(root)
    assert (findings.kind == "several points for one target").sum() == 2


def test_a_folder_that_cannot_be_listed_is_a_finding_and_the_rest_is_audited(
    phantom_root, whole_study, refuse_to_list
):
    refuse_to_list(axial_folder(phantom_root, whole_study))
    findings = audit.audit(phantom_root, jobs=1)
    unreadable = findings[findings.kind == "unreadable series"]
    assert unreadable.study_id.tolist() == [whole_study]
    assert unreadable.seen.item() == "could not be read from the disk (Permission denied)"
