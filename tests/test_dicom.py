"""Reading: every kind of file a learner may meet, and an error with the file's name for every other."""

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
from utils.header import quick

ROOT = Path(__file__).parent.parent


@pytest.fixture
def axial(tables, tmp_path):
    """A copy of a phantom's axial series that tests may spoil."""
    study = tables.studies()[0]
    row = tables.series_of(study).query("series_description == 'Axial T2'").iloc[0]
    return shutil.copytree(tables.folder(study, row.series_id), tmp_path / "series")


def test_file_names_do_not_matter(axial):
    before = read_series(axial)
    for k, path in enumerate(sorted(axial.iterdir())):
        path.rename(axial / f"{(k * 7919) % 1000:03d}-x")
    after = read_series(axial)
    assert after.instances == before.instances
    assert all(np.array_equal(a, b) for a, b in zip(after.pixels, before.pixels))


def test_repr_tells_what_one_wants_to_know(axial):
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


def test_a_slice_without_a_place_is_refused(axial):
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
    with pytest.raises(DicomError, match=r"no usable image among 1 files; 1\.dcm: is not a DICOM file") as caught:
        read_series(tmp_path)
    assert caught.value.path == tmp_path


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


def test_inverted_grey_is_turned_round_the_same_way_on_every_slice(axial):
    for path in sorted(axial.iterdir())[:2]:  # 12 bits are stored: 4095 becomes 0
        plain = read_file(path)[0].pixels
        assert np.array_equal(changed(path, PhotometricInterpretation="MONOCHROME1").pixels, 4095 - plain.astype(int))


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


def same_header(content: bytes) -> bool | None:
    """Whether the quick way through a header gives what pydicom gives; None where it leaves the file to pydicom."""
    found = quick(content)
    if found is None:
        return None
    data = pydicom.dcmread(BytesIO(content))
    text = {"TransferSyntaxUID": data.file_meta.get("TransferSyntaxUID"), "PhotometricInterpretation": data[0x00280004].value}
    frames = list(generate_frames(data.PixelData, number_of_frames=1))
    numbers = {name: np.ravel(np.array(data[name].value, float)).tolist() for name in found if name not in {*text, "frames"}}
    mine = {name: np.ravel(np.array(found[name], float)).tolist() for name in numbers}
    return mine == numbers and all(found[name] == text[name] for name in text) and found["frames"] == frames


def test_the_quick_header_is_pydicoms(axial):
    for path in sorted(axial.iterdir())[:5]:
        assert same_header(path.read_bytes()) is True
    assert quick(b"") is quick(b"\0" * 128 + b"DICM") is None
    assert quick(path.read_bytes()[:-2000]) is None  # cut short: not for the quick way


def test_the_quick_header_never_reads_another_value_than_pydicom_from_a_damaged_file(axial):
    whole, agreed = sorted(axial.iterdir())[0].read_bytes(), 0
    for seed in range(400):
        rng, data = random.Random(seed), bytearray(whole)
        data[rng.randrange(132, 900)] = rng.randrange(256)
        try:
            same = same_header(bytes(data))
        except Exception:  # pydicom refuses the file  # noqa: BLE001
            continue
        assert same is not False, seed
        agreed += same is True
    assert agreed > 50


# --- every kind of file ----------------------------------------------------------------------------------------------


def image(values=None, **tags) -> FileDataset:
    """A small uncompressed MR image with a known place."""
    values = np.arange(24, dtype=np.uint16).reshape(4, 6) * 100 if values is None else values
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID, data.InstanceNumber = MRImageStorage, "1.2.3", 7
    data.ImagePositionPatient, data.ImageOrientationPatient = [1, 2, 3], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [0.5, 0.5]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    *_, data.Rows, data.Columns = values.shape
    data.BitsAllocated = data.BitsStored = 8 * values.dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(values.dtype.kind == "i")
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
    meta_length = int.from_bytes(whole[140:144], "little")  # (0002,0000) tells how long the rest of the group is
    (tmp_path / "x").write_bytes(whole[144 + meta_length :])
    assert np.array_equal(read_file(tmp_path / "x")[0].pixels, values)


JPEG = ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]


