"""The cases that a figure shows are typical of their grade, whatever data set it is."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from utils import phantom, rsna
from utils.course.cases import Case, true_rooms, typical_cases, typical_crop, unequal_sides
from utils.phantom.sheet import LEVEL, ROWS, SHEET_SEED, one_grade_changed, spine_with


def room_of(tables: rsna.Tables, family: str, grade: str) -> float:
    """mm that are left in the case that a figure shows."""
    case, *_ = typical_cases(tables, family, grade)
    known = true_rooms(tables).set_index(["study_id", "condition", "level"]).measure_mm
    return known[case]


@pytest.mark.parametrize("seed", range(3))
def test_a_severe_example_has_less_room_than_a_moderate_one_and_that_less_than_a_normal_one(
    tmp_path, seed
):
    root = phantom.make_dataset(tmp_path / "data", 5, seed=seed, test_studies=0, size=(48, 48))
    tables = rsna.load_tables(root)
    for family in rsna.FAMILIES:
        rooms = [room_of(tables, family, grade) for grade in rsna.GRADES]
        assert rooms == sorted(rooms, reverse=True), family
        assert len(set(rooms)) == len(rooms)


@pytest.mark.parametrize("seed", [SHEET_SEED, *range(12)])
@pytest.mark.parametrize("condition", dict.fromkeys(row.condition for row in ROWS))
def test_in_one_patient_each_grade_leaves_less_than_the_one_before(seed, condition):
    rooms = [spine_with(seed, condition, k).measure_mm(condition, LEVEL) for k in range(3)]
    assert rooms == sorted(rooms, reverse=True)
    assert len(set(rooms)) == len(rooms)


@pytest.mark.parametrize("condition", dict.fromkeys(row.condition for row in ROWS))
def test_in_the_patient_who_is_shown_nothing_else_changes(condition):
    for other in {target.condition for target in rsna.TARGETS} - {condition}:
        rooms = [spine_with(SHEET_SEED, condition, k).measure_mm(other, LEVEL) for k in range(3)]
        assert rooms == pytest.approx([rooms[0]] * 3)


def test_one_picture_of_each_grade_of_each_family():
    images = one_grade_changed(px=32)
    assert images.shape == (3, 3, 32, 32)
    assert 0 <= images.min() < 0.1 < 0.9 < images.max() == 1
    changed = np.abs(np.diff(images, axis=1)).max((2, 3))
    assert (changed > 0.2).all()


def test_of_patients_those_cases_come_first_at_whose_level_least_else_is_narrowed(
    tables, monkeypatch, tmp_path
):
    left = "Left Neural Foraminal Narrowing"
    rows = [
        (1, left, "L3/L4", "Severe"),
        (1, rsna.CANAL, "L3/L4", "Severe"),
        (2, left, "L4/L5", "Severe"),
        (2, rsna.CANAL, "L4/L5", "Normal/Mild"),
        (3, left, "L1/L2", "Severe"),  # has no point
        (9, left, "L1/L2", "Severe"),  # is not on this disk
        (1, "Right Neural Foraminal Narrowing", "L3/L4", "Moderate"),
        (2, left, "L5/S1", None),
    ]
    labels = pd.DataFrame(rows, columns=["study_id", "condition", "level", "grade"])
    points = labels[labels.study_id != 3]
    patients = replace(tables, root=tmp_path, labels=labels, points=points)
    monkeypatch.setattr(rsna.Tables, "studies", lambda _, split="train": [1, 2, 3])
    found = typical_cases(patients, "foraminal", "Severe")
    assert found == [Case(2, left, "L4/L5"), Case(1, left, "L3/L4")]
    assert typical_cases(patients, "foraminal", "Moderate") == []  # the right one alone


def test_mirroring_is_shown_on_a_study_whose_sides_differ(tables, monkeypatch):
    left, right = "Left Subarticular Stenosis", "Right Subarticular Stenosis"
    rows = [(1, "Severe", "Severe"), (2, "Moderate", "Severe"), (3, "Severe", "Normal/Mild")]
    rows += [(4, "Normal/Mild", None)]
    sides = pd.DataFrame(rows, columns=["study_id", left, right])
    labels = sides.melt("study_id", var_name="condition", value_name="grade").assign(level="L4/L5")
    monkeypatch.setattr(rsna.Tables, "whole_studies", lambda _: [4, 1, 2, 3])
    assert unequal_sides(replace(tables, labels=labels), "L4/L5") == 3
    assert unequal_sides(replace(tables, labels=labels[labels.study_id == 1]), "L4/L5") == 4
    assert unequal_sides(replace(tables, labels=labels), "L1/L2") == 4  # nothing is known there


def test_a_crop_of_a_typical_case_is_an_image_and_of_none_is_empty(tables):
    shown = typical_crop(tables, "spinal", "Normal/Mild", px=40)
    assert shown.shape == (40, 40)
    assert 0 <= shown.min() < shown.max() == 1
    nothing = replace(tables, labels=tables.labels.iloc[:0])
    assert np.isnan(typical_crop(nothing, "spinal", "Severe", px=40)).all()
