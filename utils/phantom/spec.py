"""What a phantom data set holds: every choice in one record, written beside the data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from utils.errors import LumbarError

VERSION = 6  # raise when the same spec gives other bytes
# Matrix of the sagittal and of the axial images, px; None: as varied as real ones (256 to 640).
SIZES = {"demo": (256, 192), "real": None}


class PhantomError(LumbarError):
    """A folder that holds something else, or a choice that does not exist."""


@dataclass(frozen=True)
class PhantomSpec:
    """A synthetic data set in the competition's layout; the same spec gives the same bytes.

    studies     training studies; test_studies: those with hidden labels
    prevalence  "real": grades as frequent as in the 1,975 real studies; "balanced": enough severe
                grades for a small data set
    size        matrix of the sagittal and of the axial images, px; None: as varied as real ones
    anomalies   names in phantom.ANOMALIES, one to a study, starting with each split's first study
    contrast    "clinical"; "mixed": most series have contrast jitter, all a slightly varied field
                of view; "random": all series have both, at full strength
    grading     "textbook": grades are well apart; "readers": grades overlap, so that readers
                disagree on borderline patients
    only_test   write the test studies alone: the same ones that a data set with this number of
                training studies has
    """

    studies: int = 128
    seed: int = 0
    test_studies: int = 8
    prevalence: str = "balanced"
    size: tuple[int, int] | None = SIZES["demo"]
    anomalies: tuple[str, ...] = ()
    contrast: str = "clinical"
    grading: str = "textbook"
    only_test: bool = False

    def as_dict(self) -> dict:
        """For JSON: lists in place of tuples, and the version."""
        settings = asdict(self)
        settings["size"] = self.size and list(self.size)
        settings["anomalies"] = list(self.anomalies)
        return {"version": VERSION} | settings

    @classmethod
    def from_dict(cls, settings: dict) -> PhantomSpec:
        """The inverse of as_dict. Raises PhantomError for the settings of another version."""
        known = {"version"} | {f.name for f in fields(cls)}
        if set(settings) != known:
            odd = ", ".join(sorted(known ^ set(settings))[:4])
            raise PhantomError(f"a phantom of another version of this project ({odd}, …)")
        if settings["version"] != VERSION:
            raise PhantomError(f"version {settings['version']} of the phantom, not {VERSION}")
        size = settings["size"] and tuple(settings["size"])
        own = {name: value for name, value in settings.items() if name != "version"}
        return cls(**own | {"size": size, "anomalies": tuple(settings["anomalies"])})

    @property
    def name(self) -> str:
        """'phantom-128', with contrast, grading, size and seed where they are not the default's:
        'phantom-384-contrast-mixed-seed-8'. The other fields are not in the name."""
        default = PhantomSpec()
        words = [f"phantom-{self.studies}"]
        for field in ("contrast", "grading", "size", "seed"):
            value = getattr(self, field)
            if value != getattr(default, field):
                words.append(f"{field}-{_word(value)}")
        return "-".join(words)


def _word(value: object) -> str:
    """A setting as part of a folder's name."""
    if value is None:
        return "real"
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
