"""Reading: every kind of greyscale file, and an error with the file's name for every other file."""

import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from utils.dicom import DicomError, read_file, read_series
from utils.dicom.header import quick_header

ROOT = Path(__file__).parent.parent
PYDICOMS_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.fixture
def axial(tables, tmp_path):
    """A copy of a phantom's axial series that tests may damage."""
    study = tables.studies()[0]
    row = tables.series_of(study).query("series_description == 'Axial T2'").iloc[0]
    return shutil.copytree(tables.folder(study, row.series_id), tmp_path / "series")


# --- a series folder ------------------------------------------------------------------------------


def test_file_names_do_not_matter(axial):
    before = read_series(axial)
    for k, path in enumerate(sorted(axial.iterdir())):
        path.rename(axial / f"{(k * 7919) % 1000:03d}-x")
    after = read_series(axial)
    assert after.instances == before.instances
    assert all(np.array_equal(a, b) for a, b in zip(after.pixels, before.pixels))


def test_slices_know_their_series_where_the_folders_name_is_a_number(axial):
    numbered = axial.rename(axial.with_name("3025844541"))
    assert {one.series_id for one in read_series(numbered).slices} == {3025844541}
    named = numbered.rename(axial.with_name("T2_axial"))
    assert {one.series_id for one in read_series(named).slices} == {None}


def test_repr_gives_count_orientation_matrix_and_gap(axial):
    text = repr(read_series(axial))
    assert "axial slices of 128×128 px" in text
    assert "gap 3." in text


def test_one_bad_slice_is_left_out_and_named(axial):
    paths = sorted(axial.iterdir())
    count = len(paths)
    paths[0].write_bytes(paths[0].read_bytes()[:400])
    paths[1].write_text("not a DICOM file")
    (axial / ".DS_Store").write_bytes(b"x")
    series = read_series(axial)
    assert len(series) == count - 2
    assert {name for name, _ in series.left_out} == {paths[0].name, paths[1].name}
    assert "2 left out" in repr(series)


def test_a_slice_without_a_position_in_the_patient_is_refused(axial):
    path = sorted(axial.iterdir())[0]
    data = pydicom.dcmread(path)
    del data.ImagePositionPatient
    data.save_as(path)
    with pytest.raises(DicomError, match="has no ImagePositionPatient"):
        read_file(path)


def test_nothing_usable_is_one_error_with_path_and_reason(tmp_path):
    with pytest.raises(DicomError, match="no such folder"):
        read_series(tmp_path / "none")
    with pytest.raises(DicomError, match="no usable image among 0 files"):
        read_series(tmp_path)
    (tmp_path / "1.dcm").write_text("hello")
    reason = "no usable image among 1 files; 1.dcm: is not a DICOM file"
    with pytest.raises(DicomError) as caught:
        read_series(tmp_path)
    assert (caught.value.path, caught.value.reason) == (tmp_path, reason)
    assert str(caught.value) == f"{tmp_path}: {reason}"


def test_the_error_survives_the_way_back_from_a_worker_process(tmp_path):
    error = pickle.loads(pickle.dumps(DicomError(tmp_path, "is empty")))  # noqa: S301
    assert (error.path, error.reason) == (tmp_path, "is empty")


def changed(path, **tags):
    """The file with other tags; returns its one slice."""
    data = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path)
    return read_file(path)[0]


def test_rescale_is_applied(axial):
    path = sorted(axial.iterdir())[0]
    plain = read_file(path)[0].pixels
    again = changed(path, RescaleSlope="2", RescaleIntercept="-100").pixels
    assert np.array_equal(again, plain.astype(float) * 2 - 100)


def test_monochrome1_is_inverted_the_same_way_on_every_slice(axial):
    for path in sorted(axial.iterdir())[:2]:  # 12 bits are stored: 4095 becomes 0
        plain = read_file(path)[0].pixels
        inverted = changed(path, PhotometricInterpretation="MONOCHROME1").pixels
        assert np.array_equal(inverted, 4095 - plain.astype(int))


