"""What may be believed of out-of-fold predictions: intervals, agreement and calibration by hand."""

from math import log

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from utils import metrics, rsna
from utils.course import plots
from utils.rsna import CANAL, FAMILIES, FAMILY, GRADE_COLUMNS, GRADES, LEVELS, TARGETS

LEFT = "Left Neural Foraminal Narrowing"
RECESS = "Left Subarticular Stenosis"
NORMAL, MODERATE, SEVERE = GRADES


def ask(*rows):
    """Truth and submission of rows (study, condition, level, true grade, three probabilities)."""
    truth = pd.DataFrame([r[:4] for r in rows], columns=["study_id", "condition", "level", "grade"])
    return truth, pd.DataFrame(
        [(rsna.row_id(*r[:3]), *r[4]) for r in rows], columns=["row_id", *GRADE_COLUMNS]
    )


TWO_STUDIES = ask(
    (1, CANAL, "L1/L2", SEVERE, (0.2, 0.3, 0.5)),
    (1, CANAL, "L2/L3", NORMAL, (0.6, 0.3, 0.1)),
    (2, CANAL, "L1/L2", MODERATE, (0.5, 0.25, 0.25)),
    (1, LEFT, "L4/L5", MODERATE, (0.5, 0.4, 0.1)),
    (2, LEFT, "L4/L5", NORMAL, (0.9, 0.1, 0.0)),
    (2, RECESS, "L4/L5", SEVERE, (0.1, 0.1, 0.8)),
)


def made_up(studies, seed=0):
    """All 25 questions of so many studies, one label in twenty missing, predicted with some
    skill."""
    rng, places = (
        np.random.default_rng(seed),
        [(study, *target) for study in range(studies) for target in TARGETS],
    )
    grades = rng.choice(3, len(places), p=(0.7, 0.2, 0.1))
    skill = np.exp(rng.normal(0, 1, (len(places), 3)) + 1.5 * np.eye(3)[grades])
    predictions = skill / skill.sum(axis=1, keepdims=True)
    truth, prediction = ask(
        *((*place, GRADES[k], p) for place, k, p in zip(places, grades, predictions))
    )
    return truth.assign(grade=truth.grade.mask(rng.random(len(truth)) < 0.05)), prediction


def perfect(truth):
    p = np.eye(3)[truth.grade.map(GRADES.index)]
    return ask(*zip(truth.study_id, truth.condition, truth.level, truth.grade, p))[1]


MANY = made_up(40)


@pytest.mark.parametrize("asked", [TWO_STUDIES, MANY], ids=["two studies", "forty"])
def test_bootstrap_reports_the_very_score_of_the_competition(asked):
    table, score = metrics.bootstrap(*asked, draws=10), metrics.rsna_score(*asked)
    assert table.index.tolist() == ["spinal", "foraminal", "subarticular", "any_severe", "total"]
    assert table.score.to_dict() == pytest.approx(vars(score) | {"total": score.total}, abs=1e-12)


def test_the_interval_of_two_studies_by_hand():
    asked = ask(
        (1, CANAL, "L1/L2", SEVERE, (0.3, 0.2, 0.5)), (2, CANAL, "L1/L2", SEVERE, (0.5, 0.25, 0.25))
    )
    row = metrics.bootstrap(*asked).loc["spinal"]
    # of the resampled sets a quarter are study 1 twice (loss ln 2), a quarter study 2 twice (ln 4),
    # the rest one of each
    assert row.to_list() == pytest.approx([(log(2) + log(4)) / 2, log(2), log(4)])
    assert metrics.bootstrap(*asked, level=0.4).loc["spinal"].to_list() == pytest.approx(
        [(log(2) + log(4)) / 2] * 3
    )


def test_the_interval_holds_the_score_and_a_higher_level_is_wider():
    narrow, wide = (metrics.bootstrap(*MANY, level=level) for level in (0.8, 0.95))
    assert (
        (wide.low < narrow.low)
        & (narrow.low < wide.score)
        & (wide.score < narrow.high)
        & (narrow.high < wide.high)
    ).all()


def test_more_studies_give_a_narrower_interval():
    few, many = (metrics.bootstrap(*made_up(n)) for n in (10, 160))
    assert (
        (many.high - many.low) < (few.high - few.low) / 2
    ).all()  # a sixteenth of the variance, a quarter of the width


