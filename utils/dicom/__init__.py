"""DICOM files to slices in patient space (LPS, mm).

In: a series folder, or one file. Out: a `Series` of `Slice`s in anatomical order, with pixel-to-mm
transforms; or a `DicomError` that names the file and the reason. Read `geometry` first (where a
pixel is in the patient; the only module that users of a `Series` need), then `reader` (folder to
series), `attributes` (which tags are read and how they are checked) and `pixels` (decoding and
rescale). `header` (the fast path for the competition's files), `jpeg` (decoding in a separate
process) and `errors` can wait.
"""

from utils.dicom.errors import DicomError
from utils.dicom.geometry import Series, Slice, in_order
from utils.dicom.reader import read_file, read_series

__all__ = ["DicomError", "Series", "Slice", "in_order", "read_file", "read_series"]
