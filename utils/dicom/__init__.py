"""DICOM files to slices in patient space (LPS, mm).

In: a series folder, or one file. Out: a `Series` of `Slice`s in anatomical order, with pixel-to-mm
transforms; or a `DicomError` that names the file and the reason. Read `geometry` first (where a
pixel is in the patient; the only module that users of a `Series` need), then `reader` (folder to
series), `stack` (which images of a folder make one stack), `attributes` (which tags are read and
how they are checked) and `pixels` (decoding, bits, rescale). What can wait: `header` (the fast path
for the competition's files), `content` (limits on size), `files` (where they lie), `jpeg` (decoding
in a separate process), `errors`.
"""

from utils.dicom.errors import DicomError
from utils.dicom.files import Files, ImageFile
from utils.dicom.geometry import BY_NAME, BY_ORDER, Series, Slice, in_order
from utils.dicom.reader import read_file, read_series
from utils.dicom.stack import OTHER_PLANE, SAME_IMAGE, SAME_PLANE

__all__ = [
    "BY_NAME",
    "BY_ORDER",
    "OTHER_PLANE",
    "SAME_IMAGE",
    "SAME_PLANE",
    "DicomError",
    "Files",
    "ImageFile",
    "Series",
    "Slice",
    "in_order",
    "read_file",
    "read_series",
]
