"""JPEG decoding where a crash costs nothing: in a helper process of its own.

The decoders of JPEG Lossless, JPEG-LS and JPEG 2000 are C++. On damaged files they have ended the interpreter, filled
the memory or gone on for a minute; in a notebook that is a lost kernel. The helper has a limit on memory and time, is
started on first use, and replaced when it dies.
"""

from __future__ import annotations

from io import BytesIO
from threading import Lock

import numpy as np
import pydicom
from joblib.externals.loky import ProcessPoolExecutor, TimeoutError
from joblib.externals.loky.process_executor import BrokenProcessPool

SECONDS, MEMORY = 4, 2**30  # what one file may take

_helper: ProcessPoolExecutor | None = None
_one_at_a_time = Lock()


class JpegError(ValueError):
    """The decoder refused the file, crashed on it, or took too long."""


def decode(content: bytes) -> np.ndarray:
    """Pixels of a whole DICOM file with JPEG inside, as pydicom gives them. Raises JpegError."""
    with _one_at_a_time:
        try:
            found = _started().submit(_decode, content).result(timeout=SECONDS)
        except TimeoutError:
            reason = f"took more than {SECONDS} s"
        except BrokenProcessPool:
            reason = "crashed"
        else:
            if isinstance(found, str):
                raise JpegError(f"the JPEG decoder refused it: {found}")
            return found
        _stop()
    raise JpegError(f"the JPEG decoder {reason}, so the file is damaged")


def _started() -> ProcessPoolExecutor:
    global _helper
    if _helper is None:
        _helper = ProcessPoolExecutor(1, initializer=_limit_memory, env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
        _helper.submit(_decode, b"").result()  # starting it does not count against the first file's time
    return _helper


def _stop() -> None:
    global _helper
    if _helper is not None:
        _helper.shutdown(wait=False, kill_workers=True)
    _helper = None


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _decode(content: bytes) -> np.ndarray | str:
    """In the helper: the pixels, or why there are none (exceptions of decoders may not survive the way back)."""
    try:
        data = pydicom.dcmread(BytesIO(content))
        data.pixel_array_options(decoding_plugin="gdcm")
        return data.pixel_array
    except BaseException as error:  # noqa: BLE001
        return f"{type(error).__name__}: {str(error)[:200]}"
