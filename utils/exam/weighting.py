"""T1 or T2, from how an image was scanned, with the reason in words.

Spin echo: a long TE makes fluid bright (T2), a short TE with a short TR makes it dark (T1), a short
TE with a long TR shows neither (proton density). An inversion pulse with a short TI removes fat
(STIR), with a TI of a second it makes T1 stronger (T1 FLAIR), with two it removes fluid (FLAIR).
Limits in ms by judgement, from the span of clinical protocols at 0.2 to 3 T.
"""

from __future__ import annotations

from typing import NamedTuple

from utils.exam.headers import Parameters

T1, T2, STIR, PROTON, GRADIENT, FLAIR, UNCLEAR = (
    "T1",
    "T2",
    "STIR",
    "proton density",
    "T2*",
    "FLAIR",
    "",
)
LONG_TE, SHORT_TE = 60, 42
LONG_TR, SHORT_TR = 1500, 1300
T2_TR = 900  # of a T2, at least: three-dimensional ones have about 1,000
STIR_TI, T1_TI = (60, 300), (300, 1400)
STIR_TE = 20  # at least
GRADIENT_TE = 9  # at least, for T2*
SMALL_ANGLE = 40  # degrees


class Weighting(NamedTuple):
    """name is one of those above, UNCLEAR if the parameters do not say; reason is what was read."""

    name: str
    reason: str


def weighting(of: Parameters) -> Weighting:
    """From TE, TR, TI, sequence and the coded contrast of multi-frame files."""
    return Weighting(_name(of), _read(of))


def _name(of: Parameters) -> str:
    if _is_gradient_echo(of):
        return _of_gradient_echo(of)
    if of.te is None and of.contrast in _CODED:
        return _CODED[of.contrast]
    if of.ti is not None:
        inverted = _of_inversion(of, of.ti)
        if inverted:
            return inverted
    return _of_spin_echo(of)


_CODED = {
    "T1": T1,
    "T2": T2,
    "STIR": STIR,
    "PROTON_DENSITY": PROTON,
    "T2_STAR": GRADIENT,
    "FLUID_ATTENUATED": FLAIR,
}


def _is_gradient_echo(of: Parameters) -> bool:
    named = bool({"GR", "GRADIENT"} & of.codes) and not {"SE", "SPIN"} & of.codes
    return named or (of.flip is not None and of.flip < SMALL_ANGLE and "SE" not in of.codes)


def _of_gradient_echo(of: Parameters) -> str:
    if of.te is None:
        return UNCLEAR
    return GRADIENT if of.te >= GRADIENT_TE else T1


def _of_inversion(of: Parameters, ti: float) -> str:
    if STIR_TI[0] <= ti < STIR_TI[1] and (of.te or STIR_TE) >= STIR_TE:
        return STIR
    short_te = of.te is None or of.te <= SHORT_TE
    if T1_TI[0] <= ti < T1_TI[1] and short_te:
        return T1
    return FLAIR if ti >= T1_TI[1] else ""


def _of_spin_echo(of: Parameters) -> str:
    if of.te is None:
        return T1 if of.tr is not None and of.tr <= T2_TR else UNCLEAR
    if of.te >= LONG_TE:
        return T2 if of.tr is None or of.tr >= T2_TR else UNCLEAR
    if of.te > SHORT_TE or of.tr is None:
        return UNCLEAR
    if of.tr <= SHORT_TR:
        return T1
    return PROTON if of.tr >= LONG_TR and "IR" not in of.codes else UNCLEAR  # STIR without a TI


def _read(of: Parameters) -> str:
    """The parameters in words: "TE 102 ms, TR 3,500 ms"."""
    times = [("TE", of.te), ("TR", of.tr), ("TI", of.ti)]
    parts = [f"{name} {ms:,.0f} ms" for name, ms in times if ms is not None]
    if _is_gradient_echo(of):
        parts.append("gradient echo")
    if of.contrast in _CODED and of.te is None:
        parts.append(f"said to be {_CODED[of.contrast]}")
    return ", ".join(parts) or "neither TE nor TR is given"