def test_five_levels_that_say_the_same_are_no_more_evidence_than_one():
    rows = [
        (s, CANAL, level, NORMAL, (p, 1 - p, 0))
        for s, p in enumerate(np.linspace(0.3, 0.9, 12))
        for level in LEVELS
    ]
    one = [row for row in rows if row[2] == "L4/L5"]
    pd.testing.assert_frame_equal(metrics.bootstrap(*ask(*rows)), metrics.bootstrap(*ask(*one)))


def test_a_draw_without_a_row_of_a_term_leaves_the_term_out():
    table = metrics.bootstrap(
        *TWO_STUDIES
    )  # only study 2 has a recess; a quarter of the sets are study 1 twice
    assert table.loc["subarticular"].to_list() == pytest.approx([-log(0.8)] * 3)
    assert np.isfinite(table).all(axis=None)


def test_one_study_has_a_point_for_an_interval_and_no_label_at_all_has_nothing():
    truth, prediction = made_up(1)
    table = metrics.bootstrap(truth, prediction, draws=20)
    np.testing.assert_allclose(table.low, table.score)
    np.testing.assert_allclose(table.high, table.score)
    assert metrics.bootstrap(truth.assign(grade=None), prediction, draws=20).isna().all(axis=None)


def test_each_fold_is_scored_by_itself():
    truth, prediction = TWO_STUDIES
    table = metrics.by_fold(
        truth, prediction, pd.DataFrame({"study_id": [2, 1, 7], "fold": [0, 1, 1]})
    )
    for fold, study in ((0, 2), (1, 1)):
        own = prediction[prediction.row_id.str.startswith(f"{study}_")]
        alone = metrics.rsna_score(truth[truth.study_id == study], own)
        assert table.loc[fold].to_dict() == pytest.approx(
            vars(alone) | {"total": alone.total}, nan_ok=True
        )
    a, b = table.loc[0, "spinal"], table.loc[1, "spinal"]
    assert table.spinal[["mean", "std"]].to_list() == pytest.approx(
        [(a + b) / 2, abs(a - b) / 2**0.5]
    )


def test_a_study_in_no_fold_is_not_passed_over():
    with pytest.raises(ValueError, match="1 scored studies are in no fold, the first is 2"):
        metrics.by_fold(*TWO_STUDIES, pd.DataFrame({"study_id": [1], "fold": [0]}))


def test_confusion_counts_by_hand():
    table = metrics.confusion(*TWO_STUDIES)
    assert table.loc["spinal"].to_numpy().tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert table.loc["foraminal"].to_numpy().tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert table.loc["subarticular"].to_numpy().tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_confusion_counts_every_label_once():
    truth, _ = MANY
    known = truth.dropna(subset=["grade"])
    expected = known.groupby([known.condition.map(FAMILY), "grade"]).size()
    assert all(row.sum() == expected[name] for name, row in metrics.confusion(*MANY).iterrows())


def test_kappa_by_hand():
    predicted = {NORMAL: (0.8, 0.1, 0.1), MODERATE: (0.1, 0.8, 0.1), SEVERE: (0.1, 0.1, 0.8)}
    pairs = ((NORMAL, NORMAL), (NORMAL, NORMAL), (SEVERE, SEVERE), (SEVERE, MODERATE))
    table = metrics.agreement(
        *ask(*((s, CANAL, "L1/L2", true, predicted[word]) for s, (true, word) in enumerate(pairs)))
    )
    # seen: one step in four rows, 1/4. By chance: half normal (¼ · 1 + ¼ · 2) and half severe (½ ·
    # 2 + ¼ · 1), together 1
    assert table.loc["spinal", "kappa"] == pytest.approx(1 - 0.25 / 1)


def test_kappa_is_that_of_scikit_learn_and_lies_in_its_interval():
    rows, table = metrics.match(*MANY), metrics.agreement(*MANY)
    rows = rows.assign(predicted=rows[list(GRADE_COLUMNS)].to_numpy().argmax(axis=1))
    for family, own in rows.groupby("family"):
        assert table.kappa[family] == pytest.approx(
            cohen_kappa_score(own.grade, own.predicted, weights="linear"), abs=1e-12
        )
    assert ((table.low < table.kappa) & (table.kappa < table.high)).all()


