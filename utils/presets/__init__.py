"""How big, how long, on which machine: every setting of a run in one frozen record, by name.

Read `record` (all settings, and the presets) and `changes` (settings of one's own).
"""

from utils.presets.changes import compared, names_a_folder, parse_changes, replace
from utils.presets.record import (
    INTENSITIES,
    POPULATIONS,
    PRESETS,
    SPACING_MM,
    VIEW_SETS,
    Preset,
    PresetError,
    get_preset,
    shaped_like,
)

__all__ = [
    "INTENSITIES",
    "POPULATIONS",
    "PRESETS",
    "SPACING_MM",
    "VIEW_SETS",
    "Preset",
    "PresetError",
    "compared",
    "get_preset",
    "names_a_folder",
    "parse_changes",
    "replace",
    "shaped_like",
]
