"""What a learner chose in one notebook is the default of the next: a small JSON file in every
folder that is kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from utils.errors import LumbarError
from utils.files import Folder, read_json, reason
from utils.presets import PRESETS, Preset, compared

log = logging.getLogger(__name__)
FILE = "notebook_settings.json"
DEFAULT = "the default"
MOST_BYTES = 100_000  # of a file that is read
MOST_CHARACTERS = 1000  # of a value or of a notebook's name
# What a file that holds anything can lead to; OverflowError by a time beyond the calendar.
_UNUSABLE = (LumbarError, OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError)


class SettingsError(LumbarError):
    """A file of settings that cannot be used."""


class Kind(NamedTuple):
    """A setting that notebooks share.

    default  holds until something is chosen
    usable   a value as it was chosen or kept -> the value to use; raises LumbarError
    depends  settings whose change makes a choice of this one void
    """

    default: str
    usable: Callable[[Any], Any]
    depends: tuple[str, ...] = ()


class Choice(NamedTuple):
    """A value as JSON has it, the notebook it was chosen in, and when (with a time zone)."""

    value: Any
    notebook: str
    time: datetime

    def __str__(self) -> str:
        day = self.time.astimezone()
        return f"as chosen in {self.notebook} on {day.day} {day:%b %Y}"


def choose(
    notebook: str,
    form: Mapping[str, Any],
    kinds: Mapping[str, Kind],
    folders: Iterable[Path],
    advice: str = "",
) -> list:
    """The values of a notebook's form, in its order; an empty one is the newest choice that one of
    the folders keeps, or the default. Prints what holds and why, and keeps what was chosen.

    advice  printed where a default is used
    Raises LumbarError for a value in the form that cannot be used; one that is kept and cannot be
    used is reported, and so is a folder that cannot be written.
    """
    folders = list(folders)
    chosen = {name: kinds[name].usable(value) for name, value in form.items() if value}
    kept = _with_chosen(chosen, notebook, _read(folders, kinds), kinds)
    held = {name: _held(name, chosen, kept, kinds[name]) for name in form}
    print("; ".join(f"{name} = {_shown(value)}, {why}" for name, (value, why) in held.items()))
    if advice and any(why == DEFAULT for _, why in held.values()):
        print(advice)
    _write(folders, kept)
    return [value for value, _ in held.values()]


def carry(kinds: Mapping[str, Kind], folders: Iterable[Path]) -> None:
    """What one of the folders keeps, to all of them."""
    folders = list(folders)
    _write(folders, _read(folders, kinds))


def _with_chosen(
    chosen: dict[str, Any], notebook: str, kept: dict[str, Choice], kinds: Mapping[str, Kind]
) -> dict[str, Choice]:
    """What is to be kept now: a choice that is kept already stays as it is."""
    now = datetime.now(UTC)
    fresh = {name: Choice(_coded(value), notebook, now) for name, value in chosen.items()}
    same = {name for name in fresh if name in kept and kept[name].value == fresh[name].value}
    other = {name: one for name, one in fresh.items() if name not in same}
    return fresh | _not_void(kept | other, kinds)


def _not_void(choices: dict[str, Choice], kinds: Mapping[str, Kind]) -> dict[str, Choice]:
    """Without those made before another choice that they depend on."""

    def is_void(name: str) -> bool:
        needed = [choices[other] for other in kinds[name].depends if other in choices]
        return any(choices[name].time < other.time for other in needed)

    return {name: one for name, one in choices.items() if not is_void(name)}


def _held(
    name: str, chosen: dict[str, Any], kept: dict[str, Choice], kind: Kind
) -> tuple[Any, str]:
    """The value that holds, and why."""
    if name in chosen:
        return chosen[name], "chosen here"
    if name in kept:
        try:
            return kind.usable(kept[name].value), str(kept[name])
        except _UNUSABLE as error:
            log.warning(f"{name} {kept[name]} is not used: {reason(error)}")
    return kind.default, DEFAULT


def _read(folders: list[Path], kinds: Mapping[str, Kind]) -> dict[str, Choice]:
    """The newest choice of each setting that is known."""
    found: dict[str, Choice] = {}
    for folder in folders:
        for name, choice in _read_one(folder / FILE, kinds).items():
            if name not in found or choice.time > found[name].time:
                found[name] = choice
    return _not_void(found, kinds)


def _read_one(path: Path, kinds: Mapping[str, Kind]) -> dict[str, Choice]:
    """A file's choices; none, and a message, if it is damaged."""
    advice = "it is not used; choose again"
    try:
        if not path.exists():
            return {}
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise SettingsError(f"{path} is no file of settings; {advice}")
        content = read_json(path, SettingsError, advice)
        return {name: _choice(content[name]) for name in kinds if name in content}
    except (LumbarError, OSError) as error:
        log.warning(str(error))
    except _UNUSABLE as error:
        log.warning(f"{path} is damaged ({reason(error)}); {advice}")
    return {}


def _choice(entry: Any) -> Choice:
    """Raises ValueError, or what a time beyond the calendar raises."""
    if not isinstance(entry, dict) or set(entry) != set(Choice._fields):
        raise ValueError("an entry is no choice of a setting")
    value, notebook, time = (entry[name] for name in Choice._fields)
    several = value if isinstance(value, list) else [value]
    texts = [notebook, time, *(one for one in several if not isinstance(one, dict))]
    for text in texts:
        if not isinstance(text, str) or not text.isprintable() or len(text) > MOST_CHARACTERS:
            raise ValueError("an entry is no text that can be shown")
    choice = Choice(value, notebook, datetime.fromisoformat(time).astimezone(UTC))
    str(choice)  # in local time, too
    return choice


def _write(folders: list[Path], kept: dict[str, Choice]) -> None:
    """A folder that cannot be written is reported."""
    if not kept:
        return
    content = {name: one._asdict() | {"time": one.time.isoformat()} for name, one in kept.items()}
    for folder in folders:
        try:
            Folder(folder).write(FILE, json.dumps(content, indent=1))
        except OSError as error:
            log.warning(
                f"{folder / FILE} cannot be written ({reason(error)}): the choice holds here, but "
                "the next notebook will not know it."
            )


def _coded(value: Any) -> Any:
    """As JSON has it: a preset by its name, or, with settings of one's own, whole."""
    if not isinstance(value, Preset):
        return value
    return value.name if value == PRESETS.get(value.name) else value.as_dict()


def _shown(value: Any) -> str:
    if not isinstance(value, Preset):
        return ", ".join(value) if isinstance(value, list) else value
    named, changed = compared(value)
    return f"{value.name} ({named} with {changed})" if changed else value.name
