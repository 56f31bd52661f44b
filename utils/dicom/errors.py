"""Whatever is wrong with a DICOM file becomes one error, which names the file and the reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

from utils.errors import LumbarError
from utils.files import reason as os_reason

_LONGEST_REASON = 300  # characters; some decoders put a whole header into their message


NOT_READ = "could not be read from the disk"  # how the reason starts where the disk is at fault


class DicomError(LumbarError):
    """A file or series that cannot be used. `path` is the file or folder, `reason` says why."""

    def __init__(self, path: object, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path = Path(str(path))
        self.reason = reason

    def __reduce__(self) -> tuple:
        """Pickled by its two arguments, so that it survives the way back from a worker process."""
        return type(self), (self.path, self.reason)


class Unusable(LumbarError):
    """Why a file cannot be used, raised where the file's name is not known; see `naming`."""


@contextmanager
def naming(path: object) -> Iterator[None]:
    """Any failure inside becomes a DicomError with the path of the file.

    Decoders raise all kinds of exceptions. The one written in Rust panics with a BaseException,
    which `except Exception` would let through.
    """
    try:
        yield
    except Unusable as error:
        raise DicomError(path, str(error)) from None
    except (DicomError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except OSError as error:
        raise DicomError(path, f"{NOT_READ} ({os_reason(error)})") from error
    except BadZipFile:  # whose message has the name of the member, which may be a patient's
        raise DicomError(path, "cannot be read (BadZipFile: damaged in its archive)") from None
    except BaseException as error:
        reason = f"cannot be read ({type(error).__name__}: {one_line(error)})"
        raise DicomError(path, reason) from error


def printable(name: str) -> str:
    """The name of a file that may have bytes that are no UTF-8, as text that can be written."""
    return name.encode("utf-8", "replace").decode()


def one_line(message: object) -> str:
    """An error or value as text on one line, shortened to 300 characters.

    All its lines, because libraries put the cause into the last ones.
    """
    text = " ".join(str(message).split())
    return (text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…") or "no reason"
