"""A phantom study as hospitals export it: one patient's files in any order, with the tags of a
scanner, beside scans that nobody grades."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from utils.rsna import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2, SERIES

# What must never be seen: the values of tags that tell who the patient is.
PATIENT = {
    "PatientName": "Quixotescu^Annalena",
    "PatientID": "KH-4711-0815",
    "PatientBirthDate": "19610523",
    "PatientAddress": "Musterweg 12b",
    "InstitutionName": "Klinikum Zwetschgenau",
    "ReferringPhysicianName": "Huberhuber^Dr",
    "AccessionNumber": "ACC99887766",
    "StudyDescription": "MRT LWS Quixotescu",
    "PatientComments": "Sturz vom Kirschbaum",
}
# Their parts; the shortest may be in any text or picture by chance.
SECRETS = [
    part for value in PATIENT.values() for part in value.replace("^", " ").split() if len(part) >= 5
]
NAMES = {
    "english": {SAGITTAL_T1: "Sag T1 TSE", SAGITTAL_T2: "Sag T2 FRFSE", AXIAL_T2: "Ax T2 L1-S1"},
    "german": {
        SAGITTAL_T1: "T1 sagittal LWS",
        SAGITTAL_T2: "T2 sagittal LWS",
        AXIAL_T2: "T2 transversal Bandscheiben",
    },
    "french": {
        SAGITTAL_T1: "SAG T1 rachis lombaire",
        SAGITTAL_T2: "SAG T2 rachis lombaire",
        AXIAL_T2: "AX T2 disques",
    },
}
TIMES = {  # TR and TE in ms, least and most
    SAGITTAL_T1: ((450, 750), (8, 14)),
    SAGITTAL_T2: ((2600, 4800), (85, 120)),
    AXIAL_T2: ((2800, 5200), (85, 120)),
}
VENDORS = {
    "Siemens": (["ORIGINAL", "PRIMARY", "M", "ND", "NORM"], "*tse2d1_17"),
    "GE": (["ORIGINAL", "PRIMARY", "OTHER"], "FSE-XL"),
    "Philips": (["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"], "TSE"),
}


def images_of(tables, study) -> dict[str, list[Dataset]]:
    """The files of a study in the competition's layout, by kind of series."""
    found: dict[str, list[Dataset]] = {}
    for row in tables.series_of(study).itertuples():
        paths = sorted(tables.folder(study, row.series_id).iterdir())
        found.setdefault(row.series_description, []).extend(map(pydicom.dcmread, paths))
    return found


