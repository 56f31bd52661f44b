"""Reading: every kind of greyscale file, and an error with the file's name for every other file."""

import os
import pickle
import random
import shutil
import subprocess
import sys
import time
import tracemalloc
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import gdcm
import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import config
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
    MRImageStorage,
    ParametricMapStorage,
    RTDoseStorage,
    SegmentationStorage,
)

from utils.dicom import (
    BY_NAME,
    BY_ORDER,
    OTHER_PLANE,
    DicomError,
    jpeg,
    read_file,
    read_series,
)
from utils.dicom.attributes import quiet_pydicom
from utils.dicom.errors import one_line
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


def test_repr_gives_count_orientation_matrix_and_distance(axial):
    text = repr(read_series(axial))
    assert "axial slices of 128×128 px" in text
    assert "3.8 mm apart" in text


def test_a_name_that_is_no_utf8_is_written_with_question_marks(axial):
    name = os.fsencode(axial) + b"/\xff\xfe.dcm"
    Path(os.fsdecode(name)).write_text("not a DICOM file")
    assert read_series(axial).left_out == (("??.dcm", "is not a DICOM file"),)


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


TEXTS = {
    "EchoNumbers",
    "ImageType",
    "SOPClassUID",
    "Modality",
    "PhotometricInterpretation",
    "LossyImageCompression",
}


def as_numbers(value) -> list[float]:
    return np.ravel(np.array(value, float)).tolist()


def same_header(content: bytes) -> bool | None:
    """Whether quick_header gives what pydicom gives; None where it leaves the file to pydicom."""
    header = quick_header(content)
    if header is None:
        return None
    found = header.attributes
    data = pydicom.dcmread(BytesIO(content))
    text = {"TransferSyntaxUID": data.file_meta.get("TransferSyntaxUID")}
    for name in found.keys() & TEXTS:
        text[name] = "\\".join(map(str, np.atleast_1d(data[name].value)))
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
            with quiet_pydicom():
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


# --- which bits are the pixel ---------------------------------------------------------------------

GREY = np.random.default_rng(1).integers(0, 4096, (40, 40))
SIGNED = np.random.default_rng(2).integers(-2048, 2048, (40, 40))
DISC = np.hypot(*(np.indices(GREY.shape) - 20)) < 9
UNUSED_BITS = {  # what is in the cells, whether it is signed, and the image it stands for
    "an overlay in bit 15": (GREY | np.where(DISC, 0x8000, 0), False, GREY),
    "no sign above bit 11": (SIGNED & 0x0FFF, True, SIGNED),
}


def with_cells(cells, path, how, **tags):
    """A file whose cells hold these 16 bits, in an encoding by name; then other tags."""
    saved(image(cells.astype("<u2")), path)
    if how != "plain":
        compress(path, path, getattr(gdcm.TransferSyntax, how))
    data = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path)
    return read_file(path)[0].pixels


ENCODINGS = [
    "plain",
    "RLELossless",
    "JPEG2000Lossless",
    "JPEGLSLossless",
    "JPEGLosslessProcess14_1",
]


@pytest.mark.parametrize("how", ENCODINGS)
@pytest.mark.parametrize("case", UNUSED_BITS)
def test_bits_that_are_not_stored_are_no_part_of_the_pixel(tmp_path, case, how):
    cells, signed, true = UNUSED_BITS[case]
    bits = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": int(signed)}
    assert np.array_equal(with_cells(cells, tmp_path / "x", how, **bits), true)
    inverted = with_cells(
        cells, tmp_path / "x", how, PhotometricInterpretation="MONOCHROME1", **bits
    )
    assert np.array_equal(inverted, (-1 if signed else 4095) - true)


@pytest.mark.parametrize("how", ENCODINGS)
def test_stored_bits_may_be_the_upper_ones(tmp_path, how):
    cells = (SIGNED & 0x0FFF) << 4 | 0x000F
    bits = {"BitsStored": 12, "HighBit": 15, "PixelRepresentation": 1}
    assert np.array_equal(with_cells(cells, tmp_path / "x", how, **bits), SIGNED)


def test_more_stored_than_allocated_bits_are_refused(tmp_path):
    with pytest.raises(DicomError, match="has 20 bits stored up to bit 19 of 16"):
        with_cells(GREY, tmp_path / "x", "plain", BitsStored=20, HighBit=19)


# --- padding --------------------------------------------------------------------------------------

