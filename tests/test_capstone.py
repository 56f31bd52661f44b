"""The capstone: nothing in the learner's folder tells the labels, and the board is as by hand."""

import json
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from utils import inference, metrics, phantom, rsna
from utils.course import capstone, plots, workspace
from utils.files import OutputError
from utils.presets import PRESETS

STUDIES = 4
SMALL = replace(capstone.HIDDEN, test_studies=STUDIES, size=(64, 64))
COLUMNS = list(rsna.GRADE_COLUMNS)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> capstone.Capstone:
    return capstone.Capstone(tmp_path_factory.mktemp("capstone"), SMALL).simulate()


@pytest.fixture
def game(tmp_path) -> capstone.Capstone:
    """Without images: labels are known from the seed alone."""
    return capstone.Capstone(tmp_path, SMALL)


@pytest.fixture(scope="module")
def labels() -> pd.DataFrame:
    return phantom.drawn_labels(SMALL)


def submission_of(labels: pd.DataFrame, sure: float) -> pd.DataFrame:
    """The true grade of every row with this probability, the others alike."""
    p = np.full((len(labels), 3), (1 - sure) / 2)
    p[np.arange(len(labels)), labels.grade.map(rsna.GRADES.index)] = sure
    ids = [rsna.row_id(*row) for row in labels[["study_id", "condition", "level"]].to_numpy()]
    return pd.DataFrame(p, columns=COLUMNS).assign(row_id=ids)


# --- what is hidden -------------------------------------------------------------------------------


def test_the_folder_holds_test_studies_and_nothing_that_tells_their_labels(simulated, labels):
    files = [path for path in simulated.folder.rglob("*") if path.is_file()]
    tables = rsna.load_tables(simulated.data)
    assert tables.studies("test") == sorted(labels.study_id.unique())
    assert tables.labels.empty
    assert tables.points.empty
    assert inference.known_grades(tables, "test").empty
    assert (tables.submission[COLUMNS] == 1 / 3).all(axis=None)
    words = [grade.encode() for grade in rsna.GRADES]
    assert not [p for p in files if any(word in p.read_bytes() for word in words)]


def test_the_labels_drawn_from_the_seed_are_those_of_the_simulated_spines(tmp_path, labels):
    phantom.make_dataset(tmp_path / "data", SMALL)
    true = phantom.true_labels(tmp_path / "data")
    pd.testing.assert_frame_equal(true[labels.columns], labels)


def test_simulating_again_changes_nothing(simulated):
    def times():
        return {path: path.stat().st_mtime_ns for path in simulated.data.rglob("*.dcm")}

    before = times()
    assert simulated.simulate() is simulated
    assert times() == before
    assert not (simulated.data / "truth").exists()


def test_no_preset_is_trained_on_these_patients():
    assert capstone.HIDDEN.only_test
    assert capstone.HIDDEN.seed not in {preset.phantom.seed for preset in PRESETS.values()}
    assert capstone.HIDDEN.contrast != PRESETS["demo"].phantom.contrast
    assert capstone.HIDDEN.grading != PRESETS["demo"].phantom.grading


@pytest.mark.parametrize(("preset", "studies"), [("demo", 12), ("smoke", 3)])
def test_a_smaller_preset_has_fewer_hidden_studies(monkeypatch, tmp_path, preset, studies):
    monkeypatch.setattr(capstone.Capstone, "simulate", lambda self: self)
    monkeypatch.setenv("LUMBAR_HOME", str(tmp_path))
    work = workspace.open_workspace("phantom", preset, data=False)
    opened = capstone.open_capstone(work)
    assert opened.spec.test_studies == studies
    assert opened.folder == tmp_path / f"capstone-{studies}"


# --- the board ------------------------------------------------------------------------------------


def test_a_perfect_submission_scores_0_and_an_even_one_what_the_metric_says(game, labels):
    """Of 1/3 everywhere each family's term is ln 3; the any-severe term by hand."""
    board = game.enter("perfect", submission_of(labels, 1.0)).set_index("attempt")
    assert board.score["perfect"] == pytest.approx(0, abs=1e-9)
    canal = labels[labels.condition == rsna.CANAL].groupby("study_id").grade
    worst = canal.agg(lambda grades: max(map(rsna.GRADES.index, grades)))
    losses = np.where(worst == 2, np.log(3), np.log(3 / 2))
    term = np.average(losses, weights=np.take(rsna.GRADE_WEIGHTS, worst))
    board = game.enter("even", submission_of(labels, 1 / 3)).set_index("attempt")
    assert board.score["even"] == pytest.approx((3 * np.log(3) + term) / 4, abs=1e-4)


def test_guessing_is_the_weighted_prior_of_patients(game, labels):
    prior = metrics.weighted_prior(rsna.grade_frequencies())
    guess = metrics.constant_submission(prior, labels.study_id.unique())
    assert game.guessing == metrics.rsna_score(labels, guess).total
    assert game.enter("guess", guess).score.iloc[0] == pytest.approx(game.guessing, abs=1e-4)


