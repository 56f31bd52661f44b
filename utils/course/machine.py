"""What each step needs of the disk, counted before work begins: from the number of images and the
settings of the preset.

Checked by `benchmarks.streaming` on phantoms, and on the one real study that the figures per image
are from.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from utils.course.environment import free_bytes
from utils.crops import FORAMEN_SLICES, RECESS_SLICES, with_margin
from utils.errors import LumbarError
from utils.presets import SPACING_MM, Preset
from utils.views import views_of

PATIENTS, IMAGES = 1975, 147_218  # of the competition
ARCHIVE_GB = 36.0
# Bytes of a prepared image by mm per pixel, counted on a real study of 96 images of 0.3 to 0.6 mm.
IMAGE_BYTES = {SPACING_MM: 73_100, 0.4: 129_400}
SAGITTAL_SLICES = 36  # of both series together, in that study
RUN_GB = 3.0  # weights and checkpoints of the largest preset; counted
ONE_SHARD_GB = 0.5  # while it is brought from a copy


class DiskError(LumbarError):
    """A step that this machine's disk has no room for; the message says what to change."""


def prepared_gb(preset: Preset, images: int = IMAGES) -> float:
    """Of so many prepared images."""
    nearest = min(IMAGE_BYTES, key=lambda spacing: abs(spacing - preset.spacing_mm))
    finer = (nearest / preset.spacing_mm) ** 2 if preset.spacing_mm > nearest else 1.0
    return images * IMAGE_BYTES[nearest] * finer / 1e9


def crops_gb(preset: Preset, studies: int = PATIENTS) -> float:
    """Of the crops that training keeps: always the locator's; the grader's where there are no
    loader workers to cut them anew."""
    whole, local = with_margin(preset.locator_px), with_margin(preset.locator_px // 2)
    searches = 10 * FORAMEN_SLICES + 5 * RECESS_SLICES
    locator = SAGITTAL_SLICES * whole**2 + searches * local**2
    slices = preset.slices + 2 * preset.slice_shift
    views = 0 if preset.workers else len(views_of(preset))
    grader = views * slices * with_margin(preset.crop_px) ** 2
    return studies * (locator + grader) / 1e9


def plan(preset: Preset, folder: Path, raw: bool = False, copy: Path | None = None) -> pd.DataFrame:
    """Gigabytes by step, for all of the competition: what a step adds, and what is in use at its
    peak.

    raw   the files themselves are kept, too
    copy  where shards go; they count if that is on the same disk
    """
    prepared = prepared_gb(preset)
    same_disk = copy is not None and _disk(copy) == _disk(folder)
    steps = {
        "raw files (archive and its contents)": 2 * ARCHIVE_GB * raw,
        "02: prepared studies": prepared + ONE_SHARD_GB * bool(copy),
        "02: copy in shards": prepared * same_disk,
        "03: crops": crops_gb(preset),
        "03: run": RUN_GB,
    }
    there = {step: size for step, size in steps.items() if size}
    table = pd.DataFrame({"adds, GB": there}).rename_axis("step")
    return table.assign(**{"in use, GB": table["adds, GB"].cumsum()})


def verdict(table: pd.DataFrame, preset: Preset, folder: Path) -> str:
    """A plan against what is free on the disk of a folder, in one sentence, and what to change."""
    need, free = table["in use, GB"].iloc[-1], free_bytes(folder) / 1e9
    start = f"This machine has {free:.0f} GB free, and all {PATIENTS:,} studies with preset "
    if need <= free:
        return f"{start}{preset.name} need {need:.0f} GB at most: they fit."
    return (
        f"{start}{preset.name} need {need:.0f} GB: they do not fit. What helps: a machine with a "
        "larger disk; a preset with coarser images (cpu_long); a copy on another disk; or fewer "
        "studies, SOURCE = 'sample 200'."
    )


def check_room(preset: Preset, folder: Path, images: int) -> None:
    """Raise DiskError where so many images would not fit once they are prepared."""
    need, free = prepared_gb(preset, images), free_bytes(folder) / 1e9
    if need > free:
        raise DiskError(
            f"{folder}: {images:,} images need about {need:.1f} GB at {preset.spacing_mm:g} mm, "
            f"and {free:.1f} are free. Use a machine with a larger disk, a preset with coarser "
            "images (cpu_long needs half as much), or fewer studies: SOURCE = 'sample 200'"
        )


def _disk(folder: Path) -> int:
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    return existing.stat().st_dev