def test_pixels_need_not_be_square(axial):
    path = sorted(axial.iterdir())[0]
    one = changed(path, PixelSpacing=["0.5", "0.8"])  # between rows, then between columns
    assert one.spacing.tolist() == [0.8, 0.5]
    np.testing.assert_allclose(one.to_patient((10, 0)) - one.origin, 8.0 * one.axes[0], atol=1e-9)
    np.testing.assert_allclose(one.to_patient((0, 10)) - one.origin, 5.0 * one.axes[1], atol=1e-9)


def test_slices_that_are_there_twice_are_kept_once_and_named(axial):
    before = read_series(axial)
    path = sorted(axial.iterdir())[0]
    data = pydicom.dcmread(path)
    data.InstanceNumber = 900
    data.save_as(axial / "900.dcm")
    after = read_series(axial)
    assert after.instances == before.instances
    assert after.left_out == (("900.dcm", f"shows the same as {path.name}"),)


# --- the fast path through a header ---------------------------------------------------------------


def as_numbers(value) -> list[float]:
    return np.ravel(np.array(value, float)).tolist()


def same_header(content: bytes) -> bool | None:
    """Whether quick_header gives what pydicom gives; None where it leaves the file to pydicom."""
    header = quick_header(content)
    if header is None:
        return None
    found = header.attributes
    data = pydicom.dcmread(BytesIO(content))
    text = {
        "TransferSyntaxUID": data.file_meta.get("TransferSyntaxUID"),
        "PhotometricInterpretation": data[0x00280004].value,
    }
    numeric = found.keys() - text.keys()
    same_text = all(found[name] == text[name] for name in text)
    same_numbers = all(as_numbers(found[name]) == as_numbers(data[name].value) for name in numeric)
    frames = list(generate_frames(data.PixelData, number_of_frames=1))
    return same_text and same_numbers and header.frames == frames


def test_the_quick_header_is_pydicoms(axial):
    for path in sorted(axial.iterdir())[:5]:
        assert same_header(path.read_bytes()) is True
    assert quick_header(b"") is None
    assert quick_header(b"\0" * 128 + b"DICM") is None
    assert quick_header(path.read_bytes()[:-2000]) is None  # a truncated file is left to pydicom


def test_the_quick_header_never_reads_another_value_than_pydicom_from_a_damaged_file(axial):
    whole = sorted(axial.iterdir())[0].read_bytes()
    agreed = 0
    for seed in range(400):
        rng = random.Random(seed)
        data = bytearray(whole)
        data[rng.randrange(132, 900)] = rng.randrange(256)
        try:
            same = same_header(bytes(data))
        except Exception:  # pydicom refuses the file  # noqa: BLE001
            continue
        assert same is not False, seed
        agreed += same is True
    assert agreed > 50


# --- every kind of file ---------------------------------------------------------------------------


def image(values=None, **tags) -> FileDataset:
    """A small uncompressed MR image with a known position."""
    values = np.arange(24, dtype=np.uint16).reshape(4, 6) * 100 if values is None else values
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = MRImageStorage
    data.SOPInstanceUID = "1.2.3"
    data.InstanceNumber = 7
    data.ImagePositionPatient = [1, 2, 3]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [0.5, 0.5]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows, data.Columns = values.shape[-2:]
    data.BitsAllocated = data.BitsStored = 8 * values.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    data.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    return data


def saved(data: FileDataset, path, syntax=ExplicitVRLittleEndian):
    data.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


PLAIN = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]