PADDINGS = {  # value, limit, dtype, value in the image, bits stored
    "a value": (0, None, "u2", 0, 16),
    "the greatest value": (65535, None, "u2", 65535, 16),
    "a value of more bits than are stored": (65535, None, "u2", 65535, 12),
    "a range": (4000, 4095, "u2", 4050, 12),
    "a range, the greater first": (4095, 4000, "u2", 4050, 12),
    "a negative value": (-2000, None, "i2", -2000, 16),
}


@pytest.mark.parametrize("case", PADDINGS)
def test_padding_is_as_dark_as_the_darkest_pixel_that_was_scanned(tmp_path, case):
    value, limit, dtype, inside, stored = PADDINGS[case]
    scanned = (100 + GREY % 3000).astype(dtype)
    values = np.where(DISC, np.array(inside).astype(dtype), scanned)
    tags = {"BitsStored": stored, "HighBit": stored - 1}
    data = image(values, **tags)
    vr = "SS" if dtype == "i2" else "US"
    data.add_new("PixelPaddingValue", vr, value)
    if limit is not None:
        data.add_new("PixelPaddingRangeLimit", vr, limit)
    pixels = read_file(saved(data, tmp_path / "x"))[0].pixels
    assert np.array_equal(pixels[~DISC], scanned[~DISC])
    assert set(pixels[DISC]) == {scanned[~DISC].min()}


def test_padding_follows_inversion_and_rescale(tmp_path):
    values = np.where(DISC, 0, 100 + GREY % 900).astype("u2")
    data = image(values, RescaleSlope=-2, RescaleIntercept=5000)
    data.add_new("PixelPaddingValue", "US", 0)
    pixels = read_file(saved(data, tmp_path / "x"))[0].pixels
    assert set(pixels[DISC]) == {5000 - 2 * values.max()}


def test_an_image_that_is_all_padding_stays_as_it_is(tmp_path):
    data = image(np.full((4, 6), 7, "u2"))
    data.add_new("PixelPaddingValue", "US", 7)
    assert set(read_file(saved(data, tmp_path / "x"))[0].pixels.ravel()) == {7}


# --- what pixel values mean -----------------------------------------------------------------------


def lut(descriptor, data, vr="OW"):
    """The tags of a Modality LUT; descriptor: how many values, of which pixel the first, bits."""
    table = Dataset()
    table.add_new("LUTDescriptor", "US", descriptor)
    table.add_new("LUTData", vr, data)
    table.ModalityLUTType = "US"
    return {"ModalityLUTSequence": [table], "BitsStored": 12, "HighBit": 11}


RISING = np.arange(4096) * 3 + 5


@pytest.mark.parametrize("how", ["plain", "RLELossless"])
def test_a_modality_lut_is_applied(tmp_path, how):
    table = lut([4096, 0, 16], RISING.astype("<u2").tobytes())
    pixels = with_cells(GREY, tmp_path / "x", how, **table)
    assert np.array_equal(pixels, GREY * 3 + 5)


def test_a_modality_lut_may_be_numbers_or_big_endian_words(tmp_path):
    pixels = with_cells(GREY, tmp_path / "x", "plain", **lut([4096, 0, 16], RISING.tolist(), "US"))
    assert np.array_equal(pixels, GREY * 3 + 5)
    data = image(GREY.astype("u2"), **lut([4096, 0, 16], RISING.astype(">u2").tobytes()))
    data.PixelData = GREY.astype(">u2").tobytes()
    path = saved(data, tmp_path / "x", ExplicitVRBigEndian)
    assert np.array_equal(read_file(path)[0].pixels, GREY * 3 + 5)


def test_a_modality_lut_of_bytes_holds_two_in_a_word(tmp_path):
    table = lut([256, 100, 8], bytes(range(256)))
    pixels = with_cells(GREY, tmp_path / "x", "plain", **table)
    assert np.array_equal(pixels, np.clip(GREY.astype(int) - 100, 0, 255))  # and beyond its ends


def test_a_modality_lut_that_ends_early_is_refused(tmp_path):
    with pytest.raises(DicomError, match="has a Modality LUT of 10 instead of 4096 values"):
        with_cells(GREY, tmp_path / "x", "plain", **lut([4096, 0, 16], bytes(10)))


@pytest.mark.parametrize("how", ["plain", "RLELossless"])
def test_a_blank_rescale_is_none(tmp_path, how):
    with config.disable_value_validation():
        pixels = with_cells(GREY, tmp_path / "x", how, RescaleSlope="  ", RescaleIntercept=" ")
    assert np.array_equal(pixels, GREY)


