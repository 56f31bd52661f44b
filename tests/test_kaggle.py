"""Fetching from Kaggle, against a stand-in on this machine that refuses, asks to wait, cuts the line and sends too little."""

import getpass
import hashlib
import json
import sys
import threading
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

from utils import kaggle, prepare, rsna

SECRET = "KGAT_0123456789abcdef"
SERVICE = "/api/v1/competitions.CompetitionApiService/"


class StandIn(BaseHTTPRequestHandler):
    """Kaggle's competition API over one folder. faults: for a file's name what goes wrong, one after the other."""

    root: Path
    faults: dict[str, list[str]]
    asked: Counter
    page = 3

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {SECRET}":
            return self.answer(401, b"{}")
        what = self.path.removeprefix(SERVICE)
        if what == "ListDataTreeFiles":
            return self.list(body)
        name = body["fileName"] if what == "DownloadDataFile" else "all.zip"
        fault = next(iter(self.faults.get(name, [])), None)
        if fault and fault.isdigit():
            self.faults[name].pop(0)
            return self.answer(int(fault), b"{}", {"Retry-After": "0"})
        return self.answer(
            302, b"", {"Location": f"http://127.0.0.1:{self.server.server_port}/store/{name}?X-Goog-Signature=s3cret"}
        )

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
        """The store that Kaggle sends one to: it needs no token, for the address is signed."""
        name = self.path.removeprefix("/store/").partition("?")[0]
        self.asked[name] += 1
        content = (self.root / name).read_bytes() if name != "all.zip" else self.archive()
        if name.endswith(".csv"):
            content = zipped({name: content})
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        fault = self.faults[name].pop(0) if self.faults.get(name) else None
        sent, md5 = content[start:], b64encode(hashlib.md5(content).digest()).decode()
        announced = len(sent) // 2 if fault == "short" else len(sent)
        sent = sent[::-1] if fault == "damaged" else sent
        self.send_response(206 if start else 200)
        self.send_header("x-goog-hash", f"crc32c=AAAAAA==,md5={md5}")
        for key, value in {
            "Content-Length": announced,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }.items():
            self.send_header(key, str(value))
        self.end_headers()
        self.wfile.write(sent[: len(sent) // 2] if fault in ("short", "cut") else sent)
        self.close_connection = True

    def archive(self) -> bytes:
        files = [path for path in sorted(self.root.rglob("*")) if path.is_file()]
        return zipped({str(path.relative_to(self.root)): path.read_bytes() for path in files})

    def answer(self, status, content, headers=()):
        self.send_response(status)
        for key, value in {"Content-Length": len(content), "Content-Type": "application/json", **dict(headers)}.items():
            self.send_header(key, str(value))
        self.end_headers()
        self.wfile.write(content)


def zipped(files: dict[str, bytes]) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


@pytest.fixture
def server(phantom_root, monkeypatch, tmp_path):
    """A stand-in for Kaggle that knows one token; nobody is signed in, and no try waits."""
    handler = type("Handler", (StandIn,), {"root": phantom_root, "faults": {}, "asked": Counter()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, f"http://127.0.0.1:{httpd.server_port}")
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
        monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
        monkeypatch.setattr(config, "DEFAULT_KAGGLE_CREDENTIALS_FOLDER", str(tmp_path / "nobody"))
        monkeypatch.setattr(kaggle, "WAITS", (0.0, 0.0, 0.0))
        monkeypatch.setattr(kaggle, "ALL_GB", 0)
        yield handler
        httpd.shutdown()
    config.clear_kaggle_credentials()


def images(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.dcm"))}


def of(study: int, root: Path) -> list[str]:
    return [name for name in images(root) if name.startswith(f"train_images/{study}/")]


@pytest.fixture
def studies(phantom_root):
    return rsna.load_tables(phantom_root).studies("train")[:2]


# --- the tables and a few studies ------------------------------------------------------------------------------------


def test_a_sample_holds_the_tables_and_whole_studies(server, phantom_root, studies, tmp_path, capsys):
    root = kaggle.download_sample(tmp_path / "sample", studies)
    tables = rsna.load_tables(root)
    assert not tables.missing
    assert tables.studies("train") == studies
    expected = {name: content for name, content in images(phantom_root).items() if name.split("/")[1] in map(str, studies)}
    assert images(root) == expected
    assert not list(tmp_path.rglob("escape.dcm"))
    assert SECRET not in "".join(capsys.readouterr())


def test_a_number_of_studies_takes_some_from_little_narrowed_to_much(server, phantom_root, tmp_path):
    tables = rsna.load_tables(phantom_root)
    chosen = kaggle.choose(tables, 2)
    burden = [tables.labels[tables.labels.study_id == study].grade.ne("Normal/Mild").sum() for study in chosen]
    assert burden == sorted(burden)
    root = kaggle.download_sample(tmp_path / "sample", 2)
    assert rsna.load_tables(root).studies("train") == sorted(chosen)


def test_on_the_real_tables_whole_studies_are_chosen(real_root):
    tables = rsna.load_tables(real_root)
    chosen = kaggle.choose(tables, 5)
    assert len(set(chosen)) == 5
    for study in chosen:
        assert tables.labels[tables.labels.study_id == study].grade.notna().all()
        assert sorted(tables.series_of(study).series_description) == sorted(rsna.SERIES)


def test_a_cut_line_a_short_file_and_too_many_requests_are_tried_again(server, studies, tmp_path, phantom_root, capsys):
    names = of(studies[0], phantom_root)[:3]
    server.faults |= {names[0]: ["cut", "damaged"], names[1]: ["short"], names[2]: ["429", "503"]}
    server.faults |= {"train.csv": ["429", "damaged"], "sample_submission.csv": ["short"]}
    root = kaggle.download_sample(tmp_path / "sample", studies)
    assert {name: images(root)[name] for name in names} == {name: images(phantom_root)[name] for name in names}
    said = "".join(capsys.readouterr())
    assert "Kaggle asks to wait (429: too many requests); trying again in 0 s" in said
    assert "the line to Kaggle was cut; trying again in 0 s" in said
    assert "Kaggle answers 503; trying again in 0 s" in said


def test_what_has_arrived_is_kept_and_fetched_once(server, studies, tmp_path, phantom_root):
    broken = of(studies[0], phantom_root)[5]
    server.faults[broken] = ["cut"] * 9
    with pytest.raises(
        kaggle.KaggleError, match=r"the line to Kaggle was cut, 4 times\. What has arrived is kept: run this cell again"
    ):
        kaggle.download_sample(tmp_path / "sample", studies, jobs=1)
    assert broken not in images(tmp_path / "sample"), "half a file has no name"
    server.faults.clear()
    before = Counter(server.asked)
    kaggle.download_sample(tmp_path / "sample", studies, jobs=1)
    again = [name for name in images(phantom_root) if server.asked[name] > before[name] > 0]
    assert again == [broken]


def test_a_whole_sample_needs_no_network_and_no_token(server, studies, tmp_path, monkeypatch):
    kaggle.download_sample(tmp_path / "sample", studies)
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    before = sum(server.asked.values())
    assert rsna.load_tables(kaggle.download_sample(tmp_path / "sample", studies)).studies("train") == studies
    assert sum(server.asked.values()) == before


def test_rules_not_accepted_name_the_page_to_visit(server, tmp_path):
    server.faults["train.csv"] = ["403"]
    with pytest.raises(kaggle.KaggleError) as caught:
        kaggle.download_sample(tmp_path / "sample", 1)
    assert str(caught.value) == (
        "Kaggle gives these files only to those who have accepted the competition's rules. Open "
        "https://www.kaggle.com/competitions/rsna-2024-lumbar-spine-degenerative-classification/rules, accept them, and run "
        "this cell again."
    )


def test_an_old_token_is_told_and_not_shown(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_old")
    with pytest.raises(kaggle.KaggleError) as caught:
        kaggle.download_sample(tmp_path / "sample", 1)
    assert str(caught.value) == (
        "Kaggle does not know this API token (any more). Make a new one at https://www.kaggle.com/settings/api and put it where "
        "the old one was."
    )
    assert "KGAT_old" not in "".join(capsys.readouterr()) + str(caught.value)


def test_a_study_that_there_is_not_is_named(server, tmp_path):
    with pytest.raises(kaggle.KaggleError, match=r"no training study 12; train\.csv names those there are"):
        kaggle.download_sample(tmp_path / "sample", [12])


# --- all of it -------------------------------------------------------------------------------------------------------


def test_the_whole_competition_arrives_over_a_cut_line(server, phantom_root, capsys):
    server.faults["all.zip"] = ["cut", "429"]
    root = kaggle.download_all()
    assert images(root) == images(phantom_root)
    assert rsna.load_tables(root).studies() == rsna.load_tables(phantom_root).studies()
    assert SECRET not in "".join(capsys.readouterr())
    before = sum(server.asked.values())
    assert kaggle.download_all() == root, "it is there already"
    assert sum(server.asked.values()) == before


def test_a_disk_too_small_is_told_before_anything_is_fetched(server, tmp_path, monkeypatch):
    monkeypatch.setattr(kaggle, "ALL_GB", 10**9)
    with pytest.raises(kaggle.KaggleError, match=r"the archive \(36 GB\) and its contents need .* use SOURCE = 'sample'"):
        kaggle.download_all()
    assert not server.asked


def test_no_secret_reaches_an_error_of_the_network(server, tmp_path):
    server.faults["all.zip"] = ["cut"] * 9
    with pytest.raises(kaggle.KaggleError) as caught:
        kaggle.download_all()
    error = caught.value
    while error is not None:
        assert "s3cret" not in str(error)
        assert SECRET not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


# --- who one is ------------------------------------------------------------------------------------------------------


def colab(monkeypatch, secrets: dict[str, str]):
    """google.colab with these secrets; asking for another raises, as there."""

    def get(name):
        if name not in secrets:
            raise LookupError(f"Secret {name} does not exist.")
        return secrets[name]

    module = types.ModuleType("google.colab")
    module.userdata = types.SimpleNamespace(get=get)
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", module)


def nobody(prompt):
    raise OSError("no keyboard")


def test_the_environment_comes_first(server, monkeypatch):
    colab(monkeypatch, {"KAGGLE_API_TOKEN": "KGAT_other"})
    assert kaggle.sign_in(nobody) == "the environment"
    assert config.get_kaggle_credentials().api_key == SECRET


@pytest.mark.parametrize("secrets", [{"KAGGLE_API_TOKEN": SECRET + "\n"}, {"KAGGLE_USERNAME": "ann", "KAGGLE_KEY": "k"}])
def test_then_colabs_secrets_the_token_or_the_older_pair(server, monkeypatch, secrets, tmp_path):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    write_file(tmp_path)
    colab(monkeypatch, secrets)
    assert kaggle.sign_in(nobody) == "Colab's secrets"
    found = config.get_kaggle_credentials()
    assert (found.api_key, found.username, found.key) == (
        (SECRET, None, None) if "KAGGLE_API_TOKEN" in secrets else (None, "ann", "k")
    )


def write_file(tmp_path: Path):
    folder = tmp_path / "nobody"
    folder.mkdir(exist_ok=True)
    (folder / "kaggle.json").write_text('{"username": "bob", "key": "b"}')


def test_then_a_file_then_a_question(server, monkeypatch, tmp_path):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    assert kaggle.sign_in(lambda prompt: f" {SECRET} ") == "what you typed"
    assert config.get_kaggle_credentials().api_key == SECRET
    write_file(tmp_path)
    assert kaggle.sign_in(nobody) == "a file"
    assert config.get_kaggle_credentials().username == "bob"


def test_where_nobody_can_be_asked_it_is_told_what_to_do(server, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    with pytest.raises(kaggle.KaggleError) as caught:
        kaggle.sign_in(nobody)
    assert str(caught.value) == (
        "No Kaggle API token was found. Make one at https://www.kaggle.com/settings/api and put it in the environment variable "
        "KAGGLE_API_TOKEN; on Colab in a secret of that name (the key in the left margin; allow this notebook to read it). "
        "SOURCE = 'phantom' needs none."
    )


def test_the_question_does_not_show_what_is_typed():
    assert kaggle.sign_in.__defaults__ == (getpass.getpass,)


@pytest.mark.parametrize("place", [f"competitions/{kaggle.COMPETITION}", kaggle.COMPETITION])
def test_on_kaggle_the_attached_data_are_used(server, phantom_root, place, monkeypatch, tmp_path):
    mount = tmp_path / "input" / place
    mount.parent.mkdir(parents=True)
    mount.symlink_to(phantom_root)
    monkeypatch.setattr(kaggle, "INPUT", tmp_path / "input")
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    assert kaggle.download_all() == mount
    for _ in range(2):
        tables = rsna.load_tables(kaggle.download_sample(tmp_path / "sample", 2))
        assert len(tables.studies("train")) == 2
        assert not tables.missing
    assert prepare.prepare_study(tables, tables.studies("train")[0]).series
    assert not server.asked


def test_the_library_is_one_whose_downloads_go_on():
    assert tuple(map(int, kagglehub.__version__.split(".")[:1])) >= (1,)
