"""Fetching from Kaggle, against a stand-in server on this machine that refuses, asks to wait, loses
the connection and sends too little."""

import contextlib
import errno
import functools
import getpass
import hashlib
import json
import logging
import sys
import threading
import traceback
import types
import zipfile
from base64 import b64encode
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import kagglehub
import pytest
from kagglehub import config
from kagglesdk import kaggle_env

from tests.ranges import RANGE
from utils import prepare, rsna
from utils.course import kaggle
from utils.course.kaggle import account, retry, transfer, whole
from utils.errors import LumbarError
from utils.files import OutputError

SECRET = "KGAT_0123456789abcdef"
SERVICE = "/api/v1/competitions.CompetitionApiService/"
COMPETITION_PAGE = f"https://www.kaggle.com/competitions/{kaggle.COMPETITION}"
TOKEN_PAGE = "https://www.kaggle.com/settings/api"


class StandIn(BaseHTTPRequestHandler):
    """Kaggle's competition API over one folder.

    faults  by a file's name, what goes wrong with its requests, one after the other
    served  how often the contents of each file were requested
    ranges  False: a part of a file can be had only from somewhere to its end
    """

    root: Path
    faults: dict[str, list[str]]
    said = ""  # the message of a refusal
    served: Counter
    page = 3
    ranges = False

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {SECRET}":
            return self.answer(401, b"{}")
        method = self.path.removeprefix(SERVICE)
        if method == "ListDataTreeFiles":
            return self.list(body)
        name = body["fileName"] if method == "DownloadDataFile" else "all.zip"
        fault = next(iter(self.faults.get(name, [])), None)
        if fault and fault.isdigit():
            self.faults[name].pop(0)
            body = json.dumps({"message": self.said} if self.said else {}).encode()
            return self.answer(int(fault), body, {"Retry-After": "0"})
        port = self.server.server_port
        signed = f"http://127.0.0.1:{port}/store/{name}?X-Goog-Signature=s3cret"
        return self.answer(302, b"", {"Location": signed})

    def list(self, body):
        files = sorted((self.root / body["path"]).iterdir(), key=lambda path: int(path.stem))
        start = int(body.get("pageToken") or 0)
        some = files[start : start + self.page]
        content = {"files": [{"name": p.name, "totalBytes": p.stat().st_size} for p in some]}
        content["files"].append({"name": "../../escape.dcm", "totalBytes": 1})
        if start + self.page < len(files):
            content["nextPageToken"] = str(start + self.page)
        self.answer(200, json.dumps(content).encode())

    def do_GET(self):
        """The storage that Kaggle redirects to: it needs no token, for the address is signed."""
        name = self.path.removeprefix("/store/").partition("?")[0]
        self.served[name] += 1
        content = self.content(name)
        md5 = b64encode(hashlib.md5(content).digest()).decode()
        first, last = RANGE.fullmatch(self.headers.get("Range", "bytes=0-")).groups()
        if last and self.ranges:
            return self.part(content, first, last)
        start = int(first) if first and not last else 0
        fault = self.faults[name].pop(0) if self.faults.get(name) else None
        body = content[start:]
        announced = len(body) // 2 if fault == "short" else len(body)
        if fault == "damaged":
            body = body[::-1]
        elif fault in ("short", "cut"):
            body = body[: len(body) // 2]
        headers = {
            "x-goog-hash": f"crc32c=AAAAAA==,md5={md5}",
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        self.answer(206 if start else 200, body, headers | {"Content-Length": announced})
        self.close_connection = True

    def part(self, content: bytes, first: str, last: str):
        """The bytes from first to last; without first, so many at the end."""
        size = len(content)
        start, end = (int(first), int(last) + 1) if first else (max(size - int(last), 0), size)
        place = {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
        self.answer(206, content[start:end], place)

    def content(self, name: str) -> bytes:
        """A file as the storage holds it: tables, and the whole competition, are zipped."""
        if name == "all.zip":
            return whole_archive(self.root)
        content = (self.root / name).read_bytes()
        return zipped({name: content}) if name.endswith(".csv") else content

    def answer(self, status, content, headers=()):
        default = {"Content-Length": len(content), "Content-Type": "application/json"}
        self.send_response(status)
        for key, value in (default | dict(headers)).items():
            self.send_header(key, str(value))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client has seen enough of a bad file
            self.wfile.write(content)


@functools.cache
def whole_archive(root: Path) -> bytes:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return zipped({str(p.relative_to(root)): p.read_bytes() for p in files})


def zipped(files: dict[str, bytes]) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


@pytest.fixture
def server(phantom_root, monkeypatch, tmp_path, caplog):
    """A stand-in for Kaggle that accepts one token; no user is signed in, and no retry waits."""
    caplog.set_level(logging.INFO, logger="utils")
    attributes = {"root": phantom_root, "faults": {}, "served": Counter()}
    handler = type("Handler", (StandIn,), attributes)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{httpd.server_port}"
        local = kaggle_env.KaggleEnv.LOCAL
        monkeypatch.setitem(kaggle_env._env_to_endpoint, local, endpoint)
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
        monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
        no_user = str(tmp_path / "no user")
        monkeypatch.setenv("HOME", no_user)
        monkeypatch.setattr(config, "DEFAULT_KAGGLE_CREDENTIALS_FOLDER", no_user)
        monkeypatch.setattr(retry, "WAITS", (0.0, 0.0, 0.0))
        monkeypatch.setattr(whole, "NEEDED_GB", 0)
        yield handler
        httpd.shutdown()
    config.clear_kaggle_credentials()


@pytest.fixture
def shown(capsys, caplog):
    """Everything that a user has been shown so far: the log, standard output and error."""

    def text() -> str:
        return caplog.text + "".join(capsys.readouterr())

    return text


def images(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.dcm"))}


def of(study: int, root: Path) -> list[str]:
    return [name for name in images(root) if name.startswith(f"train_images/{study}/")]


@pytest.fixture
def studies(phantom_root):
    return rsna.load_tables(phantom_root).studies("train")[:2]


@pytest.fixture
def a_series(phantom_root):
    """The folder of one series."""
    row = rsna.load_tables(phantom_root).series.iloc[0]
    return f"{row.split}_images/{row.study_id}/{row.series_id}"


# --- the tables and a few studies -----------------------------------------------------------------


@pytest.mark.slow
def test_a_sample_holds_the_tables_and_whole_studies(
    server, phantom_root, studies, tmp_path, shown
):
    root = kaggle.download_sample(tmp_path / "sample", studies)
    tables = rsna.load_tables(root)
    assert not tables.missing
    assert tables.studies("train") == studies
    names = [name for study in studies for name in of(study, phantom_root)]
    whole_phantom = images(phantom_root)
    assert images(root) == {name: whole_phantom[name] for name in names}
    assert not list(tmp_path.rglob("escape.dcm"))
    said = shown()
    assert "Signed in with the environment." in said
    assert SECRET not in said


def test_a_number_of_studies_takes_some_from_little_narrowing_to_much(
    server, phantom_root, tmp_path
):
    tables = rsna.load_tables(phantom_root)
    chosen = kaggle.choose(tables, 2)
    narrowed = tables.labels[tables.labels.grade.ne("Normal/Mild")]
    counts = [(narrowed.study_id == study).sum() for study in chosen]
    assert counts == sorted(counts)
    root = kaggle.download_sample(tmp_path / "sample", 2)
    assert rsna.load_tables(root).studies("train") == sorted(chosen)


def test_on_the_real_tables_complete_studies_are_chosen(real_root):
    tables = rsna.load_tables(real_root)
    chosen = kaggle.choose(tables, 5)
    assert len(set(chosen)) == 5
    for study in chosen:
        assert tables.labels[tables.labels.study_id == study].grade.notna().all()
        assert sorted(tables.series_of(study).series_description) == sorted(rsna.SERIES)


@pytest.mark.slow
def test_a_lost_connection_a_short_file_and_too_many_requests_are_tried_again(
    server, studies, tmp_path, phantom_root, shown
):
    names = of(studies[0], phantom_root)[:3]
    server.faults[names[0]] = ["cut", "damaged"]
    server.faults[names[1]] = ["short"]
    server.faults[names[2]] = ["429", "503"]
    server.faults["train.csv"] = ["429", "damaged"]
    server.faults["sample_submission.csv"] = ["short"]
    root = kaggle.download_sample(tmp_path / "sample", studies)
    fetched, original = images(root), images(phantom_root)
    assert [fetched[name] for name in names] == [original[name] for name in names]
    said = shown()
    assert "Kaggle asks to wait (429: too many requests); trying again in 0 s" in said
    assert "the connection to Kaggle was lost; trying again in 0 s" in said
    assert "Kaggle answers 503; trying again in 0 s" in said


@pytest.mark.slow
def test_what_has_arrived_is_kept_and_fetched_once(server, studies, tmp_path, phantom_root):
    broken = of(studies[0], phantom_root)[5]
    server.faults[broken] = ["cut"] * 9
    message = r"was lost, 4 times\. What has arrived is kept: run this cell again"
    with pytest.raises(kaggle.KaggleError, match=f"the connection to Kaggle {message}"):
        kaggle.download_sample(tmp_path / "sample", studies, jobs=1)
    assert broken not in images(tmp_path / "sample"), "half a file has no name"
    server.faults.clear()
    before = Counter(server.served)
    kaggle.download_sample(tmp_path / "sample", studies, jobs=1)
    again = [name for name in images(phantom_root) if server.served[name] > before[name] > 0]
    assert again == [broken]


def test_a_complete_sample_needs_no_network_and_no_token(server, studies, tmp_path, monkeypatch):
    kaggle.download_sample(tmp_path / "sample", studies)
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    before = sum(server.served.values())
    root = kaggle.download_sample(tmp_path / "sample", studies)
    assert rsna.load_tables(root).studies("train") == studies
    assert sum(server.served.values()) == before


def test_a_list_without_images_is_no_finished_sample(server, studies, tmp_path, monkeypatch):
    monkeypatch.setattr(StandIn, "list", lambda self, body: self.answer(200, b'{"files": []}'))
    with pytest.raises(kaggle.KaggleError, match=rf"lists no images in train_images/{studies[0]}/"):
        kaggle.download_sample(tmp_path / "sample", studies)
    assert not (tmp_path / "sample" / "sample.txt").exists()


def test_a_damaged_note_of_what_is_finished_fetches_again(server, studies, tmp_path):
    root = kaggle.download_sample(tmp_path / "sample", studies)
    (root / "sample.txt").write_bytes(b"\xff\x00")
    kaggle.download_sample(tmp_path / "sample", studies)
    assert (root / "sample.txt").read_text().split() == [str(study) for study in studies]


def test_a_full_disk_is_named_with_the_file(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transfer, "_save", full)
    with pytest.raises(OutputError, match=r"\.csv: cannot be written \(No space left on device\)"):
        kaggle.download_sample(tmp_path / "sample", 1, jobs=1)  # no thread outlives this test


def test_a_refusal_names_its_usual_causes(server, tmp_path):
    server.faults["train.csv"] = ["403"]
    with pytest.raises(kaggle.KaggleError) as caught:
        kaggle.download_sample(tmp_path / "sample", 1)
    text = str(caught.value)
    for cause in (f"{COMPETITION_PAGE}/rules", "phone number", "token is limited", "any more"):
        assert cause in text
    assert "Kaggle says" not in text


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("You must verify your phone number.", "Kaggle says: You must verify your phone number."),
        (f"token {SECRET} has no access", "Kaggle says: token has no access"),
        ("<script>alert(1)</script> no", "Kaggle says: scriptalert(1)/script no"),
        ("", None),
    ],
)
def test_a_refusal_says_what_kaggle_says_and_no_secret(server, tmp_path, said, shown):
    server.said = said
    server.faults["train.csv"] = ["403"]
    with pytest.raises(kaggle.KaggleError) as caught:
        kaggle.download_sample(tmp_path / "sample", 1)
    text = str(caught.value)
    assert text.endswith(shown) if shown else "Kaggle says" not in text
    assert SECRET not in text


TOKEN_SHAPES = {
    "with a line break": SECRET + "\n",
    "with carriage return and line break": SECRET + "\r\n",
    "with a blank before": " " + SECRET,
    "in quotes": f'"{SECRET}"',
    "in single quotes and blanks": f" '{SECRET}' ",
    "with a byte-order mark": "\ufeff" + SECRET,
    "with a zero-width blank": SECRET + "\u200b",
}
IMPOSSIBLE = {
    "a line break within": "KGAT_01234\n56789abcdef",
    "a blank within": "KGAT_01234 56789abcdef",
    "a header of its own": "KGAT_01234\r\nX-Other: 56789abcdef",
    "letters beyond ASCII": "KGAT_01234é56789abcdef",
    "a whole file": '{"username": "ann", "key": "KGAT_0123456789"}',
}


def give(token, source, monkeypatch, tmp_path):
    """Where a token may be found; returns what answers the prompt."""
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    if source == "the environment":
        monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    elif source == "a file named in the environment":
        path = tmp_path / "token.txt"
        path.write_text(token, encoding="utf-8", newline="")
        monkeypatch.setenv("KAGGLE_API_TOKEN", str(path))
    elif source == "Colab's secrets":
        colab(monkeypatch, {"KAGGLE_API_TOKEN": token})
    elif source == "a file":
        (tmp_path / "no user" / ".kaggle").mkdir(parents=True)
        path = tmp_path / "no user" / ".kaggle" / "access_token"
        path.write_text(token, encoding="utf-8", newline="")
    return lambda _: token


SOURCES = [
    "the environment",
    "a file named in the environment",
    "Colab's secrets",
    "a file",
    "what you typed",
]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("shape", TOKEN_SHAPES)
def test_a_token_of_any_shape_signs_in_and_is_not_shown(
    server, a_series, source, shape, monkeypatch, tmp_path, shown
):
    account.sign_in(give(TOKEN_SHAPES[shape], source, monkeypatch, tmp_path))
    assert list(transfer.list_instances(a_series))
    assert SECRET not in shown()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("shape", IMPOSSIBLE)
def test_what_cannot_be_a_token_is_refused_and_not_shown(
    server, source, shape, monkeypatch, tmp_path, shown
):
    token = IMPOSSIBLE[shape]
    ask = give(token, source, monkeypatch, tmp_path)
    with pytest.raises(kaggle.KaggleError) as caught:
        kaggle.download_sample(tmp_path / "sample", 1, ask=ask)
    told = shown() + "".join(traceback.format_exception(caught.value))
    assert "56789" not in told
    assert "has characters that no token has" in str(caught.value)


def test_what_a_library_says_is_not_shown(monkeypatch):
    def fails():
        raise RuntimeError(f"invalid header value Bearer {SECRET}")

    with pytest.raises(kaggle.KaggleError) as caught:
        retry.with_retries(fails)
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told
    assert "RuntimeError" in str(caught.value)


def test_an_old_token_is_reported_and_not_shown(server, tmp_path, monkeypatch, shown):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_old")
    with pytest.raises(kaggle.KaggleError) as caught:
        kaggle.download_sample(tmp_path / "sample", 1)
    assert str(caught.value) == (
        f"Kaggle does not accept this API token (any more). Make a new one at {TOKEN_PAGE} and put "
        "it where the old one was."
    )
    assert "KGAT_old" not in shown() + str(caught.value)


# --- out of the archive ---------------------------------------------------------------------------


def test_with_ranges_a_sample_is_as_many_ranges_as_studies(
    server, phantom_root, studies, tmp_path, monkeypatch
):
    monkeypatch.setattr(server, "ranges", True)
    root = kaggle.download_sample(tmp_path / "sample", studies)
    whole_phantom = images(phantom_root)
    names = [name for study in studies for name in of(study, phantom_root)]
    assert images(root) == {name: whole_phantom[name] for name in names}
    assert not any(name.endswith(".dcm") for name in server.served), "no file by itself"
    assert server.served["all.zip"] <= 4 + len(studies)


def test_an_interrupted_sample_goes_on_with_the_next_study(server, studies, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "ranges", True)
    real = kaggle.ArchiveSource.fetch

    def lost(archive, wanted, split):
        yield next(real(archive, wanted, split))
        raise kaggle.KaggleError("the connection to Kaggle was lost")

    monkeypatch.setattr(kaggle.ArchiveSource, "fetch", lost)
    with pytest.raises(kaggle.KaggleError):
        kaggle.download_sample(tmp_path / "sample", studies)
    asked = []
    monkeypatch.setattr(kaggle.ArchiveSource, "fetch", lambda *of: asked.append(of[1]) or real(*of))
    root = kaggle.download_sample(tmp_path / "sample", studies)
    assert asked == [studies[1:]]
    assert rsna.load_tables(root).studies("train") == studies


def test_the_test_studies_can_be_had_alone(server, phantom_root, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "ranges", True)
    root = kaggle.download_sample(tmp_path / "sample", 1, split="test")
    tables = rsna.load_tables(phantom_root)
    assert rsna.load_tables(root).studies("test") == tables.studies("test")
    assert not rsna.load_tables(root).studies("train")


def test_all_studies_are_prepared_without_a_file_of_them(
    server, phantom_root, tmp_path, monkeypatch, shown
):
    monkeypatch.setattr(server, "ranges", True)
    root = kaggle.download_sample(tmp_path / "tables", [])
    source = kaggle.open_archive(rsna.load_tables(root))
    folds = prepare.prepare(source, tmp_path / "prepared", jobs=1, folds=2)
    assert folds.study_id.tolist() == rsna.load_tables(phantom_root).studies("train")
    assert not list(tmp_path.rglob("*.dcm"))
    assert "s3cret" not in shown()


def test_an_unknown_study_is_named(server, tmp_path):
    message = r"no training study 12; train\.csv lists those there are"
    with pytest.raises(kaggle.KaggleError, match=message):
        kaggle.download_sample(tmp_path / "sample", [12])


def test_what_kaggle_refuses_is_an_error_that_the_user_can_mend():
    assert issubclass(kaggle.KaggleError, LumbarError)


# --- all of it ------------------------------------------------------------------------------------


def test_the_whole_competition_arrives_over_a_bad_connection(server, phantom_root, shown):
    server.faults["all.zip"] = ["cut", "429"]
    root = kaggle.download_all()
    assert images(root) == images(phantom_root)
    assert rsna.load_tables(root).studies() == rsna.load_tables(phantom_root).studies()
    assert SECRET not in shown()
    before = sum(server.served.values())
    assert kaggle.download_all() == root, "it is there already"
    assert sum(server.served.values()) == before


def test_a_disk_too_small_is_reported_before_anything_is_fetched(server, tmp_path, monkeypatch):
    monkeypatch.setattr(whole, "NEEDED_GB", 10**9)
    message = r"the archive \(36 GB\) and its contents need .* Use SOURCE = 'kaggle'"
    with pytest.raises(kaggle.KaggleError, match=message):
        kaggle.download_all()
    assert not server.served


def test_no_secret_reaches_an_error_of_the_network(server, tmp_path):
    server.faults["all.zip"] = ["cut"] * 9
    with pytest.raises(kaggle.KaggleError) as caught:
        kaggle.download_all()
    error = caught.value
    while error is not None:
        assert "s3cret" not in str(error)
        assert SECRET not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_kagglehub_is_a_version_that_resumes_downloads():
    major = kagglehub.__version__.split(".")[0]
    assert int(major) >= 1


# --- whose account --------------------------------------------------------------------------------


def colab(monkeypatch, secrets: dict[str, str]):
    """google.colab with these secrets; a request for another raises, as there."""

    def get(name):
        if name not in secrets:
            raise LookupError(f"Secret {name} does not exist.")
        return secrets[name]

    module = types.ModuleType("google.colab")
    module.userdata = types.SimpleNamespace(get=get)
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", module)


def no_keyboard(prompt):
    raise OSError("no keyboard")


def write_credentials(tmp_path: Path):
    folder = tmp_path / "no user"
    folder.mkdir(exist_ok=True)
    (folder / "kaggle.json").write_text('{"username": "bob", "key": "b"}')


def test_the_environment_comes_first(server, monkeypatch):
    colab(monkeypatch, {"KAGGLE_API_TOKEN": "KGAT_other"})
    assert kaggle.sign_in(no_keyboard) == "the environment"
    assert config.get_kaggle_credentials().api_key == SECRET


@pytest.mark.parametrize(
    ("secrets", "expected"),
    [
        ({"KAGGLE_API_TOKEN": SECRET + "\n"}, (SECRET, None, None)),
        ({"KAGGLE_USERNAME": "ann", "KAGGLE_KEY": "k"}, (None, "ann", "k")),
    ],
)
def test_then_colabs_secrets_the_token_or_the_older_pair(
    server, monkeypatch, secrets, expected, tmp_path
):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    write_credentials(tmp_path)
    colab(monkeypatch, secrets)
    assert kaggle.sign_in(no_keyboard) == "Colab's secrets"
    found = config.get_kaggle_credentials()
    assert (found.api_key, found.username, found.key) == expected


def test_then_a_file_then_the_keyboard(server, monkeypatch, tmp_path):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    assert kaggle.sign_in(lambda prompt: f" {SECRET} ") == "what you typed"
    assert config.get_kaggle_credentials().api_key == SECRET
    write_credentials(tmp_path)
    assert kaggle.sign_in(no_keyboard) == "a file"
    assert config.get_kaggle_credentials().username == "bob"


def test_without_a_token_and_a_keyboard_the_error_says_what_to_do(server, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    with pytest.raises(kaggle.KaggleError) as caught:
        kaggle.sign_in(no_keyboard)
    assert str(caught.value) == (
        f"No Kaggle API token was found. Make one at {TOKEN_PAGE} and put it in the environment "
        "variable KAGGLE_API_TOKEN; on Colab in a secret of that name (the key in the left margin; "
        "allow this notebook to read it). SOURCE = 'phantom' needs none."
    )


def test_the_prompt_does_not_show_what_is_typed():
    assert kaggle.sign_in.__defaults__ == (getpass.getpass,)


@pytest.mark.parametrize("mount", [f"competitions/{kaggle.COMPETITION}", kaggle.COMPETITION])
def test_on_kaggle_the_attached_data_are_used(server, phantom_root, mount, monkeypatch, tmp_path):
    attached = tmp_path / "input" / mount
    attached.parent.mkdir(parents=True)
    attached.symlink_to(phantom_root)
    monkeypatch.setattr(account, "INPUT", tmp_path / "input")
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    assert kaggle.download_all() == attached
    for _ in range(2):
        tables = rsna.load_tables(kaggle.download_sample(tmp_path / "sample", 2))
        assert len(tables.studies("train")) == 2
        assert not tables.missing
    assert prepare.prepare_study(tables, tables.studies("train")[0]).series
    assert not server.served