@pytest.fixture(scope="module")
def compressed(tables, tmp_path_factory):
    """The same slice in every lossless compression, by name."""
    folder = tmp_path_factory.mktemp("compressed")
    study = tables.studies()[0]
    source = sorted(tables.folder(study, tables.series_of(study).series_id.iloc[0]).iterdir())[0]
    for name in JPEG:
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(source))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(folder / name))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    return source, folder


@pytest.mark.parametrize("name", JPEG)
def test_lossless_compressions_give_the_same_pixels(compressed, name):
    source, folder = compressed
    kind = pydicom.dcmread(folder / name, stop_before_pixels=True).file_meta.TransferSyntaxUID.name
    assert name[:4] in kind.replace(" ", "").replace("-", "")  # it is what it says
    assert np.array_equal(read_file(folder / name)[0].pixels, read_file(source)[0].pixels)


def test_a_jpeg_decoder_that_crashes_takes_no_one_with_it(compressed, tmp_path):
    _, folder = compressed
    whole = (folder / "JPEGLosslessProcess14_1").read_bytes()
    for seed in range(60):
        rng, data = random.Random(seed), bytearray(whole)
        for _ in range(20):
            data[rng.randrange(700, len(data))] = rng.randrange(256)
        (tmp_path / "x").write_bytes(data)
        with suppress(DicomError):
            read_file(tmp_path / "x")
    assert np.array_equal(read_file(folder / "JPEGLosslessProcess14_1")[0].pixels, read_file(compressed[0])[0].pixels)


def test_a_multi_frame_file_is_a_slice_per_frame(tmp_path):
    values = np.arange(72, dtype=np.uint16).reshape(3, 4, 6)
    data = image(values, NumberOfFrames=3)
    del data.ImagePositionPatient, data.ImageOrientationPatient, data.PixelSpacing
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = [0, 1, 0, 0, 0, -1], [0.7, 0.7]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    frames = []
    for x in (10, 5, 0):  # from left to right
        frame, position, rescale = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [x, 0, 0]
        rescale.RescaleSlope, rescale.RescaleIntercept = 1, x
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [rescale]
        frames.append(frame)
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], frames
    saved(data, tmp_path / "1.dcm")
    series = read_series(tmp_path)
    assert [s.origin[0] for s in series.slices] == [0, 5, 10]  # in anatomical order: right to left
    assert series.instances == [3, 2, 1]
    assert series.orientation == "sagittal"
    assert np.array_equal(series.slices[2].pixels, values[0] + 10)


def test_what_is_not_a_grey_picture_with_a_place_is_refused(tmp_path):
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
    rle_file = image(NumberOfFrames=1000, Rows=65535, Columns=65535)
    saved(rle_file, tmp_path / "huge")
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DicomError, match="claims 8,589,"):
        read_file(tmp_path / "huge")
    assert time.perf_counter() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_pydicoms_own_files_are_read_or_refused_by_name():
    read, refused = 0, set()
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        start = time.perf_counter()
        try:
            read += len(read_file(path)) > 0
        except DicomError as error:
            refused.add(error.reason.split(":")[0].split(" (")[0])
        assert time.perf_counter() - start < 5, path
    assert read >= 40
    assert {"holds a colour image, not a grey one", "is not a DICOM file", "holds no image, or ends before it"} <= refused


MUTATE = """
import random, re, sys, time
from pathlib import Path
from utils.dicom import DicomError, read_file

sources, target, count = [Path(p).read_bytes() for p in sys.argv[3:]], Path(sys.argv[1]), int(sys.argv[2])
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
# The peak of this process; ru_maxrss would begin with that of pytest, from which it was forked.
peak_kb = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(ended, peak_kb // 1000, "MB")
assert peak_kb < 1_000_000
assert set(ended) == {"read", "DicomError"}
"""


def fuzz(tmp_path, sources, count):
    command = [sys.executable, "-W", "ignore", "-c", MUTATE, str(tmp_path / "mutated"), str(count), *map(str, sources)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]


def test_mutated_files_are_read_or_refused_never_worse(compressed, tmp_path):
    source, folder = compressed
    fuzz(tmp_path, [source, source, saved(image(), tmp_path / "plain"), *(folder / name for name in JPEG)], 900)


def test_mutated_real_files_too(real_root, tmp_path):
    files = sorted(real_root.rglob("*.dcm"))
    fuzz(tmp_path, [files[0], files[len(files) // 2], files[-1]], 600)