def test_human_readers_stand_beside_the_model():
    human = metrics.agreement(*TWO_STUDIES).human
    assert human.index.tolist() == list(FAMILIES)
    assert human.to_list() == pytest.approx([0.73, 0.58, 0.49])


def test_perfect_predictions_agree_and_separate_perfectly():
    truth = MANY[0].dropna()
    kappa, areas = metrics.agreement(truth, perfect(truth)), metrics.auroc(truth, perfect(truth))
    np.testing.assert_allclose(kappa[["kappa", "low", "high"]], 1)
    assert set(areas.severe.dropna()) == set(areas.moderate_or_severe.dropna()) == {1.0}


def test_where_only_one_grade_occurs_there_is_nothing_to_agree_on_or_to_tell_apart():
    truth = MANY[0].assign(grade=NORMAL)
    assert metrics.agreement(truth, perfect(truth))[["kappa", "low", "high"]].isna().all(axis=None)
    areas = metrics.auroc(truth, MANY[1])
    assert areas[["severe", "moderate_or_severe"]].isna().all(axis=None)
    assert (areas[["n_severe", "n_moderate_or_severe"]] == 0).all(axis=None)


def test_the_area_under_the_curve_is_the_proportion_of_pairs_in_the_right_order():
    grades = (SEVERE, SEVERE, MODERATE, NORMAL)
    predictions = ((0.1, 0.1, 0.8), (0.5, 0.2, 0.3), (0.2, 0.3, 0.5), (0.3, 0.6, 0.1))
    areas = metrics.auroc(
        *ask(*((s, RECESS, "L5/S1", *row) for s, row in enumerate(zip(grades, predictions))))
    )
    assert areas.index.tolist() == list(TARGETS)
    row = areas.loc[(RECESS, "L5/S1")]
    # severe 0.8 and 0.3 against 0.5 and 0.1: three pairs of four. Not normal 0.9, 0.5, 0.8 against
    # 0.7: two of three
    assert row.to_list() == pytest.approx([3 / 4, 2 / 3, 2, 3])
    assert areas.severe.notna().sum() == 1


def test_small_probabilities_keep_their_order():
    grades, p = (NORMAL, SEVERE), ((1e-18, 0, 1), (1e-20, 0, 1))
    areas = metrics.auroc(
        *ask(*((s, CANAL, "L1/L2", *row) for s, row in enumerate(zip(grades, p))))
    )
    assert areas.loc[(CANAL, "L1/L2"), "moderate_or_severe"] == 1


def test_reliability_counts_every_probability_once():
    table, rows = metrics.reliability(*TWO_STUDIES, bins=4), len(TWO_STUDIES[0])
    assert table["count"].sum() == 3 * rows
    assert (table["count"] * table.observed).sum() == pytest.approx(
        rows
    )  # one grade of three is true


@pytest.mark.parametrize(
    ("counts", "errors"), [((7, 2, 1), (0, 0, 0)), ((5, 3, 2), (0.2, 0.1, 0.1))]
)
def test_reliability_by_hand(counts, errors):
    """Ten times the same prediction, 0.7, 0.2, 0.1: calibrated if seven, two and one of ten are
    so."""
    grades = np.repeat(GRADES, counts)
    rows = [(k, LEFT, "L4/L5", grade, (0.7, 0.2, 0.1)) for k, grade in enumerate(grades)]
    table = metrics.reliability(*ask(*rows)).set_index("grade")
    off = (table.observed - table.predicted).abs()
    assert off[list(GRADES)].to_list() == pytest.approx(errors)


def test_a_frequency_has_the_interval_that_wilson_gives_it():
    """7 of 10 by hand: (0.7 + z²/20 ± z √(0.021 + z²/400)) / (1 + z²/10) with z = 1.96."""
    rows = [
        (k, LEFT, "L4/L5", g, (0.7, 0.2, 0.1)) for k, g in enumerate([NORMAL] * 7 + [SEVERE] * 3)
    ]
    table = metrics.reliability(*ask(*rows)).set_index("grade")
    assert table.loc[NORMAL, ["low", "high"]].to_list() == pytest.approx([0.3968, 0.8922], abs=1e-4)