def test_the_best_is_first_and_all_are_compared_with_the_one_entered_first(game, labels):
    game.enter("recipe", submission_of(labels, 0.6))
    game.enter("worse", submission_of(labels, 0.5))
    board = game.enter("better", submission_of(labels, 0.9))
    assert board.columns.tolist() == capstone.COLUMNS
    assert board.attempt.tolist() == ["better", "recipe", "worse"]
    assert board.better.fillna(-1).tolist() == [1, -1, 0]


def test_the_interval_contains_the_score_and_is_that_of_the_metrics(game, labels):
    submission = submission_of(labels, 0.6)
    submission.loc[submission.index % 7 == 0, COLUMNS] = 1 / 3
    row = game.enter("some", submission).iloc[0]
    assert row.low < row.score < row.high
    expected = metrics.bootstrap(labels, submission).loc["total"].round(4)
    assert row[["score", "low", "high"]].tolist() == expected.tolist()


def test_the_same_name_again_replaces_its_row_and_the_reference_with_it(game, labels):
    game.enter("recipe", submission_of(labels, 0.6))
    game.enter("mine", submission_of(labels, 0.7))
    board = game.enter("recipe", submission_of(labels, 0.8)).set_index("attempt")
    assert board.index.tolist() == ["recipe", "mine"]
    assert np.isnan(board.better["recipe"]), "it is still the first"
    assert board.better["mine"] == 0


def test_the_board_is_kept_from_one_session_to_the_next(game, labels):
    board = game.enter("NA", submission_of(labels, 0.6))
    again = capstone.Capstone(game.folder, SMALL)
    pd.testing.assert_frame_equal(again.board(), board)
    assert (game.folder / capstone.BOARD).read_text().startswith("attempt,score,low,high,better")
    assert sorted(path.name for path in game.folder.iterdir()) == ["attempts.csv", "board.csv"]


def test_a_file_and_whole_predictions_can_be_entered_too(game, labels, tmp_path):
    submission = submission_of(labels, 0.6)
    path = tmp_path / "submission.csv"
    submission.to_csv(path, index=False)
    predictions = submission.assign(study_id=1, note="", source="model")
    game.enter("a file", path)
    board = game.enter("predictions", predictions)
    assert len(set(board.score)) == 1
    assert board.better.dropna().tolist() == [0]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[1:], "is missing"),
        (lambda table: pd.concat([table, table[:1]]), "appears twice"),
        (lambda table: table.assign(severe=2.0), "does not sum to 1"),
        (lambda table: table.assign(severe=np.nan), "empty or non-numeric"),
        (lambda table: table.drop(columns="row_id"), "column 'row_id' is missing"),
    ],
)
def test_a_malformed_submission_is_refused_and_leaves_the_board_as_it_was(
    game, labels, change, message
):
    before = game.enter("good", submission_of(labels, 0.6))
    with pytest.raises(metrics.SubmissionError, match=message):
        game.enter("bad", change(submission_of(labels, 0.7)))
    pd.testing.assert_frame_equal(game.board(), before)


def test_a_file_that_is_no_submission_is_refused_by_its_name(game, tmp_path):
    with pytest.raises(metrics.SubmissionError, match=r"none\.csv cannot be read"):
        game.enter("mine", tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text(json.dumps({"a": 1}))
    with pytest.raises(metrics.SubmissionError, match=r"other\.csv is damaged .*no row_id"):
        game.enter("mine", tmp_path / "other.csv")


@pytest.mark.parametrize("name", ["", "=1+1", "two\nlines", "x" * 101, 7])
def test_a_name_that_is_none_is_refused(game, labels, name):
    with pytest.raises(capstone.CapstoneError, match="begins with a letter"):
        game.enter(name, submission_of(labels, 0.6))


@pytest.mark.parametrize("damage", ["", "attempt,score\na,1\n", "half"])
def test_a_damaged_file_of_attempts_is_named_with_what_to_do(game, labels, damage):
    game.enter("mine", submission_of(labels, 0.6))
    path = game.folder / capstone.ATTEMPTS
    text = path.read_text()
    path.write_text(text[: len(text) // 2] if damage == "half" else damage)
    with pytest.raises(capstone.CapstoneError, match=r"attempts\.csv is damaged .*delete it"):
        game.board()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="taken"):
        capstone.Capstone(tmp_path / "taken", SMALL).simulate()


# --- the figure -----------------------------------------------------------------------------------


def test_the_figure_names_the_best_and_draws_every_interval(game, labels):
    game.enter("recipe", submission_of(labels, 0.6))
    board = game.enter("mine", submission_of(labels, 0.8))
    ax = plots.attempts(board, game.guessing).axes[0]
    assert "the best attempt so far is mine" in ax.get_title()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["mine", "recipe"]
    drawn = [segment[:, 0].tolist() for segment in ax.collections[0].get_segments()]
    assert drawn == board[["low", "high"]].to_numpy().tolist()
    lines = [line.get_xdata()[0] for line in ax.lines]
    assert lines == [board.set_index("attempt").score["recipe"], game.guessing]
    plt.close("all")
