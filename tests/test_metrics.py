"""The score, worked by hand and against the reference values of the real labels."""

import subprocess
import sys
from math import exp, log

import numpy as np
import pandas as pd
import pytest

from utils import metrics, rsna
from utils.rsna import CANAL, GRADE_COLUMNS, GRADES

LEFT = "Left Neural Foraminal Narrowing"
RECESS = "Left Subarticular Stenosis"


def labels(*rows):
    return pd.DataFrame(rows, columns=["study_id", "condition", "level", "grade"])


def prediction(*rows):
    return pd.DataFrame(
        [(rsna.row_id(*r[:3]), *r[3]) for r in rows], columns=["row_id", *GRADE_COLUMNS]
    )


TRUTH = labels(
    (1, CANAL, "L1/L2", "Severe"),
    (1, CANAL, "L2/L3", "Normal/Mild"),
    (2, CANAL, "L1/L2", "Moderate"),
    (1, LEFT, "L4/L5", "Moderate"),
    (2, LEFT, "L4/L5", "Normal/Mild"),
    (2, RECESS, "L4/L5", "Severe"),
)
PREDICTION = prediction(
    (1, CANAL, "L1/L2", (0.2, 0.3, 0.5)),
    (1, CANAL, "L2/L3", (0.6, 0.3, 0.1)),
    (2, CANAL, "L1/L2", (0.5, 0.25, 0.25)),
    (1, LEFT, "L4/L5", (0.5, 0.4, 0.1)),
    (2, LEFT, "L4/L5", (0.9, 0.1, 0.0)),
    (2, RECESS, "L4/L5", (0.1, 0.1, 0.8)),
)


def test_the_four_terms_by_hand():
    score = metrics.rsna_score(TRUTH, PREDICTION)
    # spinal: weights 4 (severe, p .5), 1 (normal, p .6), 2 (moderate, p .25)
    assert score.spinal == pytest.approx(-(4 * log(0.5) + 1 * log(0.6) + 2 * log(0.25)) / 7)
    # foraminal: weights 2 (moderate, p .4) and 1 (normal, p .9)
    assert score.foraminal == pytest.approx(-(2 * log(0.4) + log(0.9)) / 3)
    assert score.subarticular == pytest.approx(-log(0.8))
    # any severe, the highest row counts: study 1 has one, .5, weight 4; study 2 has none, .25, and
    # its heaviest row weighs 2
    assert score.any_severe == pytest.approx(-(4 * log(0.5) + 2 * log(0.75)) / 6)
    assert score.total == pytest.approx(
        (score.spinal + score.foraminal + score.subarticular + score.any_severe) / 4
    )


def test_rows_are_matched_by_id_never_by_position():
    shuffled = PREDICTION.sample(frac=1, random_state=1)
    assert metrics.rsna_score(TRUTH, shuffled) == metrics.rsna_score(TRUTH, PREDICTION)


def test_an_empty_label_is_not_scored():
    more = pd.concat([TRUTH, labels((2, RECESS, "L5/S1", None))])
    assert metrics.rsna_score(more, PREDICTION) == metrics.rsna_score(TRUTH, PREDICTION)
    wrong = pd.concat([PREDICTION, prediction((2, RECESS, "L5/S1", (0.0, 0.0, 1.0)))])
    assert metrics.rsna_score(more, wrong) == metrics.rsna_score(TRUTH, PREDICTION)


@pytest.mark.parametrize("grade", ["Normal/Mild", "Severe"])
def test_a_fold_where_no_study_or_every_study_has_a_severe_canal_still_scores(grade):
    truth = TRUTH.assign(grade=grade)
    assert np.isfinite(metrics.rsna_score(truth, PREDICTION).any_severe)