def test_the_best_scoring_prior_is_calibrated_once_the_weights_are_taken_out():
    truth = MANY[0]
    best, plain = (
        metrics.constant_submission(metrics.prior(truth, weighted=weighted), range(40))
        for weighted in (True, False)
    )
    pd.testing.assert_frame_equal(metrics.unweighted(best), plain)
    assert miscalibration(truth, best, bins=8)[SEVERE] > 0.1
    assert miscalibration(truth, metrics.unweighted(best), bins=1000).max() < 1e-9


def test_temperature_cools_what_is_overconfident():
    rng = np.random.default_rng(0)
    rows = [(s, *t) for s in range(60) for t in TARGETS]
    logits = rng.normal(0, 1, (len(rows), 3))
    grades = [GRADES[rng.choice(3, p=np.exp(z) / np.exp(z).sum())] for z in logits]
    labels = pd.DataFrame(rows, columns=["study_id", "condition", "level"]).assign(grade=grades)
    table = labels.assign(row_id=[rsna.row_id(*row) for row in rows])
    table[list(GRADE_COLUMNS)] = logits * 2.5  # overconfident by a factor of two and a half
    assert 1.8 < metrics.fit_temperature(labels, table) <= 3.0


def test_the_factor_raises_the_highest_canal_severe_of_each_study():
    """Worked by hand: odds of 0.2 to 0.8 doubled are 0.4 to 0.8, that is 1 to 2."""
    prior = pd.DataFrame([[0.5, 0.4, 0.1]] * 25, pd.MultiIndex.from_tuples(rsna.TARGETS))
    table = metrics.constant_submission(prior, [7, 8]).set_index("row_id")
    table.loc["7_spinal_canal_stenosis_l3_l4"] = 0.5, 0.3, 0.2
    table.loc["8_right_subarticular_stenosis_l4_l5"] = 0.0, 0.1, 0.9  # no canal level
    changed = metrics.with_severe_factor(table.reset_index(), 2.0).set_index("row_id")
    other = changed.index[(changed != table).any(axis=1)].tolist()
    assert other == ["7_spinal_canal_stenosis_l3_l4", "8_spinal_canal_stenosis_l1_l2"]
    found = changed.loc["7_spinal_canal_stenosis_l3_l4"].tolist()
    assert found == pytest.approx([0.5 / 1.2, 0.3 / 1.2, 1 / 3])
    assert changed.sum(axis=1).to_numpy() == pytest.approx(np.ones(50))


def test_the_factor_is_fitted_where_severe_levels_are_hard_to_place():
    """In each of 200 patients one canal level is severe, and nothing says which: Severe is a fifth
    of a level's labels, half of their weight, and certain to be somewhere."""
    rng = np.random.default_rng(0)
    rows = [
        (study, *target, rsna.GRADES[2 if k == severe else 0])
        for study, severe in enumerate(rng.integers(5, size=200), start=1)
        for k, target in enumerate(rsna.TARGETS)  # the first five are the canal
    ]
    labels = pd.DataFrame(rows, columns=["study_id", "condition", "level", "grade"])
    prior = pd.DataFrame([[0.5, 0.0, 0.5]] * 5 + [[1.0, 0.0, 0.0]] * 20, rsna.TARGETS)
    prior.index = pd.MultiIndex.from_tuples(rsna.TARGETS)
    submission = metrics.constant_submission(prior, labels.study_id.unique())
    factor = metrics.fit_severe_factor(labels, submission)
    assert 1.2 < factor <= 3
    few = labels[labels.study_id < 8]
    assert metrics.fit_severe_factor(few, submission[:175]) == 1.0


def test_temperature_stays_one_where_there_is_nothing_to_score():
    rows = [(1, *target) for target in TARGETS]
    labels = pd.DataFrame(rows, columns=["study_id", "condition", "level"]).assign(grade=None)
    table = labels.assign(
        row_id=[rsna.row_id(*row) for row in rows], **dict.fromkeys(GRADE_COLUMNS, 0.0)
    )
    assert metrics.fit_temperature(labels, table) == 1.0


def miscalibration(truth, submission, bins):
    """Per grade, how far observed frequencies are from predictions, on average over predictions."""
    table = metrics.reliability(truth, submission, bins)
    off = (table.observed - table.predicted).abs() * table["count"]
    return off.groupby(table.grade).sum() / table["count"].groupby(table.grade).sum()