@pytest.mark.parametrize(("slope", "intercept"), [("nan", "0"), ("inf", "0"), ("1", "-inf")])
def test_a_rescale_that_leaves_no_number_is_refused(axial, slope, intercept):
    path = sorted(axial.iterdir())[0]
    before = read_series(axial)
    refused = pytest.raises(DicomError, match="has a rescale that leaves no finite pixel values")
    with config.disable_value_validation(), refused:
        changed(path, RescaleSlope=slope, RescaleIntercept=intercept)
    after = read_series(axial)  # the others are as they were
    kept = [s.pixels for s in before.slices if s.instance != int(path.stem)]
    assert all(np.array_equal(a, b) for a, b in zip(after.pixels, kept, strict=True))


def test_a_rescale_that_overflows_is_refused(tmp_path):
    with pytest.raises(DicomError, match="no finite pixel values"):
        read_file(saved(image(RescaleSlope=1e38, RescaleIntercept=0), tmp_path / "x"))


@pytest.mark.parametrize(
    ("kind", "tags"),
    {
        "a segmentation": {"SOPClassUID": SegmentationStorage},
        "a radiation dose": {"SOPClassUID": RTDoseStorage},
        "a parametric map": {"SOPClassUID": ParametricMapStorage},
        "a segmentation ": {"Modality": "SEG"},
        "a radiation dose ": {"Modality": "RTDOSE"},
    }.items(),
)
def test_objects_that_are_no_images_are_refused(tmp_path, kind, tags):
    with pytest.raises(DicomError, match=f"holds {kind.strip()}, not an image"):
        read_file(saved(image(**tags), tmp_path / "x"))


# --- one folder is one stack ----------------------------------------------------------------------


def renumbered(folder, number):
    """Every file of a series with the InstanceNumber that number(k, old) gives."""
    for k, path in enumerate(sorted(folder.iterdir(), key=lambda p: int(p.stem))):
        data = pydicom.dcmread(path)
        data.InstanceNumber = number(k, int(path.stem))
        data.save_as(path)


NUMBERINGS = {
    "empty": lambda k, old: None,
    "all the same": lambda k, old: 1,
    "in pairs": lambda k, old: k // 2 + 1,
    "one more": lambda k, old: old + 1,
    "backwards": lambda k, old: 100 - old,
}


@pytest.mark.parametrize("case", NUMBERINGS)
def test_the_files_name_is_the_instance_number_that_tables_mean(axial, case):
    before = read_series(axial)
    renumbered(axial, NUMBERINGS[case])
    after = read_series(axial)
    assert after.instances == before.instances
    assert after.numbering.source == BY_NAME
    assert after.numbering.differing >= len(after) - 1


def test_without_usable_numbers_slices_are_numbered_in_order_and_that_is_known(axial):
    renumbered(axial, NUMBERINGS["in pairs"])
    for path in axial.iterdir():
        path.rename(axial / f"IM-{int(path.stem):04d}")
    series = read_series(axial)
    assert sorted(series.instances) == list(range(1, len(series) + 1))
    assert series.numbering.source == BY_ORDER


def test_frames_of_two_files_in_one_folder_have_different_numbers(tmp_path):
    for name, first_mm in (("1.dcm", 0), ("2.dcm", 9)):
        saved(frames_at([[first_mm + 3 * k, 0, 0] for k in range(3)]), tmp_path / name)
    series = read_series(tmp_path)
    assert sorted(series.instances) == [1, 2, 3, 4, 5, 6]
    assert series.gap_mm == 3
    assert series.numbering.source == BY_ORDER


def test_a_second_echo_is_left_out_and_its_points_are_in_the_same_place(axial):
    before = read_series(axial)
    for path in sorted(axial.iterdir()):
        data = pydicom.dcmread(path)
        data.EchoTime = 100
        data.save_as(path)
        data.decompress()
        data.EchoTime = 20
        data.PixelData = (data.pixel_array // 2).tobytes()
        data.save_as(axial / f"{500 - int(path.stem)}.dcm")
    (axial / "1.dcm").unlink()  # so that the echo of 100 ms is the rarer one
    after = read_series(axial)
    assert len(after) == len(before)
    assert after.gap_mm == before.gap_mm
    assert all(one.pixels.max() <= 2048 for one in after.slices)
    assert len(after.left_out) == len(before) - 1
    assert "shows the same plane as 498.dcm" in dict(after.left_out)["2.dcm"]
    mm = before.to_patient(before.index(2), (3, 4))
    np.testing.assert_allclose(after.to_patient(after.index(2), (3, 4)), mm)
    assert after.shows(2)
    assert not after.shows(900)


def test_a_scout_in_another_plane_is_left_out(axial):
    before = read_series(axial)
    names = []
    for k, orientation in enumerate(([0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])):
        names.append(f"{900 + k}.dcm")
        data = image(np.full((64, 64), 60000, "u2"), ImageOrientationPatient=orientation)
        saved(data, axial / names[-1])
    after = read_series(axial, as_one=True)
    assert after.instances == before.instances
    assert [name for name, _ in after.left_out] == names
    assert all(reason.startswith(OTHER_PLANE) for _, reason in after.left_out)


def test_an_oblique_block_through_l5_s1_is_no_scout(tmp_path):
    flat, steep = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0.643, 0.766]  # tilted by 50°
    for k in range(12):
        tilted = {"ImageOrientationPatient": flat if k < 8 else steep}
        saved(image(ImagePositionPatient=[0, 0, -4 * k], **tilted), tmp_path / f"{k + 1}.dcm")
    assert len(read_series(tmp_path)) == 12


