"""The text of the notebooks states no result of one run; the rule itself, on made-up notebooks."""

from pathlib import Path

import claims
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parent.parent
NAMES = ("01_eda", "02_preprocess", "03_train", "04_infer")


@pytest.mark.parametrize("name", NAMES)
def test_every_number_in_the_text_is_given_constant_or_said_to_be_of_real_patients(name):
    assert claims.of_nobody(nbformat.read(ROOT / f"{name}.ipynb", 4)) == []


def lesson(text: str, printed: str = "") -> nbformat.NotebookNode:
    """A text below a cell that has printed something."""
    code = new_code_cell("print(score)", outputs=[new_output("stream", text=printed)])
    return new_notebook(cells=[code, new_markdown_cell(text)])


@pytest.mark.parametrize(
    "text",
    [
        "The score is 0.097.",
        "*It is right for 88 % of the points.*",
        "Look at the figure. On the phantom it is right for 88 %, on real images for 46 %.",
        "**Check yourself.** Is it 0.5?\n\nThe score was 0.097.",
        "- This run scores 0.39, as the winners did.",
    ],
)
def test_a_result_in_the_text_is_named_with_its_cell(text):
    (found, *_) = claims.of_nobody(lesson(text))
    assert found.startswith("cell 1 says ")
    assert "0.097" in found or "88" in found or "0.39" in found


@pytest.mark.parametrize(
    "text",
    [
        "Real canals are narrowed in 4.5 %.",
        "The line is the 95 % interval.",
        "It is resampled to 0.75 mm.",  # a preset's spacing
        "Two of 136 studies.",
        "**Check yourself.** The score is 0.5 or\n0.7: which?",
        "<details><summary>Solution</summary>\n\n`p = 0.2`: 0.2 is a fifth.\n</details>",
        "Run `x = 0.3`:\n```python\nx = 0.4\n```\n**Sources.** DICOM PS3.3 C.7.6.2.",
    ],
)
def test_what_is_given_constant_or_of_real_patients_may_stand(text):
    assert claims.of_nobody(lesson(text)) == []


def test_a_number_that_only_one_seed_prints_is_no_number_for_the_text():
    text = "The real score is 0.097, and a third of the 0.5 above."
    one, other = lesson(text, "score 0.097, of 0.5"), lesson(text, "score 0.101, of 0.5")
    (found,) = claims.of_one_seed(one, other)
    assert found.startswith("cell 1 says 0.097: 'The real score is 0.097")
    assert claims.of_one_seed(one, one) == []


def test_figures_speak_by_their_alt_text_and_progress_bars_not_at_all():
    figure = new_output("display_data", {"image/png": ""}, metadata={"image/png": {"alt": "88 %"}})
    bar = new_output("display_data", {"text/plain": "auditing: 0%| | 0/8 [00:00<?, ?study/s]"})
    cell = new_code_cell("plot()", outputs=[figure, bar])
    assert claims.printed(cell).split() == ["88", "%"]
