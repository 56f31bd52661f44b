"""The scanner: planes of the three series round one spine, and the DICOM files the competition would hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, RLELossless

from utils.dicom import Series, Slice, in_order
from utils.phantom.anatomy import STEP, Spine
from utils.phantom.image import Painter, Sequence
from utils.rsna import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2


@dataclass(frozen=True)
class Protocol:
    """What the operator chose for one series: sequence, field of view (mm), matrix (px), slice thickness (mm)."""

    name: str
    sequence: Sequence
    fov_mm: float
    matrix: int
    thickness_mm: float


def protocols(rng: np.random.Generator, sagittal_px: int, axial_px: int) -> list[Protocol]:
    """The three series of a study, varied as scanners vary."""
    fov, noise, coil = rng.uniform(250, 310), rng.uniform(0.015, 0.035), rng.uniform(70, 130)
    t1 = Sequence(rng.uniform(450, 700), rng.uniform(8, 14), noise=noise, coil_mm=coil)
    t2 = Sequence(rng.uniform(2800, 4500), rng.uniform(85, 115), noise=noise, coil_mm=coil)
    return [
        Protocol(SAGITTAL_T1, t1, fov, sagittal_px, 4.0),
        Protocol(SAGITTAL_T2, replace(t2, fat_suppressed=bool(rng.random() < 0.4)), fov, sagittal_px, 4.0),
        Protocol(AXIAL_T2, t2, rng.uniform(160, 200), axial_px, 3.5),
    ]


def planes(rng: np.random.Generator, spine: Spine, protocol: Protocol) -> list[Slice]:
    """Empty slices in anatomical order, each with its place in the patient."""
    if protocol.name == AXIAL_T2:
        return _axial_planes(rng, spine, protocol)
    gap, count = protocol.thickness_mm + rng.uniform(0.2, 0.8), int(rng.integers(13, 18))
    yaw = np.radians(rng.normal(0, 2))  # nobody lies perfectly straight
    across, down = np.array([np.sin(yaw), np.cos(yaw), 0.0]), np.array([0.0, 0.0, -1.0])
    centre = spine.to_patient(spine.disc_s[2], 0.0, rng.uniform(-20, 10)) + rng.normal(0, (1, 3, 8))
    offsets = (np.arange(count) - (count - 1) / 2) * gap
    return [_plane(protocol, centre + offset * np.array([1.0, 0.0, 0.0]), across, down) for offset in offsets]


def _axial_planes(rng: np.random.Generator, spine: Spine, protocol: Protocol) -> list[Slice]:
    """One oblique block per disc (as most scanners do), or one straight stack through all five."""
    gap, right_to_left = protocol.thickness_mm + rng.uniform(0, 0.5), np.array([1.0, 0.0, 0.0])
    tilts = np.interp(spine.disc_s / STEP, np.arange(len(spine.tilt)), spine.tilt)
    if rng.random() < 0.25:
        top, bottom = spine.to_patient(spine.disc_s[[0, -1]], np.zeros(2), np.full(2, 10.0))
        count = int(np.ceil((top[2] - bottom[2] + 20) / (gap + 1)))
        centres = np.linspace(top + (0, 0, 10), bottom - (0, 0, 10), count)
        return [_plane(protocol, c + (0, 25, 0), right_to_left, np.array([0.0, 1.0, 0.0])) for c in centres]
    slices = []
    for s, tilt in zip(spine.disc_s, tilts):
        down = np.array([0.0, np.cos(tilt), np.sin(tilt)])
        foot = np.cross(down, right_to_left)
        middle = spine.to_patient(s, 0.0, 30.0)
        slices += [_plane(protocol, middle + foot * gap * k, right_to_left, down) for k in (-2, -1, 0, 1, 2)]
    return slices


def _plane(protocol: Protocol, centre: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> Slice:
    n, spacing = protocol.matrix, protocol.fov_mm / protocol.matrix
    origin = centre - (columns + rows) * spacing * (n - 1) / 2
    return Slice(0, np.empty((n, n), np.uint16), np.round(origin, 6), np.stack([columns, rows]), np.full(2, spacing))


def scan(rng: np.random.Generator, spine: Spine, protocol: Protocol, reverse: bool, folder: Path) -> Series:
    """Image one series and write its DICOM files, named by instance number, into folder."""
    painter = Painter(spine, protocol.sequence)
    empty = list(in_order(planes(rng, spine, protocol)))
    images = [painter.render(plane, protocol.thickness_mm, rng) for plane in empty]
    gain = 900 / np.percentile(np.concatenate([i.ravel() for i in images]), 99)
    order = range(len(empty), 0, -1) if reverse else range(1, len(empty) + 1)
    slices = [
        replace(plane, instance=k, pixels=np.clip(image * gain, 0, 4095).astype(np.uint16))
        for k, plane, image in zip(order, empty, images)
    ]
    folder.mkdir(parents=True)
    for one in slices:
        write_dicom(folder, one, protocol)
    return Series(tuple(slices), folder)


def write_dicom(folder: Path, one: Slice, protocol: Protocol) -> None:
    """A file like the competition's: RLE Lossless, 12 of 16 bits, few tags, no name of anybody."""
    study, series = folder.parent.name, folder.name
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    meta.MediaStorageSOPInstanceUID = f"{study}.{series}.{one.instance}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = EnhancedMRImageStorage, meta.MediaStorageSOPInstanceUID
    data.SeriesDescription = "T1" if protocol.name == SAGITTAL_T1 else "T2"
    data.PatientID, data.StudyInstanceUID, data.SeriesInstanceUID = study, study, f"{study}.{series}"
    data.InstanceNumber, data.PatientPosition = one.instance, "HFS"
    data.SliceThickness = f"{protocol.thickness_mm:.3f}"
    data.ImagePositionPatient = [f"{x:.6f}" for x in one.origin]
    data.ImageOrientationPatient = [f"{x:.10f}" for x in one.axes.ravel()]
    data.PixelSpacing = [f"{one.spacing[1]:.8f}", f"{one.spacing[0]:.8f}"]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = one.pixels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.WindowCenter, data.WindowWidth = "450", "900"
    data.PixelData = one.pixels.tobytes()
    data.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    data.save_as(folder / f"{one.instance}.dcm")
