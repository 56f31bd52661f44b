"""JPEG decoding in a separate process, so that a decoder that crashes does not end the notebook.

The decoders of JPEG Lossless, JPEG-LS and JPEG 2000 are C++. On damaged files they have ended the
interpreter, filled the memory or run for a minute; in a notebook that is a lost kernel. The helper
process has limits on memory and time, is started on first use, and is replaced when it dies.
"""

from __future__ import annotations

from io import BytesIO
from multiprocessing.util import Finalize
from threading import Lock

import numpy as np
import pydicom
from joblib.externals.loky import ProcessPoolExecutor, TimeoutError
from joblib.externals.loky.process_executor import BrokenProcessPool

from utils.errors import LumbarError

# What one file may take.
TIME_LIMIT_S = 4
MEMORY_LIMIT_BYTES = 2**30

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_LONGEST_REASON = 200  # characters

_helper: ProcessPoolExecutor | None = None
_lock = Lock()  # one file at a time


class JpegError(LumbarError):
    """The decoder refused the file, crashed on it, or took too long."""


def decode(content: bytes) -> np.ndarray:
    """Pixels of a DICOM file (as bytes) with JPEG inside, as pydicom gives them.

    Raises JpegError.
    """
    with _lock:
        try:
            found = _started().submit(_decode, content).result(timeout=TIME_LIMIT_S)
        except TimeoutError:
            reason = f"took more than {TIME_LIMIT_S} s"
        except BrokenProcessPool:
            reason = "crashed"
        else:
            if isinstance(found, str):
                raise JpegError(f"the JPEG decoder refused it: {found}")
            return found
        _stop()
    raise JpegError(f"the JPEG decoder {reason}, so the file is damaged")


def _started() -> ProcessPoolExecutor:
    """The helper process, started if there is none."""
    global _helper
    if _helper is None:
        _helper = ProcessPoolExecutor(1, initializer=_limit_memory, env=_ONE_THREAD)
        # A process joins its children before it ends: a helper that waits for work would hold up a
        # joblib worker, and with it the whole run, for ever.
        Finalize(None, _stop, exitpriority=10)
        _helper.submit(_decode, b"").result()  # its start is not counted as the first file's time
    return _helper


def _stop() -> None:
    global _helper
    if _helper is not None:
        _helper.shutdown(wait=False, kill_workers=True)
    _helper = None


def _limit_memory() -> None:
    """In the helper, before any file."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))


def _decode(content: bytes) -> np.ndarray | str:
    """In the helper: the pixels, or why there are none.

    The reason goes back as text, because exceptions of decoders may not survive pickling.
    """
    try:
        data = pydicom.dcmread(BytesIO(content))
        data.pixel_array_options(decoding_plugin="gdcm")
        return data.pixel_array
    except BaseException as error:  # noqa: BLE001
        return f"{type(error).__name__}: {str(error)[:_LONGEST_REASON]}"
