"""The scanner: protocols as varied as in the real tables, the planes of each series, and the DICOM files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, RLELossless

from utils.geometry import Series, Slice, in_order
from utils.phantom.anatomy import Spine
from utils.phantom.signal import Sequence, picture
from utils.rsna import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2

REVERSED = {SAGITTAL_T1: 0.36, SAGITTAL_T2: 0.36, AXIAL_T2: 0.12}  # shares of series numbered against anatomy
MATRICES = (256, 320, 384, 448, 512, 640)  # px, where the size is left to the scanner
BLOCKS, STACK = "a block per disc", "one stack"


# How far tissues stray (least, most), in which share of the series, and how far the picture's frame strays (1: by up to 40 mm and
# a fifth of its size).
CONTRASTS = {"clinical": (0.0, 0.0, 0.0, 0.0), "mixed": (0.1, 0.8, 0.6, 0.5), "random": (1.0, 1.0, 1.0, 1.0)}


@dataclass(frozen=True)
class Protocol:
    """What the operator chose for one series."""

    name: str  # as in series_description
    sequence: Sequence
    fov_mm: float
    matrix: int  # px
    thickness_mm: float
    gap_mm: float  # from one slice's centre to the next
    slices: int  # sagittal: how many
    layout: str = ""  # axial: BLOCKS or STACK
    off_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)  # how far the middle of the field of view lies from where it should


@dataclass
class Scan:
    """One series as it will be filed: its slices with their instance numbers, and what is peculiar about it."""

    series_id: int
    protocol: Protocol
    slices: list[Slice]
    name: str  # what the tables call it
    side: str = ""  # "Left" or "Right" if only that side's points were set on it
    without_tags: tuple[str, ...] = ()
    spoiled: dict[int, str] = field(default_factory=dict)  # instance -> "truncated" or "empty"
    gain: float = 1.0

    @property
    def series(self) -> Series:
        return Series(tuple(self.slices), Path(str(self.series_id)))


def protocols(rng: np.random.Generator, size: tuple[int, int] | None) -> list[Protocol]:
    """The three series of a study; size is the matrix (sagittal, axial) in px, None leaves it to the scanner."""
    shared = {"noise": rng.uniform(0.008, 0.03), "coil_mm": rng.uniform(65, 115), "bandwidth": rng.uniform(130, 350)}
    shared |= {"ghost": rng.uniform(0, 0.012), "sampled": rng.uniform(0.7, 1.0)}
    shared |= {"saturation_mm": rng.uniform(45, 75) if rng.random() < 0.5 else np.inf}
    axial_shared = shared | {"saturation_mm": np.inf, "phase_axis": 1}
    t1 = Sequence(rng.uniform(450, 700), rng.uniform(8, 14), **shared)
    tr, te = rng.uniform(2800, 4800), rng.uniform(85, 115)
    fat = rng.choice(["bright", "suppressed", "stir"], p=[0.55, 0.25, 0.20])
    t2 = Sequence(tr, te, fat_suppressed=fat == "suppressed", **shared)
    t2 = replace(t2, te=rng.uniform(45, 70), ti=rng.uniform(150, 170)) if fat == "stir" else t2
    sagittal, axial = size or rng.choice(MATRICES, 2, p=[0.15, 0.25, 0.2, 0.15, 0.2, 0.05]).tolist()
    fov, gap, count = rng.uniform(240, 300), rng.uniform(4.0, 5.0), int(rng.integers(12, 17))
    layout, axial_gap = (BLOCKS, rng.uniform(3.3, 4.2)) if rng.random() < 0.65 else (STACK, rng.uniform(4.0, 5.0))
    return [
        Protocol(SAGITTAL_T1, t1, fov, sagittal, round(gap - rng.uniform(0.3, 1), 1), gap, count),
        Protocol(SAGITTAL_T2, t2, fov, sagittal, round(gap - rng.uniform(0.3, 1), 1), gap, count),
        Protocol(AXIAL_T2, Sequence(tr, te, **axial_shared), rng.uniform(150, 200), axial, 3.5, axial_gap, 0, layout),
    ]


def strayed(protocol: Protocol, contrast: str, rng: np.random.Generator) -> Protocol:
    """The protocol with tissues as bright as no scanner shows them (after SynthSeg, Billot 2023), so that what a model learns
    from such pictures cannot rest on brightness; and with another field of view, spacing and number of slices.

    contrast  a name out of CONTRASTS
    """
    low, high, share, frame = CONTRASTS[contrast]
    stray = rng.uniform(low, high) if rng.random() < share else 0.0
    protocol = replace(protocol, sequence=replace(protocol.sequence, stray=stray, chance=int(rng.integers(2**31))))
    if not frame:
        return protocol
    zoom, gap = np.exp(rng.uniform(-0.2, 0.2, 2) * frame)
    off = rng.uniform(-1, 1, 3) * ((0, 20, 0) if protocol.name == AXIAL_T2 else (6, 25, 40)) * np.array(frame)
    count = protocol.slices and protocol.slices + round(rng.uniform(-3, 5) * frame)
    moved = {"fov_mm": protocol.fov_mm * zoom, "gap_mm": protocol.gap_mm * gap, "slices": count, "off_mm": tuple(off)}
    return replace(protocol, thickness_mm=round(protocol.thickness_mm * gap, 1), **moved)


def planes(rng: np.random.Generator, spine: Spine, protocol: Protocol) -> list[Slice]:
    """Empty slices in anatomical order, each with its place in the patient."""
    if protocol.name == AXIAL_T2:
        return _axial_blocks(spine, protocol) if protocol.layout == BLOCKS else _axial_stack(spine, protocol)
    yaw = np.radians(rng.normal(0, 2))  # nobody lies perfectly straight
    across, down = np.array([np.sin(yaw), np.cos(yaw), 0.0]), np.array([0.0, 0.0, -1.0])
    centre = spine.to_patient(spine.disc_s[2], 0.0, rng.uniform(-25, 5)) + rng.normal(0, (1, 3, 8)) + protocol.off_mm
    offsets = (np.arange(protocol.slices) - (protocol.slices - 1) / 2) * protocol.gap_mm
    return [_plane(protocol, centre + offset * np.array([1.0, 0.0, 0.0]), across, down) for offset in offsets]


def _axial_blocks(spine: Spine, protocol: Protocol) -> list[Slice]:
    """Five oblique slices through each disc, as most scanners do."""
    right_to_left, slices = np.array([1.0, 0.0, 0.0]), []
    for s in spine.disc_s:
        tilt = spine.along(s, spine.tilt)
        down = np.array([0.0, np.cos(tilt), np.sin(tilt)])
        foot, middle = np.cross(down, right_to_left), spine.to_patient(s, 0.0, 22.0) + protocol.off_mm
        slices += [_plane(protocol, middle + foot * protocol.gap_mm * k, right_to_left, down) for k in (-2, -1, 0, 1, 2)]
    return slices


def _axial_stack(spine: Spine, protocol: Protocol) -> list[Slice]:
    """Straight slices from above L1/L2 to below L5/S1."""
    top, bottom = spine.to_patient(spine.disc_s[[0, -1]], np.zeros(2), np.full(2, 22.0)) + protocol.off_mm
    count = int(np.ceil((top[2] - bottom[2] + 20) / protocol.gap_mm))
    centres = np.linspace(top + (0, 0, 10), bottom - (0, 0, 10), count)
    return [_plane(protocol, c, np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])) for c in centres]


def _plane(protocol: Protocol, centre: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> Slice:
    return empty_slice(centre, columns, rows, protocol.fov_mm, protocol.matrix)


def empty_slice(centre: np.ndarray, columns: np.ndarray, rows: np.ndarray, fov_mm: float, px: int) -> Slice:
    """A square slice without a picture, round a centre in mm."""
    spacing = fov_mm / px
    origin = centre - (columns + rows) * spacing * (px - 1) / 2
    return Slice(0, np.empty((px, px), np.uint16), np.round(origin, 6), np.stack([columns, rows]), np.full(2, spacing))


def scan(rng: np.random.Generator, spine: Spine, protocol: Protocol, series_id: int, empty: list[Slice] | None = None) -> Scan:
    """Image one series, on the planes of its protocol unless others are given."""
    empty = list(in_order(planes(rng, spine, protocol) if empty is None else empty))
    images = [picture(spine, protocol.sequence, plane, protocol.thickness_mm, rng) for plane in empty]
    gain = rng.uniform(300, 1000) / np.percentile(np.concatenate([i[::4, ::4].ravel() for i in images]), 99)
    order = range(len(empty), 0, -1) if rng.random() < REVERSED[protocol.name] else range(1, len(empty) + 1)
    slices = [
        replace(plane, instance=k, pixels=np.clip(image * gain, 0, 4095).astype(np.uint16))
        for k, plane, image in zip(order, empty, images)
    ]
    return Scan(series_id, protocol, slices, protocol.name, gain=float(gain))


def write_scan(one: Scan, folder: Path) -> None:
    """The series' DICOM files, named by instance number; those that are to be broken are."""
    folder.mkdir(parents=True)
    for piece in one.slices:
        path = folder / f"{piece.instance}.dcm"
        write_dicom(path, piece, one)
        if damage := one.spoiled.get(piece.instance):
            data = path.read_bytes()
            path.write_bytes(b"" if damage == "empty" else data[: len(data) // 2])


def write_dicom(path: Path, piece: Slice, one: Scan) -> None:
    """A file like the competition's: RLE Lossless, 12 of 16 bits, few tags, no name of anybody."""
    study, series = path.parent.parent.name, path.parent.name
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    meta.MediaStorageSOPInstanceUID = f"{study}.{series}.{piece.instance}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = EnhancedMRImageStorage, meta.MediaStorageSOPInstanceUID
    data.SeriesDescription = "T1" if one.protocol.name == SAGITTAL_T1 else "T2"
    data.PatientID, data.StudyInstanceUID, data.SeriesInstanceUID = study, study, f"{study}.{series}"
    data.InstanceNumber, data.PatientPosition = piece.instance, "HFS"
    data.SliceThickness = f"{one.protocol.thickness_mm:.3f}"
    data.SpacingBetweenSlices = f"{one.protocol.gap_mm:.3f}"
    data.ImagePositionPatient = [f"{x:.6f}" for x in piece.origin]
    data.ImageOrientationPatient = [f"{x:.10f}" for x in piece.axes.ravel()]
    data.PixelSpacing = [f"{piece.spacing[1]:.8f}", f"{piece.spacing[0]:.8f}"]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = piece.pixels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.WindowCenter, data.WindowWidth = f"{one.gain / 2:.0f}", f"{one.gain:.0f}"
    for tag in one.without_tags:
        del data[tag]
    data.PixelData = piece.pixels.tobytes()
    data.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    data.save_as(path)
