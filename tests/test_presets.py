"""Settings of one's own: a preset with a few of them changed."""

import sys

import pytest

from utils import cli, presets
from utils.phantom import PhantomSpec
from utils.presets import PRESETS, PresetError, get_preset
from utils.training import __main__ as command


def test_only_what_is_named_is_changed():
    mine = presets.replace("l4", name="mine", backbone="resnet50", grader_epochs=12)
    assert (mine.name, mine.backbone, mine.grader_epochs) == ("mine", "resnet50", 12)
    back = presets.replace(mine, name="l4", backbone="convnext_small", grader_epochs=10)
    assert back == get_preset("l4")


def test_without_a_name_the_changes_are_in_it_whatever_their_order():
    mine = presets.replace("l4", train_folds=(0, 2), grader_rate=2e-4)
    assert mine.name == "l4-train_folds=0,2-grader_rate=0.0002"
    assert presets.replace("l4", grader_rate=2e-4, train_folds=(0, 2)) == mine
    assert presets.replace("l4") == get_preset("l4")
    assert presets.replace("l4", grader_epochs=10).name == "l4", "as it was"


def test_no_two_settings_share_a_name_by_accident():
    """What no folder can be named by, what is too long and what is not told in full are told by a
    fingerprint."""
    phantoms = [PhantomSpec(studies=6, test_studies=count) for count in (2, 3)]
    changes = [
        *({"phantom": phantom} for phantom in phantoms),
        *({"init_from": folder} for folder in ("a/b", "a:b", "x" * 300, "x" * 301)),
        *({"backbone": name} for name in ("a", "a-slices=3")),
        {"slices": 3},
    ]
    names = [presets.replace("l4", **change).name for change in changes]
    assert len(set(names)) == len(changes)
    assert all(len(name) <= 100 and not set(name) & set("/:\\*?[] ") for name in names)


def test_a_setting_that_does_not_exist_names_the_nearest_and_where_all_are_listed():
    says = (
        r"^no setting 'backbon'; there is backbone\. See docs/using\.md#settings-of-a-recipe, "
        r"all of them in utils/presets/record\.py \(class Preset\)$"
    )
    with pytest.raises(PresetError, match=says):
        presets.replace("l4", backbon="resnet50")
    with pytest.raises(PresetError, match="no setting 'zzz'; there is none with a similar name"):
        presets.replace("l4", zzz=1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"backbone": 5}, "^backbone is 5, not a text$"),
        ({"pretrained": "yes"}, "^pretrained is 'yes', not True or False$"),
        ({"train_folds": 1}, "^train_folds is 1, not a tuple of fold numbers$"),
        ({"train_folds": (0, "1")}, "^train_folds is .* not a tuple of fold numbers$"),
        ({"grader_epochs": 1.5}, "^grader_epochs is 1.5; no model"),
        ({"grader_rate": "fast"}, "^grader_rate is 'fast'; no model"),
        ({"phantom": "big"}, "^phantom is 'big', not PhantomSpec$"),
        ({"name": "t4"}, "^name is 't4', a preset with other settings; choose another name$"),
        ({"name": "a/b"}, "^name is 'a/b'; the run's folder is named by it"),
    ],
)
def test_a_value_of_another_type_is_refused(change, says):
    with pytest.raises(PresetError, match=says):
        presets.replace("l4", **change)


def test_from_the_shell_a_value_has_the_type_of_its_setting():
    words = ["backbone=resnet50", "grader_epochs=12", "grader_rate=1e-3", "pretrained=False"]
    found = presets.parse_changes([*words, "train_folds=0,2", "init_from=a=b"])
    assert found == {
        "backbone": "resnet50",
        "grader_epochs": 12,
        "grader_rate": 0.001,
        "pretrained": False,
        "train_folds": (0, 2),
        "init_from": "a=b",
    }
    assert [type(value) for value in found.values()] == [str, int, float, bool, tuple, str]
    assert presets.parse_changes(["train_folds=(1,)"]) == {"train_folds": (1,)}


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("grader_epochs", "^'grader_epochs' is no change of a setting; write grader_epochs=12"),
        ("grader_epoch=12", "^no setting 'grader_epoch'; there is grader_epochs"),
        ("grader_epochs=many", "^grader_epochs is 'many', not a whole number$"),
        ("grader_rate=fast", "^grader_rate is 'fast', not a number$"),
        ("pretrained=1", "^pretrained is '1', not True or False$"),
        ("train_folds=all", "^train_folds is 'all', not a tuple of fold numbers$"),
        ("phantom=big", "^phantom is 'big', not to be set here, only in Python$"),
    ],
)
def test_a_word_of_the_shell_that_is_no_setting_is_refused(word, says):
    with pytest.raises(PresetError, match=says):
        presets.parse_changes([word])


def test_the_changes_against_the_named_preset_are_told():
    mine = presets.replace("l4", name="mine", backbone="resnet50", grader_epochs=12)
    assert presets.compared(mine) == ("l4", "backbone=resnet50, grader_epochs=12")
    assert presets.compared(presets.replace("t4", workers=4)) == ("t4", "workers=4")
    for name, preset in PRESETS.items():
        assert presets.compared(preset) == (name, "")
    warm = presets.shaped_like(get_preset("l4"), get_preset("demo"))
    assert presets.compared(warm)[0] == "l4", "it still bears the name"
    assert "backbone=small" in presets.compared(warm)[1]


def test_the_training_command_takes_changes(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        command, "fit", lambda prepared, run, preset, *_, **__: asked.append(preset)
    )
    words = ["--preset", "l4", "--set", "backbone=resnet50", "--set", "train_folds=0,1"]
    monkeypatch.setattr(sys, "argv", ["training", "prepared", "run", *words])
    command.main()
    assert asked == [presets.replace("l4", backbone="resnet50", train_folds=(0, 1))]
    monkeypatch.setattr(sys, "argv", ["training", "prepared", "run", "--set", "epochs=1"])
    with pytest.raises(SystemExit, match="2"):
        cli.run(command.main)
    assert capsys.readouterr().err.startswith("error: no setting 'epochs'; there is ")