@pytest.mark.parametrize("syntax", PLAIN, ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_plain_encodings(tmp_path, syntax, dtype):
    values = (np.arange(24).reshape(4, 6) * 5 - (60 if dtype == np.int16 else 0)).astype(dtype)
    one = read_file(saved(image(values), tmp_path / "x", syntax))[0]
    assert np.array_equal(one.pixels, values)
    assert (one.instance, one.origin.tolist(), one.spacing.tolist()) == (7, [1, 2, 3], [0.5, 0.5])


def test_big_endian(tmp_path):
    values = np.arange(24, dtype=np.uint16).reshape(4, 6) * 1000
    data = image(values, PixelData=values.astype(">u2").tobytes())
    path = saved(data, tmp_path / "x", ExplicitVRBigEndian)
    assert np.array_equal(read_file(path)[0].pixels, values)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_without_preamble_with_and_without_meta_information(tmp_path, syntax):
    values = np.arange(24, dtype=np.uint16).reshape(4, 6) * 1000
    whole = saved(image(values), tmp_path / "x", syntax).read_bytes()
    (tmp_path / "x").write_bytes(whole[128:])
    assert np.array_equal(read_file(tmp_path / "x")[0].pixels, values)
    (tmp_path / "x").write_bytes(whole[132:])
    assert np.array_equal(read_file(tmp_path / "x")[0].pixels, values)
    meta_length = int.from_bytes(whole[140:144], "little")  # (0002,0000): bytes after it
    (tmp_path / "x").write_bytes(whole[144 + meta_length :])
    assert np.array_equal(read_file(tmp_path / "x")[0].pixels, values)


# --- compressed files -----------------------------------------------------------------------------

COMPRESSIONS = [
    "JPEGLosslessProcess14",
    "JPEGLosslessProcess14_1",
    "JPEGLSLossless",
    "JPEG2000Lossless",
    "RLELossless",
]


@pytest.fixture(scope="module")
def compressed(tables, tmp_path_factory):
    """The same slice in every lossless compression, by name."""
    folder = tmp_path_factory.mktemp("compressed")
    study = tables.studies()[0]
    series_id = tables.series_of(study).series_id.iloc[0]
    source = sorted(tables.folder(study, series_id).iterdir())[0]
    for name in COMPRESSIONS:
        compress(source, folder / name, getattr(gdcm.TransferSyntax, name))
    return source, folder


def compress(source: Path, target: Path, syntax: int) -> None:
    """Write the same image in another transfer syntax, by GDCM."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_lossless_compressions_give_the_same_pixels(compressed, name):
    source, folder = compressed
    meta = pydicom.dcmread(folder / name, stop_before_pixels=True).file_meta
    kind = meta.TransferSyntaxUID.name.replace(" ", "").replace("-", "")
    assert name[:4] in kind  # it is what it says
    assert np.array_equal(read_file(folder / name)[0].pixels, read_file(source)[0].pixels)


def test_a_jpeg_decoder_that_crashes_takes_nothing_else_with_it(compressed, tmp_path):
    source, folder = compressed
    intact = folder / "JPEGLosslessProcess14_1"
    whole = intact.read_bytes()
    damaged = tmp_path / "x"
    for seed in range(60):
        rng = random.Random(seed)
        data = bytearray(whole)
        for _ in range(20):
            data[rng.randrange(700, len(data))] = rng.randrange(256)
        damaged.write_bytes(data)
        with suppress(DicomError):
            read_file(damaged)
    assert np.array_equal(read_file(intact)[0].pixels, read_file(source)[0].pixels)


WORKER = """
import sys, time
import numpy as np
from joblib.externals.loky import ProcessPoolExecutor
from utils.dicom import read_file


def grow():
    time.sleep(1.2)  # joblib looks at its workers' memory once a second
    sys.held = np.ones(50_000_000)  # of a module, to outlive the call


if __name__ == "__main__":
    pool = ProcessPoolExecutor(1)
    print(pool.submit(read_file, sys.argv[1]).result()[0].pixels.shape)
    pool.submit(grow).result()
    print(pool.submit(abs, -1).result())
"""


@pytest.mark.slow
def test_a_worker_that_has_read_a_jpeg_is_replaced_when_it_has_grown(tmp_path):
    """joblib ends a worker that has grown by 300 MB (by importing torch, say) and waits for it.

    The process that decodes JPEG is that worker's child: left waiting for work, it held up both for
    ever.
    """
    path = PYDICOMS_FILES / "MR_small_jpeg_ls_lossless.dcm"
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(path)]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=30, env=environment, check=True
    )
    assert ran.stdout.split() == ["(64,", "64)", "1"]


# --- frames, and what is refused ------------------------------------------------------------------


def dataset(**tags) -> Dataset:
    made = Dataset()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def test_a_multi_frame_file_is_a_slice_per_frame(tmp_path):
    values = np.arange(72, dtype=np.uint16).reshape(3, 4, 6)
    data = image(values, NumberOfFrames=3)
    del data.ImagePositionPatient, data.ImageOrientationPatient, data.PixelSpacing
    orientation = dataset(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    measures = dataset(PixelSpacing=[0.7, 0.7])
    shared = dataset(PlaneOrientationSequence=[orientation], PixelMeasuresSequence=[measures])
    frames = []
    for x in (10, 5, 0):  # from left to right
        position = dataset(ImagePositionPatient=[x, 0, 0])
        rescale = dataset(RescaleSlope=1, RescaleIntercept=x)
        frames.append(
            dataset(PlanePositionSequence=[position], PixelValueTransformationSequence=[rescale])
        )
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = frames
    saved(data, tmp_path / "1.dcm")
    series = read_series(tmp_path)
    assert [s.origin[0] for s in series.slices] == [0, 5, 10]  # in anatomical order: right to left
    assert series.instances == [3, 2, 1]
    assert series.orientation == "sagittal"
    assert np.array_equal(series.slices[2].pixels, values[0] + 10)


def test_what_is_not_a_grey_image_with_a_position_is_refused(tmp_path):
    cases = {
        "holds a colour image": image(SamplesPerPixel=3, PhotometricInterpretation="RGB"),
        "no pair of right-angled directions": image(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
        "has a PixelSpacing of 0 by 0.5 mm": image(PixelSpacing=[0, 0.5]),
        "claims 4,295 MB of pixels": image(Rows=1024, Columns=1024, NumberOfFrames=2048),
        "cannot be read": image(Rows=400),  # more rows than pixels
    }
    for reason, data in cases.items():
        with pytest.raises(DicomError, match=reason):
            read_file(saved(data, tmp_path / "x"))


def test_a_huge_claim_in_a_small_file_costs_neither_memory_nor_time(tmp_path):
    saved(image(NumberOfFrames=1000, Rows=65535, Columns=65535), tmp_path / "huge")
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DicomError, match="claims 8,589,"):
        read_file(tmp_path / "huge")
    assert time.perf_counter() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_pydicoms_own_files_are_read_or_refused_by_name():
    read = 0
    refused = set()
    for path in sorted(p for p in PYDICOMS_FILES.rglob("*") if p.is_file()):
        start = time.perf_counter()
        try:
            read += len(read_file(path)) > 0
        except DicomError as error:
            refused.add(error.reason.split(":")[0].split(" (")[0])
        assert time.perf_counter() - start < 5, path
    assert read >= 40
    assert refused >= {
        "holds a colour image, not a grey one",
        "is not a DICOM file",
        "holds no image, or ends before it",
    }


# --- damaged files --------------------------------------------------------------------------------

MUTATE = """
import random, re, sys, time
from pathlib import Path
from utils.dicom import DicomError, read_file

target = Path(sys.argv[1])
count = int(sys.argv[2])
sources = [Path(p).read_bytes() for p in sys.argv[3:]]
ended = {}
for seed in range(count):
    rng = random.Random(seed)
    data = bytearray(rng.choice(sources))
    for _ in range(rng.choice([1, 4, 20, 200])):
        data[rng.randrange(rng.choice([min(1200, len(data)), len(data)]))] = rng.randrange(256)
    if seed % 3 == 0:
        del data[rng.randrange(len(data)):]
    target.write_bytes(data)
    start = time.perf_counter()
    try:
        read_file(target)
        end = "read"
    except DicomError:
        end = "DicomError"
    assert time.perf_counter() - start < 5, seed
    ended[end] = ended.get(end, 0) + 1
# The peak of this process; ru_maxrss would start at that of pytest, from which it was forked.
peak_kb = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(ended, peak_kb // 1000, "MB")
assert peak_kb < 1_000_000
assert set(ended) == {"read", "DicomError"}
"""


def fuzz(tmp_path, sources, count):
    """Read so many mutations of the sources, in a process of its own; see MUTATE."""
    script = [sys.executable, "-W", "ignore", "-c", MUTATE]
    command = [*script, str(tmp_path / "mutated"), str(count), *map(str, sources)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_mutated_files_are_read_or_refused_never_worse(compressed, tmp_path):
    source, folder = compressed
    plain = saved(image(), tmp_path / "plain")
    fuzz(tmp_path, [source, source, plain, *(folder / name for name in COMPRESSIONS)], 900)


def test_mutated_real_files_too(real_root, tmp_path):
    files = sorted(real_root.rglob("*.dcm"))
    fuzz(tmp_path, [files[0], files[len(files) // 2], files[-1]], 600)