def test_certainty_in_the_wrong_grade_costs_much_but_not_everything():
    truth = labels((1, CANAL, "L1/L2", "Severe"))
    certain = prediction((1, CANAL, "L1/L2", (1.0, 0.0, 0.0)))
    assert metrics.rsna_score(truth, certain).spinal == pytest.approx(-log(1e-15))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: a.iloc[1:], "'1_spinal_canal_stenosis_l1_l2' is missing"),
        (lambda a: pd.concat([a, a.iloc[:1]]), "appears twice"),
        (lambda a: pd.concat([a, a.iloc[:1].assign(row_id="3_x")]), "'3_x' is not expected"),
        (
            lambda a: a.assign(severe=a.severe.where(a.index != 2)),
            "'2_spinal_canal_stenosis_l1_l2' has an empty",
        ),
        (lambda a: a.assign(severe=a.severe.where(a.index != 0, -0.5)), "negative"),
        (lambda a: a.assign(severe=a.severe + 0.1), "does not sum to 1"),
        (lambda a: a.drop(columns="moderate"), "column 'moderate' is missing"),
    ],
)
def test_a_bad_submission_is_refused_and_the_row_named(spoil, message):
    with pytest.raises(metrics.SubmissionError, match=message):
        metrics.rsna_score(TRUTH, spoil(PREDICTION))


def test_the_weighted_prior_beats_every_other_constant_on_the_log_loss_terms():
    rng = np.random.default_rng(0)
    rows = [
        (s, c, lv, GRADES[rng.choice(3, p=(0.6, 0.3, 0.1))])
        for s in range(40)
        for c, lv in rsna.TARGETS
    ]
    truth = labels(*rows)
    best = metrics.prior(truth)

    def families(shares):
        score = metrics.rsna_score(truth, metrics.constant_submission(shares, range(40)))
        return score.spinal + score.foraminal + score.subarticular

    for _ in range(5):
        other = best * np.exp(rng.normal(0, 0.2, best.shape))
        assert families(best) < families(other.div(other.sum(axis=1), axis=0))


def test_smoothing_keeps_an_unseen_grade_possible():
    truth = labels((1, CANAL, "L1/L2", "Severe"), (1, CANAL, "L2/L3", "Normal/Mild"))
    assert metrics.prior(truth).loc[(CANAL, "L1/L2"), "normal_mild"] == 0
    assert metrics.prior(truth, smoothing=1).loc[(CANAL, "L1/L2"), "normal_mild"] > 0.05


@pytest.fixture(scope="module")
def real(real_root):
    return rsna.load_tables(real_root).labels


REFERENCE = [
    ("uniform", 0.9994100384),
    ("frequencies", 0.9306965331),
    ("weighted", 0.7897108198),
]


@pytest.mark.parametrize(("kind", "total"), REFERENCE)
def test_reference_values_on_all_real_labels(real, kind, total):
    shares = metrics.prior(real, weighted=kind == "weighted")
    shares = shares * 0 + 1 / 3 if kind == "uniform" else shares
    score = metrics.rsna_score(real, metrics.constant_submission(shares, real.study_id.unique()))
    assert score.total == pytest.approx(total, abs=1e-9)


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "utils.metrics", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    rows = labels(
        *[(1, c, lv, "Severe" if c == CANAL else "Normal/Mild") for c, lv in rsna.TARGETS]
    )
    rsna.wide_labels(rows).to_csv(folder / "train.csv", index=False)
    submission = metrics.constant_submission(metrics.prior(rows) * 0 + 1 / 3, [1])
    submission.to_csv(folder / "good.csv", index=False)
    submission.iloc[1:].to_csv(folder / "short.csv", index=False)
    submission.assign(severe=-1.0).to_csv(folder / "negative.csv", index=False)
    return folder


@pytest.mark.slow
def test_the_command_prints_the_score(files):
    done = command(files / "train.csv", files / "good.csv")
    # uniform on 5 severe canal rows of one study: three terms of ln 3, and any-severe -ln(1/3)
    assert done.returncode == 0
    assert f"total {log(3):.10f}" in done.stdout
    assert exp(-log(3)) == pytest.approx(1 / 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [("short.csv", "is missing"), ("negative.csv", "negative"), ("none.csv", "No such file")],
)
def test_the_command_refuses_with_exit_code_2(files, name, words):
    done = command(files / "train.csv", files / name)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_submission_can_be_better_in_one_term_alone():
    right = PREDICTION.row_id.str.contains("foraminal").to_numpy()
    better = PREDICTION.copy()
    better.loc[right, list(GRADE_COLUMNS)] = [[0.05, 0.9, 0.05], [0.98, 0.01, 0.01]]
    assert metrics.better(TRUTH, better, PREDICTION, draws=50, term="foraminal") == 1
    assert metrics.better(TRUTH, better, PREDICTION, draws=50, term="spinal") == 0
