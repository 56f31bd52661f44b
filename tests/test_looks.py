"""A look changes what it says it changes, in its own window only, and nothing else."""

import numpy as np
import pytest
import torch

from utils import looks

SEEDS = torch.tensor([1, 2])


def changed(x: torch.Tensor, **parts) -> torch.Tensor:
    return looks.change(x, torch.from_numpy(looks.look(**parts))[None], torch.tensor([0]))


def test_the_plain_look_changes_nothing():
    x = torch.rand(4, 2, 8, 8)
    assert torch.equal(looks.change(x, torch.from_numpy(looks.PLAIN).expand(4, -1), SEEDS), x)
    assert np.array_equal(looks.look(), looks.PLAIN)


def test_a_seed_gives_its_noise_wherever_it_stands():
    x, noisy = torch.rand(4, 2, 8, 8), torch.from_numpy(looks.look(noise=0.1)).expand(4, -1)
    one = looks.change(x, noisy, SEEDS)
    assert torch.equal(one[[2, 3, 0, 1]], looks.change(x[[2, 3, 0, 1]], noisy, SEEDS.flip(0)))
    assert (one - x).std().item() == pytest.approx(0.1, rel=0.2)


def test_gamma_gain_and_brightness_by_hand():
    grey = torch.full((1, 1, 1, 1), 0.5)
    assert changed(grey, gamma=2.0, gain=0.5, brightness=0.25).item() == pytest.approx(0.5**2 * 0.5 + 0.25)


def test_a_curve_is_read_off_between_its_knots():
    x = torch.tensor([0.0, 0.1, 0.5, 1.0]).view(1, 1, 1, 4)
    curve = [1.0, 0.0, 0.4, 0.8, 0.2, 0.3]  # at 0, 0.2 … 1
    assert changed(x, curve=curve).flatten().tolist() == pytest.approx([1.0, 0.5, 0.6, 0.3])


def test_a_field_brightens_one_side():
    bright = changed(torch.ones(1, 1, 3, 3), field=[np.log(2), 0, 0, 0, 0])[0, 0]
    assert bright[1].tolist() == pytest.approx([0.5, 1, 2])
    assert torch.equal(bright[0], bright[2])


def test_a_blob_covers_its_place_and_nothing_far_from_it():
    covered = changed(torch.zeros(1, 1, 41, 41), blob=[0.5, -0.5, 0.2, 0.8, 1.0])[0, 0]
    assert covered[10, 30].item() == pytest.approx(0.8, abs=0.01)  # u = 0.5 to the right, v = -0.5 above the middle
    assert covered[30, 10].item() == pytest.approx(0, abs=1e-3)


def test_a_blur_keeps_what_there_is_and_spreads_it():
    dot = torch.zeros(1, 2, 15, 15)
    dot[0, 0, 7, 7] = 1
    blurred = changed(dot, blur=1.0)
    assert blurred[0, 0].sum().item() == pytest.approx(1, abs=1e-4)
    ratio = (blurred[0, 0, 7, 8] / blurred[0, 0, 7, 7]).item()
    assert ratio == pytest.approx(np.exp(-0.5), abs=1e-3)
    assert not blurred[0, 1].any(), "the other slice is another picture"


def test_a_ghost_is_the_picture_again_along_the_rows():
    row = torch.zeros(1, 1, 10, 1)
    row[0, 0, 2] = 1
    assert changed(row, ghost=[0.25, 0.3]).flatten().tolist() == pytest.approx([0, 0, 1, 0, 0, 0, 0, 0, 0, 0.25])


@pytest.mark.parametrize("part", [name for name in looks.PARTS if name != "noise"])
def test_each_window_has_its_own_look(part):
    rng = np.random.default_rng(3)
    x, wild = torch.rand(2, 1, 12, 12), {part: np.abs(rng.normal(0.4, 0.1, len(looks.PARTS[part])))}
    both = looks.change(x, torch.from_numpy(np.stack([looks.PLAIN, looks.look(**wild)])), SEEDS)
    assert torch.equal(both[0], x[0])
    assert torch.allclose(both[1:], changed(x[1:], **wild))
    assert not torch.allclose(both[1], x[1], atol=1e-3)


def test_scanners_differ_in_contrast_and_noise_and_any_look_in_everything():
    names = np.repeat(list(looks.PARTS), [len(v) for v in looks.PARTS.values()])
    drawn = {kind: np.stack([looks.draw(np.random.default_rng(k), kind) for k in range(40)]) for kind in ("scanner", "any")}
    differ = {kind: set(names[(table != looks.PLAIN).any(0)]) for kind, table in drawn.items()}
    assert differ == {"scanner": {"gamma", "gain", "brightness", "noise"}, "any": set(looks.PARTS)}
