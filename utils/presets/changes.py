"""A preset with settings of one's own: changed, named, read from the shell, and told from the
others."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from utils.phantom import PhantomSpec
from utils.presets.record import PRESETS, WORDS, Preset, PresetError, get_preset

LISTED = "docs/using.md#settings-of-a-recipe, all of them in utils/presets/record.py (class Preset)"
_LONGEST_NAME = 100  # of a preset, and so nearly of its run's folder


def replace(preset: str | Preset, name: str | None = None, **changes: Any) -> Preset:
    """A preset with settings of one's own: replace("l4", name="mine", backbone="resnet50").

    name  the run's folder is named by it; without one the changes are in the name
          ("l4-backbone=resnet50"), so that no two settings share a folder
    Raises PresetError for a setting that does not exist (naming those nearest to it), a value of
    another type or out of range, and the name of a preset that has other settings.
    """
    base = get_preset(preset)
    _check_names(changes)
    changed = dataclasses.replace(base, **changes)
    changed = dataclasses.replace(changed, name=name or _name_of_changes(base, changed))
    if not names_a_folder(changed.name):
        raise PresetError(
            f"name is {changed.name!r}; the run's folder is named by it: at most {_LONGEST_NAME} "
            "letters, digits and . + = , - _"
        )
    if changed != PRESETS.get(changed.name, changed):
        raise PresetError(f"name is {name!r}, a preset with other settings; choose another name")
    return changed


def parse_changes(words: Iterable[str]) -> dict[str, Any]:
    """["backbone=resnet50", "train_folds=0,1"] -> changes for `replace`, each value of its
    setting's type. Raises PresetError.

    >>> parse_changes(["train_folds=0,1", "grader_rate=3e-4"])
    {'train_folds': (0, 1), 'grader_rate': 0.0003}
    """
    texts = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise PresetError(f"{word!r} is no change of a setting; write grader_epochs=12, say")
        texts[name.strip()] = text.strip()
    _check_names(texts)
    kinds = {f.name: str(f.type) for f in fields(Preset)}
    return {name: _parsed(name, text, kinds[name]) for name, text in texts.items()}


def compared(preset: Preset) -> tuple[str, str]:
    """The named preset that a preset is, or differs from in the fewest settings, and what was
    changed.

    >>> compared(replace("l4", name="mine", grader_epochs=12))
    ('l4', 'grader_epochs=12')
    """
    if preset.name in PRESETS:
        base = PRESETS[preset.name]
    else:
        base = min(PRESETS.values(), key=lambda other: len(_changes(other, preset)))
    changes = _changes(base, preset)
    return base.name, ", ".join(f"{name}={text}" for name, text in changes.items())


def _check_names(names: Iterable[str]) -> None:
    """Raises PresetError for a name that is none of a setting."""
    known = [f.name for f in fields(Preset)]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known) or ["none with a similar name"]
            raise PresetError(f"no setting {name!r}; there is {', '.join(near)}. See {LISTED}")


def _changes(base: Preset, preset: Preset) -> dict[str, str]:
    """The settings in which a preset differs from another, as text."""
    names = (f.name for f in fields(Preset) if f.name != "name")
    values = {name: getattr(preset, name) for name in names}
    return {name: _text(v) for name, v in values.items() if v != getattr(base, name)}


def _text(value: object) -> str:
    """A value as it is written for parse_changes; a phantom by its name."""
    if isinstance(value, PhantomSpec):
        return value.name
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _name_of_changes(base: Preset, preset: Preset) -> str:
    """ "l4-backbone=resnet50"; a fingerprint in place of what no folder can be named by."""
    changes = _changes(base, preset)
    name = "-".join([base.name, *(f"{key}={text}" for key, text in changes.items())])
    if "phantom" not in changes and names_a_folder(name):  # its name does not say all of it
        return name
    settings = json.dumps(preset.as_dict(), sort_keys=True)
    return f"{base.name}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"


def names_a_folder(name: str) -> bool:
    """Whether a preset's name can be a part of its run's: no path that leads elsewhere."""
    return len(name) <= _LONGEST_NAME and re.fullmatch(r"[\w.+=,-]+", name) is not None


def _parts(text: str) -> list[str]:
    """ "marked, wide" -> ["marked", "wide"]"""
    return [part.strip() for part in text.strip("()").split(",") if part.strip()]


def _parsed(name: str, text: str, kind: str) -> Any:
    """A setting's value from the shell. Raises PresetError."""
    try:
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        if kind == "tuple[int, ...]":
            return tuple(map(int, _parts(text)))
        if kind == "tuple[str, ...]":
            return tuple(_parts(text))
        return {"int": int, "float": float, "str": str}[kind](text)
    except (ValueError, KeyError):
        words = {"int": "a whole number", "float": "a number"} | WORDS
        needed = words.get(kind, "to be set here, only in Python")
        raise PresetError(f"{name} is {text!r}, not {needed}") from None