def test_a_folder_that_cannot_be_listed_is_named(axial, refuse_to_list):
    refuse_to_list(axial)
    with pytest.raises(DicomError, match=r"could not be read from the disk \(Permission denied\)"):
        read_series(axial)


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


def frames_at(positions) -> FileDataset:
    """A multi-frame file of sagittal frames at these positions (mm), each with a grey of its
    own."""
    values = np.repeat(np.arange(len(positions), dtype=np.uint16), 24).reshape(-1, 4, 6)
    frames = [
        dataset(PlanePositionSequence=[dataset(ImagePositionPatient=position)])
        for position in positions
    ]
    return image(
        values,
        NumberOfFrames=len(positions),
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
        PerFrameFunctionalGroupsSequence=frames,
    )


def test_the_position_of_a_frame_is_its_own_whatever_the_top_of_the_file_repeats(tmp_path):
    data = frames_at([[x, -80, 120] for x in (20, 0, 10, 5)])
    assert data.ImagePositionPatient == [1, 2, 3]
    saved(data, tmp_path / "1.dcm")
    series = read_series(tmp_path)
    assert [one.origin[0] for one in series.slices] == [0, 5, 10, 20]
    assert [one.pixels[0, 0] for one in series.slices] == [1, 3, 2, 0]


def test_a_file_has_to_describe_every_frame(tmp_path):
    data = frames_at([[x, 0, 0] for x in (0, 5, 10)])
    del data.PerFrameFunctionalGroupsSequence[2]
    with pytest.raises(DicomError, match="describes 2 frames and claims 3"):
        read_file(saved(data, tmp_path / "x"))


def test_frames_that_are_all_in_one_place_are_one_slice(tmp_path):
    data = image(np.arange(72, dtype=np.uint16).reshape(3, 4, 6), NumberOfFrames=3)
    saved(data, tmp_path / "1.dcm")
    series = read_series(tmp_path)
    assert len(series) == 1
    assert [name for name, _ in series.left_out] == ["1.dcm frame 2", "1.dcm frame 3"]


