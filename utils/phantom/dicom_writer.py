"""One slice as a DICOM file like the competition's.

RLE Lossless, 12 of 16 bits, few tags, and no name of any person.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, EnhancedMRImageStorage, ExplicitVRLittleEndian, RLELossless

from utils.dicom import Slice
from utils.phantom.protocols import Protocol
from utils.rsna import SAGITTAL_T1

BITS = 12
BRIGHTEST = 2**BITS - 1  # the largest pixel value that the files hold


def write_dicom(
    path: Path, image: Slice, protocol: Protocol, white: float, without_tags: tuple[str, ...] = ()
) -> None:
    """Write one file; path ends with study_id/series_id/instance.dcm, which gives the ids.

    image         pixels (H, W) uint16 up to BRIGHTEST
    white         pixel value of the upper end of the display window
    without_tags  keywords of tags to leave out
    """
    data = _identified(path, image.instance)
    data.SeriesDescription = "T1" if protocol.name == SAGITTAL_T1 else "T2"
    _set_geometry(data, image, protocol)
    data.WindowCenter = f"{white / 2:.0f}"
    data.WindowWidth = f"{white:.0f}"
    for tag in without_tags:
        del data[tag]
    _set_pixels(data, image.pixels)
    data.save_as(path)


def _identified(path: Path, instance: int) -> FileDataset:
    """A data set with nothing but its ids, which the names of its folders give."""
    study, series = path.parent.parent.name, path.parent.name
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{study}.{series}.{instance}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = EnhancedMRImageStorage
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.PatientID = study
    data.StudyInstanceUID = study
    data.SeriesInstanceUID = f"{study}.{series}"
    data.InstanceNumber = instance
    return data


def _set_geometry(data: FileDataset, image: Slice, protocol: Protocol) -> None:
    """Position, orientation and spacing (mm, LPS); PixelSpacing is (between rows, columns)."""
    data.PatientPosition = "HFS"
    data.SliceThickness = f"{protocol.thickness_mm:.3f}"
    data.SpacingBetweenSlices = f"{protocol.gap_mm:.3f}"
    data.ImagePositionPatient = [f"{x:.6f}" for x in image.origin]
    data.ImageOrientationPatient = [f"{x:.10f}" for x in image.axes.ravel()]
    data.PixelSpacing = [f"{image.spacing[1]:.8f}", f"{image.spacing[0]:.8f}"]


def _set_pixels(data: FileDataset, pixels: np.ndarray) -> None:
    """The image (H, W) uint16, compressed, and the tags that describe its pixels."""
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated = 16
    data.BitsStored = BITS
    data.HighBit = BITS - 1
    data.PixelRepresentation = 0  # unsigned
    data.PixelData = pixels.tobytes()
    data.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