def test_the_worst_rows_are_those_that_cost_most_not_those_least_probable():
    rows = (1, LEFT, "L1/L2", NORMAL, (0.1, 0.8, 0.1)), (2, LEFT, "L4/L5", SEVERE, (0.3, 0.2, 0.5))
    table = metrics.worst_rows(*ask(*rows))
    assert table.loss.to_list() == pytest.approx([4 * -log(0.5), -log(0.1)])
    assert table.iloc[0, :5].to_list() == [2, LEFT, "L4/L5", SEVERE, SEVERE]
    assert table.iloc[1, 3:8].to_list() == [NORMAL, MODERATE, 0.1, 0.8, 1]
    assert len(metrics.worst_rows(*ask(*rows), count=1)) == 1


def test_all_the_losses_make_the_score():
    table = metrics.worst_rows(*TWO_STUDIES, count=100).query("condition == @CANAL")
    assert table.loss.sum() / table.weight.sum() == pytest.approx(
        metrics.rsna_score(*TWO_STUDIES).spinal
    )


def words(ax):
    return [text.get_text() for text in ax.texts]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_confusion_figure_says_fractions_of_the_true_grade_and_counts():
    rows = [
        (s, CANAL, "L1/L2", SEVERE, (0.0, 0.2, 0.8) if s < 3 else (0.0, 0.8, 0.2)) for s in range(4)
    ]
    canal = plots.confusion_grids(metrics.confusion(*ask(*rows))).axes[0]
    assert words(canal)[-3:] == ["0 %\n0", "25 %\n1", "75 %\n3"]


def test_auroc_figure_shows_every_place_and_a_dash_where_there_is_no_curve():
    truth, prediction = MANY
    truth = truth.assign(
        grade=truth.grade.mask(truth.condition.eq(CANAL) & truth.level.eq("L1/L2"), NORMAL)
    )
    for ax in plots.auroc_grid(metrics.auroc(truth, prediction)).axes:
        assert words(ax)[0] == "–"
        assert len(words(ax)) == 25


def test_score_figure_draws_the_interval_of_those_that_have_one():
    scores = {"prior": metrics.rsna_score(*MANY), "model": metrics.rsna_score(*MANY)}
    table = metrics.bootstrap(*MANY, draws=50)
    (ax,) = plots.score_bars(scores, {"model": table}).axes
    (lines,) = ax.collections
    np.testing.assert_allclose(
        [line[:, 1] for line in lines.get_segments()], table[["low", "high"]]
    )


def test_decisions_by_hand():
    # of the canals Moderate was called Normal (2), of the foramina too (2); the rest is right
    assert metrics.decisions(*TWO_STUDIES).to_dict() == {
        "rows": 6,
        "wrong": 2,
        "missed": 0,
        "false_alarms": 0,
        "cost": 4,
    }
    asked = ask(
        (1, CANAL, "L1/L2", SEVERE, (0.6, 0.3, 0.1)), (1, CANAL, "L2/L3", NORMAL, (0.1, 0.3, 0.6))
    )
    assert metrics.decisions(*asked).to_dict() == {
        "rows": 2,
        "wrong": 2,
        "missed": 1,
        "false_alarms": 1,
        "cost": 5,
    }


def test_a_clear_gain_is_better_in_every_draw_and_luck_in_half_of_them():
    truth, prediction = MANY
    columns = list(GRADE_COLUMNS)
    worse = prediction.assign(**(0.9 * prediction[columns] + 0.1 / 3))
    assert metrics.better(truth, prediction, worse) == 1 - metrics.better(truth, worse, prediction)
    assert metrics.better(truth, perfect(truth.fillna({"grade": NORMAL})), prediction) == 1
    assert metrics.better(truth, prediction, prediction) == 0  # not lower
    luck = np.random.default_rng(0).permutation(prediction[columns].to_numpy(), axis=0)
    other = np.random.default_rng(1).permutation(prediction[columns].to_numpy(), axis=0)
    guesses = [prediction.assign(**dict(zip(columns, p.T))) for p in (luck, other)]
    assert 0.02 < metrics.better(truth, *guesses) < 0.98