def test_what_is_not_a_grey_image_with_a_position_is_refused(tmp_path):
    cases = {
        "holds a colour image": image(SamplesPerPixel=3, PhotometricInterpretation="RGB"),
        "no pair of right-angled directions": image(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
        "has a PixelSpacing of 0 by 0.5 mm": image(PixelSpacing=[0, 0.5]),
        r"has an ImagePositionPatient of 1e\+300 mm": image(ImagePositionPatient=[0, -1e300, 0]),
        "claims 4,295 MB of pixels": image(Rows=1024, Columns=1024, NumberOfFrames=2048),
        "ends early: 48 of 4,800 bytes": image(Rows=400),  # more rows than pixels
        "is an image of 6 by 0 pixels": image(Rows=0),
    }
    for reason, data in cases.items():
        with pytest.raises(DicomError, match=reason):
            read_file(saved(data, tmp_path / "x"))


def test_a_huge_claim_in_a_small_file_costs_neither_memory_nor_time(tmp_path):
    saved(image(NumberOfFrames=1000, Rows=65535, Columns=65535), tmp_path / "huge")
    start = time.perf_counter()

    def read():
        with pytest.raises(DicomError, match="claims 8,589,"):
            read_file(tmp_path / "huge")

    assert peak_bytes(read) < 100e6
    assert time.perf_counter() - start < 5


def peak_bytes(call) -> int:
    """The most memory that Python and numpy hold at once during a call."""
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_a_peak_is_seen():
    assert 2e8 < peak_bytes(lambda: np.ones(25_000_000)) < 3e8


def deflated(path, data, zeros):
    """A deflated file whose data set ends in so many bytes of zeros."""
    saved(data, path, DeflatedExplicitVRLittleEndian)
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = [packer.compress(zlib.decompress(whole[start:], -zlib.MAX_WBITS))]
    packed += [packer.compress(bytes(2**20)) for _ in range(zeros // 2**20)]
    path.write_bytes(whole[:start] + b"".join(packed) + packer.flush())
    return path


BOMBS = {
    "more bytes than it promises": ({}, "inflates to more than the 0.0 MB of pixels it promises"),
    "a promise that no file may make": (
        {"Rows": 60000, "Columns": 60000},
        "claims 7,200 MB of pixels",
    ),
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_deflated_file_may_not_inflate_beyond_its_promise(tmp_path, case):
    tags, reason = BOMBS[case]
    path = deflated(tmp_path / "bomb", image(**tags), 2**29)
    assert path.stat().st_size < 600_000

    def read():
        with pytest.raises(DicomError, match=reason):
            read_file(path)

    assert peak_bytes(read) < 100e6


def test_a_deflated_file_of_honest_size_is_read(tmp_path):
    values = np.random.default_rng(0).integers(0, 999, (40, 500, 500)).astype(np.uint16)
    data = frames_at([[4 * k, 0, 0] for k in range(40)])
    data.Rows = data.Columns = 500
    data.PixelData = values.tobytes()
    path = saved(data, tmp_path / "x", DeflatedExplicitVRLittleEndian)
    assert np.array_equal([one.pixels for one in read_file(path)], values)


def test_a_file_with_holes_is_refused_by_its_header(tmp_path):
    path = saved(image(), tmp_path / "sparse")
    with path.open("r+b") as file:
        file.truncate(3 * 2**30)

    def read():
        with pytest.raises(DicomError, match=r"has 3,221 MB and promises 0.0 MB of pixels"):
            read_file(path)

    assert peak_bytes(read) < 100e6
    path.write_bytes(b"")
    with path.open("r+b") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(DicomError, match="is not a DICOM file"):
        read_file(path)


def test_the_time_that_a_jpeg_may_take_grows_with_its_frames(tmp_path, monkeypatch):
    count = 30
    data = frames_at([[k, 0, 0] for k in range(count)])
    values = np.random.default_rng(0).integers(0, 999, (count, 256, 256)).astype(np.uint16)
    data.Rows = data.Columns = 256
    data.PixelData = values.tobytes()
    saved(data, tmp_path / "plain")
    compress(tmp_path / "plain", tmp_path / "x", gdcm.TransferSyntax.JPEG2000Lossless)
    monkeypatch.setattr(jpeg, "TIME_LIMIT_S", 0.2)  # one frame takes about 0.03 s
    assert np.array_equal([one.pixels for one in read_file(tmp_path / "x")], values)
    monkeypatch.setattr(jpeg, "TIME_LIMIT_S", 0.0001)
    with pytest.raises(DicomError, match="took too long") as caught:
        read_file(tmp_path / "x")
    assert "damaged" not in caught.value.reason


def test_jpeg_extended_of_12_bits_is_read(tmp_path):
    """Made by imagecodecs' encoder; lossy, so only near the truth."""
    rows, columns = np.indices((64, 64))
    values = (2000 + 1500 * np.sin(rows / 9) * np.cos(columns / 7)).astype(np.uint16)
    data = image(values, BitsStored=12, HighBit=11)
    frame = imagecodecs.jpeg8_encode(values, level=95, bitspersample=12)
    data.PixelData = encapsulate([frame])
    path = saved(data, tmp_path / "x", JPEGExtended12Bit)
    assert abs(read_file(path)[0].pixels.astype(int) - values).max() < 40


def test_a_reason_has_all_that_the_library_says():
    assert (
        one_line("cannot decode:\n  gdcm: no such plugin\n")
        == "cannot decode: gdcm: no such plugin"
    )
    assert len(one_line("x" * 999)) == 301


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
from benchmarks.damage import mutated
from utils.dicom import DicomError, read_file

target = Path(sys.argv[1])
count = int(sys.argv[2])
sources = [Path(p).read_bytes() for p in sys.argv[3:]]
ended = {}
for seed in range(count):
    rng = random.Random(seed)
    data = mutated(rng.choice(sources), rng)
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
    assert done.stderr == ""  # what a decoder prints would end up in a notebook


@pytest.mark.slow
def test_mutated_files_are_read_or_refused_never_worse(compressed, tmp_path):
    source, folder = compressed
    plain = saved(image(), tmp_path / "plain")
    fuzz(tmp_path, [source, source, plain, *(folder / name for name in COMPRESSIONS)], 900)


@pytest.mark.slow
def test_mutated_real_files_too(real_root, tmp_path):
    files = sorted(real_root.rglob("*.dcm"))
    fuzz(tmp_path, [files[0], files[len(files) // 2], files[-1]], 600)