class Exam:
    """An exam that is written into one flat folder, file by file."""

    def __init__(self, folder: Path, seed: int, language: str = "german", vendor: str = "Siemens"):
        self.folder = folder
        self.rng = np.random.default_rng(seed)
        self.language, self.vendor = language, vendor
        self.study_uid = generate_uid(entropy_srcs=[str(seed)])
        self.count = 0
        folder.mkdir(parents=True)

    def uid(self) -> str:
        self.count += 1
        return generate_uid(entropy_srcs=[self.study_uid, str(self.count)])

    def tags_of(self, kind: str) -> dict:
        """What the scanner writes of a scan of this kind."""
        tr, te = (round(float(self.rng.uniform(*limits)), 1) for limits in TIMES[kind])
        image_type, sequence = VENDORS[self.vendor]
        return {
            "SeriesDescription": f"{NAMES[self.language][kind]} {PATIENT['PatientName'][:10]}",
            "ProtocolName": NAMES[self.language][kind],
            "ImageType": image_type,
            "SequenceName": sequence,
            "ScanningSequence": "SE",
            "MRAcquisitionType": "2D",
            "RepetitionTime": tr,
            "EchoTime": te,
            "FlipAngle": 150.0 if self.vendor == "Siemens" else 90.0,
            "BodyPartExamined": "LSPINE",
        }

    def add(self, images: list[Dataset], tags: dict, series: str = "") -> str:
        """Write images as one series; a tag of None is left out."""
        series = series or self.uid()
        for k, of in enumerate(self.rng.permutation(len(images))):
            data = self._renamed(images[of], series)
            for name, value in tags.items():
                chosen = value[of] if isinstance(value, Each) else value
                if chosen is None:
                    data.pop(name, None)
                else:
                    setattr(data, name, chosen)
            self.save(data, k)
        return series

    def save(self, data: Dataset, k: int = 0) -> None:
        if k % 3 == 1 and data.file_meta.TransferSyntaxUID.is_compressed:
            data.decompress()
            data.file_meta.TransferSyntaxUID = (
                ImplicitVRLittleEndian if k % 2 else ExplicitVRLittleEndian
            )
        name = f"{self.rng.integers(16**8):08X}{('', '.IMA', '.dcm')[k % 3]}"
        data.save_as(self.folder / name)

    def _renamed(self, image: Dataset, series: str) -> Dataset:
        """The image under other ids, and with a patient's name."""
        data = deepcopy(image)
        data.StudyInstanceUID, data.SeriesInstanceUID = self.study_uid, series
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = self.uid()
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        data.Modality, data.StudyID, data.SeriesNumber = "MR", "1", self.count
        data.StudyDate, data.StudyTime = "20240229", "120000"
        data.SpecificCharacterSet = "ISO_IR 192"
        for name, value in PATIENT.items():
            setattr(data, name, value)
        return data

    def add_bystanders(self, images: dict[str, list[Dataset]]) -> None:
        """A localizer, a coronal STIR, a T1 after contrast, a cervical scan; a PDF and a JPEG."""
        t1, t2 = images[SAGITTAL_T1], images[SAGITTAL_T2]
        scout = [deepcopy(image) for image in (*t2[:2], *images[AXIAL_T2][:2], *t2[-2:])]
        for image in scout[-2:]:
            image.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        kind = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "EchoTime": 5.0, "FlipAngle": 20}
        self.add(scout, {"SeriesDescription": "localizer", "RepetitionTime": 8.0, **kind})
        coronal = [deepcopy(image) for image in t2]
        for k, image in enumerate(coronal):
            image.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
            image.ImagePositionPatient = [-120, 40 - 5 * k, 120]
        stir = {"RepetitionTime": 4200.0, "EchoTime": 55.0, "InversionTime": 160.0}
        self.add(coronal, self.tags_of(SAGITTAL_T2) | stir | {"SeriesDescription": "cor STIR"})
        agent = {"SeriesDescription": "T1 sag +KM", "ContrastBolusAgent": "Gadolinium 7 ml"}
        self.add(t1, self.tags_of(SAGITTAL_T1) | agent)
        cervical = [deepcopy(image) for image in t2]
        for image in cervical:
            x, y, z = image.ImagePositionPatient
            image.ImagePositionPatient = [x, y, float(z) + 330]
        part = {
            "SeriesDescription": "T2 sag HWS",
            "ProtocolName": "HWS",
            "BodyPartExamined": "CSPINE",
        }
        self.add(cervical, self.tags_of(SAGITTAL_T2) | part)
        (self.folder / "Befund.pdf").write_bytes(b"%PDF-1.4 " + bytes(200))
        (self.folder / "AUTORUN.INF").write_text("[autorun]\nopen=viewer.exe\n")
        (self.folder / "bild.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))


def exported(images: dict[str, list[Dataset]], folder: Path, seed: int) -> Path:
    """A study's images as a hospital exports them, beside scans that nobody grades; the folder."""
    made = Exam(folder, seed)
    for kind in SERIES:
        made.add(images[kind], made.tags_of(kind))
    made.add_bystanders(images)
    return folder


class Each(list):
    """A tag's value for each image of a series."""


def with_dicomdir(folder: Path, out: Path) -> Path:
    """The same exam as a CD has it: files in numbered folders, and a DICOMDIR."""
    files = FileSet()
    for path in sorted(folder.iterdir()):
        if path.read_bytes()[128:132] == b"DICM":
            files.add(path)
    files.write(out)
    for name in ("AUTORUN.INF", "Befund.pdf"):
        (out / name).write_bytes((folder / name).read_bytes())
    return out


def multi_frame(images: list[Dataset], tags: dict) -> Dataset:
    """The same images as frames of one Enhanced MR file, with the tags in its groups."""
    data = deepcopy(images[0])
    cells = np.stack([image.pixel_array for image in images])
    data.decompress()
    data.PixelData, data.NumberOfFrames = cells.tobytes(), len(images)
    shared, frames = Dataset(), []
    timing = Dataset()
    for name in ("RepetitionTime", "FlipAngle"):
        if tags.get(name) is not None:
            setattr(timing, name, tags[name])
    shared.MRTimingAndRelatedParametersSequence = Sequence([timing])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    for k, image in enumerate(images):
        frame, place, turn, size, echo = (Dataset() for _ in range(5))
        place.ImagePositionPatient = image.ImagePositionPatient
        turn.ImageOrientationPatient = image.ImageOrientationPatient
        size.PixelSpacing = image.PixelSpacing
        frame.PlanePositionSequence = Sequence([place])
        frame.PlaneOrientationSequence = Sequence([turn])
        frame.PixelMeasuresSequence = Sequence([size])
        te = tags.get("EchoTime")
        if te is not None:
            echo.EffectiveEchoTime = te[k] if isinstance(te, Each) else te
            frame.MREchoSequence = Sequence([echo])
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        del data[name]
    return data
