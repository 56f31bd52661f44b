"""JPEG decoding in a separate process, so that a decoder that crashes does not end the notebook.

The decoders of JPEG Lossless, JPEG-LS and JPEG 2000 are C++. On damaged files they have ended the
interpreter, filled the memory or run for a minute; in a notebook that is a lost kernel. The helper
process has limits on memory and time, which grow with the number of frames, is started on first
use, and is replaced when it dies.
"""

from __future__ import annotations

import os
import sys
from io import BytesIO
from multiprocessing.util import Finalize
from threading import Lock

import numpy as np
import pydicom
from joblib.externals.loky import ProcessPoolExecutor, TimeoutError
from joblib.externals.loky.process_executor import BrokenProcessPool
from pydicom.encaps import generate_frames
from pydicom.uid import JPEGExtended12Bit, JPEGTransferSyntaxes

from utils.dicom.errors import one_line
from utils.errors import LumbarError

TIME_LIMIT_S = 4  # for one frame
MEMORY_LIMIT_BYTES = 2**30  # and four times the pixels of the file

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

_helper: ProcessPoolExecutor | None = None
_lock = Lock()  # one file at a time


class JpegError(LumbarError):
    """The decoder refused the file, crashed on it, or took too long."""


def decode(content: bytes, frames: int = 1, pixel_bytes: int = 0) -> np.ndarray:
    """Pixels of a DICOM file (as bytes) with JPEG inside, as pydicom gives them.

    frames, pixel_bytes  what its header claims; time and memory are limited accordingly
    Raises JpegError.
    """
    seconds = TIME_LIMIT_S * frames
    memory = MEMORY_LIMIT_BYTES + 4 * pixel_bytes
    with _lock:
        try:
            found = _started().submit(_decode, content, memory).result(timeout=seconds)
        except TimeoutError:
            reason = f"took too long (more than {seconds} s for {frames} frames)"
        except BrokenProcessPool:
            reason = "crashed, so the file is damaged"
        else:
            if isinstance(found, str):
                raise JpegError(f"the JPEG decoder refused it: {found}")
            return found
        _stop()
    raise JpegError(f"the JPEG decoder {reason}")


def _started() -> ProcessPoolExecutor:
    """The helper process, started if there is none."""
    global _helper
    if _helper is None:
        _helper = ProcessPoolExecutor(1, initializer=_silence, env=_ONE_THREAD)
        # A process joins its children before it ends: a helper that waits for work would hold up a
        # joblib worker, and with it the whole run, for ever.
        Finalize(None, _stop, exitpriority=10)
        _helper.submit(
            _decode, b"", MEMORY_LIMIT_BYTES
        ).result()  # its start is not counted as the first file's time
    return _helper


def _stop() -> None:
    global _helper
    if _helper is not None:
        _helper.shutdown(wait=False, kill_workers=True)
    _helper = None


def _silence() -> None:
    """In the helper, before any file: what C++ prints goes nowhere; the reason is in the error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _limit_memory(limit: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _decode(content: bytes, memory: int) -> np.ndarray | str:
    """In the helper: the pixels, or why there are none.

    The reason goes back as text, because exceptions of decoders may not survive pickling.
    """
    try:
        _limit_memory(memory)
        data = pydicom.dcmread(BytesIO(content))
        if data.file_meta.TransferSyntaxUID == JPEGExtended12Bit and data.BitsStored > 8:
            return _decode_12_bits(data)
        if data.file_meta.TransferSyntaxUID in JPEGTransferSyntaxes:
            # GDCM would drop bits above BitsStored, or crash; `pixels` chooses those that count.
            data.BitsStored, data.HighBit = data.BitsAllocated, data.BitsAllocated - 1
        data.pixel_array_options(decoding_plugin="gdcm")
        return data.pixel_array
    except BaseException as error:  # noqa: BLE001
        return f"{type(error).__name__}: {one_line(error)}"


def _decode_12_bits(data: pydicom.Dataset) -> np.ndarray:
    """JPEG Extended with 12 bits, which GDCM does not read."""
    import imagecodecs  # large and seldom needed, so loaded only here

    count = int(data.get("NumberOfFrames") or 1)
    frames = generate_frames(data.PixelData, number_of_frames=count)
    return np.stack([imagecodecs.jpeg8_decode(frame) for frame in frames])
