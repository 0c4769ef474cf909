"""Downloads from a server that misbehaves on purpose, archives that are hostile, weights that are programs."""

import argparse
import bz2
import gzip
import hashlib
import io
import json
import os
import pickle
import ssl
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trustme
import yaml
from http_server import Answer, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcert import record, sections
from segcert.data import archives, checkpoints, download, sources, synthetic
from segcert.errors import StageError
from segcert.files import write_json
from segcert.stage import worker

CONTENT = bytes(range(256)) * 4000  # a megabyte
OTHER = CONTENT[::-1]


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def site():
    with serving() as running:
        yield running


@pytest.fixture
def get(tmp_path, monkeypatch):
    """Fetch a URL as a stage does, without waiting between attempts; the content."""
    monkeypatch.setattr(download, "RETRIES", {**download.RETRIES, "backoff_factor": 0})
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(download.MIRRORS, raising=False)
    monkeypatch.delenv(download.OFFLINE, raising=False)

    def fetch(url, sha256=None, length=None, use=Path.read_bytes):
        args = argparse.Namespace(
            source="url", location=url, sha256=sha256, bytes=length, downloads="downloads", checksums="checksums.yaml"
        )
        with download.obtained(args) as file:
            return use(file.path)

    return fetch


def left(folder, url):
    """What is left of a download: nothing, `part` or `whole`."""
    target = download.cached(url, folder / "downloads")
    names = {path.name for path in (folder / "downloads").iterdir() if path.suffix != ".lock"}
    kinds = {"whole": {target.name}, "part": {f"{target.name}.part", f"{target.name}.part.json"}, None: set()}
    return next(kind for kind, expected in kinds.items() if names == expected)


def refused(get, *arguments, **options):
    with pytest.raises(StageError) as error:
        get(*arguments, **options)
    return str(error.value)


# -- one server ---------------------------------------------------------------------------------


def test_a_file_is_fetched_once_recorded_and_kept(site, get, tmp_path):
    url = site.put("/a/data.zip", CONTENT)
    assert get(url) == CONTENT and get(url) == CONTENT
    assert len(site.asked("/a/data.zip")) == 1
    entry = yaml.safe_load((tmp_path / "checksums.yaml").read_text())[url]
    assert entry["sha256"] == sha256(CONTENT) and entry["bytes"] == len(CONTENT) and entry["fetched_from"] == url
    assert left(tmp_path, url) == "whole"


def test_a_cut_download_goes_on_where_it_ended(site, get, tmp_path):
    url = site.put("/data.zip", CONTENT)
    site.misbehave("/data.zip", Answer(cut=300_000), Answer(cut=200_000))
    assert get(url) == CONTENT
    first, second, third = site.asked("/data.zip")
    assert (first.status, second.status, third.status) == (200, 206, 206)
    assert second.headers["Range"] == "bytes=300000-" and second.headers["If-Range"] == '"1"'
    assert sum(request.sent for request in site.requests) == len(CONTENT), "no byte twice"
    assert left(tmp_path, url) == "whole"


def test_a_later_attempt_goes_on_too(site, get, tmp_path):
    url = site.put("/data.zip", CONTENT)
    site.misbehave("/data.zip", Answer(cut=300_000), *[Answer(cut=0)] * 20)
    message = refused(get, url)
    assert f"{url}: cannot be fetched: the answer broke off" in message
    assert "300000 bytes are kept" in message and "source: path" in message
    assert left(tmp_path, url) == "part" and not (tmp_path / "checksums.yaml").exists()
    site.misbehave("/data.zip")
    assert get(url) == CONTENT
    assert sum(request.sent for request in site.requests) == len(CONTENT), "no byte twice"


def test_a_download_that_was_complete_but_not_yet_in_place(site, get, tmp_path):
    url = site.put("/data.zip", CONTENT)
    target = download.cached(url, tmp_path / "downloads")
    target.parent.mkdir()
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(CONTENT)
    write_json(f"{part}.json", {"url": url, "validator": '"1"', "bytes": len(CONTENT)})
    assert get(url) == CONTENT
    assert [request.status for request in site.requests] == [416]


def test_broken_notes_of_a_part_begin_it_anew(site, get, tmp_path):
    url = site.put("/data.zip", CONTENT)
    target = download.cached(url, tmp_path / "downloads")
    target.parent.mkdir()
    target.with_name(f"{target.name}.part").write_bytes(OTHER)
    target.with_name(f"{target.name}.part.json").write_text("[1")
    assert get(url) == CONTENT


def test_passing_server_errors_are_waited_out(site, get, tmp_path):
    url = site.put("/data.zip", CONTENT)
    site.misbehave("/data.zip", Answer(status=500), Answer(status=429, headers={"Retry-After": 0}), Answer(status=503))
    assert get(url) == CONTENT
    assert [request.status for request in site.requests] == [500, 429, 503, 200]


def test_retry_after_is_honoured(site, get, monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    url = site.put("/data.zip", CONTENT)
    site.misbehave("/data.zip", Answer(status=429, headers={"Retry-After": 7}))
    assert get(url) == CONTENT
    assert slept == [7]


def test_server_errors_that_stay(site, get, tmp_path):
    url = site.put("/data.zip", CONTENT)
    site.misbehave("/data.zip", *[Answer(status=503)] * 20)
    assert f"{url}: the server answers 503 Service Unavailable; try again later" in refused(get, url)
    assert len(site.requests) == 1 + download.RETRIES["total"]
    assert left(tmp_path, url) is None


def test_what_is_not_there_is_not_tried_again(site, get, tmp_path):
    url = site.url + "/gone.zip"
    assert f"{url}: the server answers 404 Not Found; correct the URL" in refused(get, url)
    assert len(site.requests) == 1 and left(tmp_path, url) is None


def test_nobody_there(get, tmp_path):
    with serving() as gone:
        url = gone.url + "/data.zip"
    message = refused(get, url)
    assert f"{url}: cannot be fetched" in message and "refused" in message and "source: path" in message
    assert left(tmp_path, url) is None


def test_a_server_that_ignores_ranges_begins_anew(site, get):
    url = site.put("/data.zip", CONTENT)
    site.misbehave("/data.zip", Answer(cut=300_000), Answer(ignore_range=True))
    assert get(url) == CONTENT
    assert [request.status for request in site.requests] == [200, 200]


def test_a_file_without_a_version_is_never_pieced_together(site, get):
    url = site.put("/data.zip", CONTENT, tag=None)
    site.misbehave("/data.zip", Answer(cut=300_000))
    assert get(url) == CONTENT
    assert all("Range" not in request.headers for request in site.requests)


@pytest.mark.parametrize("minds", [True, False], ids=["minds If-Range", "does not"])
def test_a_file_that_changes_between_attempts_is_not_pieced_together(site, get, minds):
    url = site.put("/data.zip", CONTENT)
    site.misbehave("/data.zip", Answer(cut=300_000), *[Answer(cut=0)] * 20)
    refused(get, url)
    site.put("/data.zip", OTHER, tag='"2"')
    site.misbehave("/data.zip", Answer(mind_if_range=minds))
    assert get(url) == OTHER


def test_a_server_that_promises_more_than_it_has(site, get, tmp_path):
    url = site.put("/data.zip", CONTENT)
    site.misbehave("/data.zip", *[Answer(claim=len(CONTENT) + 10)] * 20)
    message = refused(get, url)
    assert f"{url}: cannot be fetched" in message and str(len(CONTENT)) in message
    assert left(tmp_path, url) in (None, "part") and not (tmp_path / "checksums.yaml").exists()


def test_a_server_that_promises_less_than_it_has(site, get, tmp_path):
    """What it sends then looks whole, but is not: the archive, its length or its checksum tells."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.bin", CONTENT)
    url = site.put("/data.zip", packed.getvalue())
    site.misbehave("/data.zip", *[Answer(claim=500_000)] * 3)
    message = refused(get, url, use=lambda path: archives.to_tar(path, tmp_path / "out.tar"))
    assert "cannot be read as an archive" in message and url in message
    assert left(tmp_path, url) is None and not (tmp_path / "checksums.yaml").exists()
    assert "500000 bytes, expected are" in refused(get, url, length=len(packed.getvalue()))
    assert left(tmp_path, url) is None
    assert "its sha256 is" in refused(get, url, sha256=sha256(packed.getvalue()))
    assert left(tmp_path, url) is None
    assert get(url) == packed.getvalue()


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(site, get, tmp_path):
    url = site.put("/data.zip", CONTENT)
    message = refused(get, url, sha256="0" * 64)
    assert url in message and sha256(CONTENT) in message and "the configuration says " + "0" * 64 in message
    assert left(tmp_path, url) is None and not (tmp_path / "checksums.yaml").exists()
    assert get(url, sha256=sha256(CONTENT)) == CONTENT


def test_a_file_that_changed_since_its_first_use_is_refused(site, get, tmp_path):
    url = site.put("/data.zip", CONTENT)
    get(url)
    download.cached(url, tmp_path / "downloads").unlink()
    site.put("/data.zip", OTHER, tag='"2"')
    message = refused(get, url)
    assert sha256(OTHER) in message and sha256(CONTENT) in message
    assert "the file changed since" in message and "delete its entry in checksums.yaml" in message
    assert left(tmp_path, url) is None
    assert get(url, sha256=sha256(OTHER)) == OTHER, "the configuration's word is the last"
    download.cached(url, tmp_path / "downloads").unlink()
    assert get(url) == OTHER


def test_a_kept_file_that_changed_is_refused_and_left_alone(site, get, tmp_path):
    url = site.put("/data.zip", CONTENT)
    get(url)
    target = download.cached(url, tmp_path / "downloads")
    target.write_bytes(OTHER)
    message = refused(get, url)
    assert str(target.relative_to(tmp_path)) in message and "the file changed since" in message
    assert target.read_bytes() == OTHER and "Delete it to fetch it again" in message
    assert f"has {len(OTHER)} bytes, the configuration says 5" in refused(get, url, length=5)
    target.write_bytes(CONTENT)
    message = refused(get, url, use=lambda path: archives.to_tar(path, tmp_path / "out.tar"))
    assert "cannot be read as an archive" in message and f"It is the one in {target.relative_to(tmp_path)}" in message
    assert left(tmp_path, url) == "whole", "it may have been put there by hand"


def test_a_broken_list_of_checksums_is_named(site, get, tmp_path):
    (tmp_path / "checksums.yaml").write_text("- not\n- a list by URL\n")
    assert "checksums.yaml: is not a list of checksums" in refused(get, site.put("/data.zip", CONTENT))


def test_the_bytes_are_the_files_own_whatever_encoding_the_server_claims(site, get):
    """Servers label a .tar.gz as gzip-encoded; unpacking it on the way would spoil length and checksum."""
    url = site.put("/data.tar.gz", gzip.compress(CONTENT))
    site.misbehave("/data.tar.gz", Answer(headers={"Content-Encoding": "gzip"}))
    assert get(url, sha256=sha256(site.files["/data.tar.gz"])) == site.files["/data.tar.gz"]
    assert site.requests[0].headers["Accept-Encoding"] == "identity"


def test_redirects_are_followed(site, get, tmp_path):
    site.put("/real/data.zip", CONTENT)
    site.misbehave("/data.zip", Answer(status=302, headers={"Location": "/real/data.zip"}))
    assert get(site.url + "/data.zip") == CONTENT
    assert list(yaml.safe_load((tmp_path / "checksums.yaml").read_text())) == [site.url + "/data.zip"]


def test_progress_is_lines_in_the_log_and_a_bar_on_a_terminal(site, get, monkeypatch, capfd):
    monkeypatch.setattr(download, "LOG_S", -1)
    url = site.put("/data.zip", CONTENT)
    get(url)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith(f"{url}: ")]
    assert lines[-1] == f"{url}: 1 of 1 MB" and all("\r" not in line for line in lines)
    reading, writing = os.pipe()
    monkeypatch.setenv(worker.PROGRESS_FD, str(writing))
    get(site.put("/more.zip", CONTENT))
    os.close(writing)
    with os.fdopen(reading) as shown:
        text = shown.read()
    assert "more.zip: 100%" in text and "1.02M/1.02M" in text and "B/s" in text


def test_a_full_disk_is_named(site, get, tmp_path):
    if not Path("/dev/full").exists():
        pytest.fail("this test writes to /dev/full, which Linux has")
    url = site.put("/data.zip", CONTENT)
    target = download.cached(url, tmp_path / "downloads")
    target.parent.mkdir()
    target.with_name(f"{target.name}.part").symlink_to("/dev/full")
    assert "No space left on device" in refused(get, url)


def test_an_endless_answer_ends(site, get, tmp_path, monkeypatch):
    url = site.put("/data.zip", CONTENT)
    monkeypatch.setattr(archives, "LIMITS", archives.Limits(bytes=1000))
    assert "expected are at most 1000" in refused(get, url)
    site.misbehave("/data.zip", Answer(unsaid=True, times=100))
    assert f"{url}: more than 1000 bytes come; it is refused" in refused(get, url)
    assert left(tmp_path, url) is None
    assert site.requests[-1].sent < 50 * len(CONTENT), "it was left before its end"


def test_a_server_that_does_not_say_how_much_it_has(site, get):
    url = site.put("/data.zip", CONTENT)
    site.misbehave("/data.zip", Answer(unsaid=True))
    assert get(url) == CONTENT


def test_a_server_that_sends_no_more_than_a_piece_at_once(site, get, tmp_path):
    url = site.put("/data.zip", CONTENT)
    site.misbehave("/data.zip", Answer(cut=300_000), *[Answer(piece=100_000)] * 20)
    assert get(url) == CONTENT
    assert [request.sent for request in site.requests] == [300_000, *[100_000] * 7, 24_000]
    assert left(tmp_path, url) == "whole"


# -- ways to the file ---------------------------------------------------------------------------


def test_mirrors_are_tried_in_order(site, get, tmp_path, monkeypatch):
    url = site.url + "/gone.zip"
    wrong, right = site.put("/wrong.zip", OTHER), site.put("/right.zip", CONTENT)
    monkeypatch.setenv(download.MIRRORS, json.dumps({url: [url, wrong, right]}))
    assert get(url, sha256=sha256(CONTENT)) == CONTENT
    assert [request.path for request in site.requests] == ["/gone.zip", "/wrong.zip", "/right.zip"]
    assert yaml.safe_load((tmp_path / "checksums.yaml").read_text())[url]["fetched_from"] == right
    assert left(tmp_path, url) == "whole"


def test_when_no_mirror_has_it_all_are_named(site, get, tmp_path, monkeypatch):
    url, mirror = site.url + "/gone.zip", site.url + "/gone too.zip"
    monkeypatch.setenv(download.MIRRORS, json.dumps({url: [url, mirror]}))
    message = refused(get, url)
    assert f"{url}: the server answers 404" in message and f"{mirror}: the server answers 404" in message


def test_offline_uses_what_is_there_and_says_where_to_put_the_rest(site, get, tmp_path, monkeypatch):
    here, missing = site.put("/here.zip", CONTENT), site.put("/missing.zip", OTHER)
    get(here)
    asked = len(site.requests)
    monkeypatch.setenv(download.OFFLINE, "1")
    assert get(here) == CONTENT
    message = refused(get, missing)
    target = download.cached(missing, Path("downloads"))
    assert missing in message and "offline: true" in message and "source: path" in message
    assert f"put it at {target}" in message
    (tmp_path / target).write_bytes(OTHER)  # brought by hand, as the message says
    assert get(missing) == OTHER
    assert len(site.requests) == asked
    assert yaml.safe_load((tmp_path / "checksums.yaml").read_text())[missing]["fetched_from"] is None


def test_proxies_of_the_environment_are_used(site, get, monkeypatch):
    url = "http://data.example.invalid/data.zip"
    site.files[url], site.tags[url] = CONTENT, '"1"'  # a proxy is asked for the whole URL
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert get(url) == CONTENT
    assert [request.path for request in site.requests] == [url]


@pytest.fixture
def secure():
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with serving(context) as running:
        running.authority = authority
        yield running


def test_certificates_are_checked(secure, get, tmp_path, monkeypatch):
    url = secure.put("/data.zip", CONTENT)
    message = refused(get, url)
    assert f"{url}: cannot be fetched" in message and "CERTIFICATE_VERIFY_FAILED" in message
    assert secure.requests == [] and left(tmp_path, url) is None
    with secure.authority.cert_pem.tempfile() as pem:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", pem)  # as a site with an authority of its own does
        assert get(url) == CONTENT


def test_https_is_not_sent_on_to_http(secure, site, get, monkeypatch):
    plain = site.put("/data.zip", CONTENT)
    secure.misbehave("/data.zip", Answer(status=302, headers={"Location": plain}))
    with secure.authority.cert_pem.tempfile() as pem:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", pem)
        assert "is sent on to http://" in refused(get, secure.url + "/data.zip")


# -- the table ----------------------------------------------------------------------------------


@pytest.fixture
def shipped(root):
    return yaml.safe_load((root / "config/config.yaml").read_text(encoding="utf-8"))


def test_addresses_rewritten_own_mirrors(shipped):
    entry = {"source": "url", "url": "https://a.org/x/y.zip", "mirrors": ["https://b.org/y.zip"]}
    rewrites = {"https://a.org/": "https://mirror.here/a/", "https://c.org/": "https://mirror.here/c/"}
    found = sources.addresses({"url_rewrites": rewrites}, entry)
    assert found == ["https://mirror.here/a/x/y.zip", "https://a.org/x/y.zip", "https://b.org/y.zip"]


def test_ways_to_a_file_make_nothing_again(shipped):
    """Options are what a rerun looks at; mirrors and offline are not among them."""
    entry = shipped["weights"]["hrnet_w18_ssld"]
    before = sources.options(entry)
    entry["mirrors"] = ["https://b.org/y.tar.gz"]
    shipped |= {"offline": True, "url_rewrites": {"https://bj.bcebos.com/": "https://mirror.here/"}}
    assert sources.options(entry) == before
    told = sources.environment(shipped)
    assert told[download.OFFLINE] == "1"
    assert json.loads(told[download.MIRRORS])[entry["url"]] == [
        "https://mirror.here/paddleseg/dygraph/hrnet_w18_ssld.tar.gz",
        entry["url"],
        "https://b.org/y.tar.gz",
    ]


def test_every_source_says_what_is_known_of_it(shipped):
    for section in ("datasets", "weights"):
        for name, entry in shipped[section].items():
            if entry["source"] == "url":
                assert {"url", "mirrors", "sha256", "bytes", "version", "licence"} <= entry.keys(), name
    used = sources.users(shipped)
    assert {section + name for section in ("datasets", "weights") for name in shipped[section]} == {
        section + name for section, name in used
    }, "every entry is used, and every use has an entry"


def test_released_weights_are_used_by_the_modes_that_do_not_train(shipped):
    key = ("weights", "pphumanseg_lite_generic")
    assert sources.users(shipped)[key] == ["pp_humanseg_lite (mode whole_infer)"]
    released = {"train": {"checkpoints": "released"}}
    mine = sections.merge(shipped, {"modes": {"mine": released}})
    assert sources.users(mine)[key] == ["pp_humanseg_lite (modes whole_infer, mine)"]
    one = {"model_zoo": {"pp_humanseg_lite": {"settings": released}}}
    assert "smoke, lite_train_lite_infer" in sources.users(sections.merge(shipped, one))[key][0]
    none = sections.merge(shipped, {"modes": {"whole_infer": {"train": {"checkpoints": "trained"}}}})
    assert key not in sources.users(none)


def test_what_a_file_must_be_is_told_to_its_stage(shipped):
    known = {"source": "path", "path": "w.pdparams", "sha256": "0" * 64, "bytes": 7}
    told = sources.weights_options({**shipped, "weights": {"w": known}}, "w")
    fixed = ["--weights-name", "w", "--source", "path", "--location", "w.pdparams"]
    assert told == [*fixed, "--sha256", "0" * 64, "--bytes", "7"]


def test_the_script_prints_the_table(root, shipped):
    command = [sys.executable, root / "scripts/list_sources.py"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, sources.table(shipped))


def test_the_documentation_has_the_table(root, shipped):
    text = (root / "docs/data.md").read_text(encoding="utf-8")
    assert sources.table(shipped) in text, "put in what `python scripts/list_sources.py` prints"


# -- archives -----------------------------------------------------------------------------------


def tar_bytes(members, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(members, kind=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as packed:
        for name, content in members:
            packed.writestr(name, content)
    return buffer.getvalue()


KINDS = {
    "tar": lambda members: tar_bytes(members),
    "tar.gz": lambda members: tar_bytes(members, "w:gz"),
    "tar.xz": lambda members: tar_bytes(members, "w:xz"),
    "zip": lambda members: zip_bytes(members),
}


@pytest.mark.parametrize("kind", KINDS)
def test_too_much_is_refused(tmp_path, kind):
    archive = tmp_path / f"a.{kind}"
    archive.write_bytes(KINDS[kind]([(f"{n}.bin", os.urandom(1000)) for n in range(10)]))
    archives.unpack(archive, tmp_path / "all", archives.Limits(bytes=10_000, members=10))
    for limits, words in (
        (archives.Limits(bytes=9_999), "unpack to more than 9999"),
        (archives.Limits(members=9), "more than 9 members"),
    ):
        with pytest.raises(StageError, match=words):
            archives.unpack(archive, tmp_path / words.replace(" ", "-"), limits)


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "zip"])
def test_a_compression_bomb_is_refused_before_it_is_unpacked(tmp_path, kind):
    archive = tmp_path / f"bomb.{kind}"
    archive.write_bytes(KINDS[kind]([("zeros", bytes(20_000_000))]))
    limits = archives.Limits(ratio_from=1_000_000)
    with pytest.raises(StageError, match=r"bomb.*unpack to more than"):
        archives.unpack(archive, tmp_path / "out", limits)
    assert not list((tmp_path / "out").iterdir())
    archives.unpack(archive, tmp_path / "small enough", archives.Limits(ratio=10**6))


def test_entries_that_are_no_files_count_too(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for n in range(20):
            info = tarfile.TarInfo(f"d{n}")
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
    (tmp_path / "a.tar.gz").write_bytes(buffer.getvalue())
    with pytest.raises(StageError, match="more than 9 members"):
        archives.unpack(tmp_path / "a.tar.gz", tmp_path / "out", archives.Limits(members=9))


def test_a_sparse_member_counts_as_what_it_unpacks_to(tmp_path):
    info = tarfile.TarInfo("sparse")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\0" * 2  # one piece, at 0 and empty
    header[483:495] = b"77777777777\0"  # of a file of 8 GiB
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(StageError, match="unpack to more than"):
        archives.unpack(tmp_path / "a.tar", tmp_path / "out")


def test_a_header_that_claims_gigabytes_is_not_read_into_memory(tmp_path):
    """A pax header is held in memory whole; this one would be 4 GiB of zeros from a few kilobytes."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 4 << 30
    for kind, pack in (("tar.gz", gzip.compress), ("tar.bz2", bz2.compress)):
        (tmp_path / f"a.{kind}").write_bytes(pack(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)))
        with pytest.raises(StageError, match="a header of"):
            archives.unpack(tmp_path / f"a.{kind}", tmp_path / f"out-{kind}")


def test_a_tar_that_ends_in_a_zip_is_a_tar(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_bytes([("a.txt", b"a"), ("last.zip", zip_bytes([("b.txt", b"b")]))]))
    archives.unpack(tmp_path / "a.tar", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "last.zip"]


@pytest.mark.parametrize("members", [[("a", b"1"), ("a", b"2")], [("a", b"1"), ("a/b", b"2")], [("n" * 300, b"1")]])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_cannot_be_files_beside_each_other(tmp_path, kind, members):
    (tmp_path / "a").write_bytes(KINDS[kind](members))
    with pytest.raises(StageError, match="member"):
        archives.unpack(tmp_path / "a", tmp_path / "out")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_gets_into_no_tar(tmp_path, kind):
    (tmp_path / "a").write_bytes(KINDS[kind]([("a", b"1"), ("./a", b"2")]))
    with pytest.raises(StageError, match="there twice"):
        archives.to_tar(tmp_path / "a", tmp_path / "out.tar")


def test_a_name_in_no_encoding(tmp_path):
    content = zip_bytes([("\u00e9.txt", b"1")]).replace("\u00e9".encode(), b"\xff\xff")
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(StageError, match=r"a\.zip: cannot be read as an archive"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_zip_that_hides_more_than_it_says(tmp_path):
    """The directory says 10 bytes, the data unpack to 1000."""
    content = bytearray(zip_bytes([("a.bin", bytes(1000))]))
    place = content.rindex(b"PK\1\2") + 24
    content[place : place + 4] = struct.pack("<L", 10)
    (tmp_path / "a.zip").write_bytes(bytes(content))
    with pytest.raises(StageError, match="cannot be read as an archive"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_zip_that_says_more_than_it_has(tmp_path):
    content = bytearray(zip_bytes([("a.bin", b"0123456789")]))
    place = content.rindex(b"PK\1\2") + 24
    content[place : place + 4] = struct.pack("<L", 1000)
    (tmp_path / "a.zip").write_bytes(bytes(content))
    with pytest.raises(StageError, match=r"'a\.bin' ends after 10 of 1000 bytes"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "out")
    with pytest.raises(StageError, match=r"'a\.bin' cannot be copied"):
        archives.to_tar(tmp_path / "a.zip", tmp_path / "out.tar")


def test_no_more_of_a_member_is_written_than_it_says(tmp_path):
    """Whatever the library that reads it gives."""
    out = io.BytesIO()
    archives.copy(tmp_path / "a.zip", "a", 3, archives.Member(tmp_path / "a.zip", io.BytesIO(b"12345")), out)
    assert out.getvalue() == b"123"


def test_folders_of_a_zip_are_made_and_what_else_it_may_hold_is_refused(tmp_path):
    def packed(name, attributes=0, flags=0):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.mkdir("d")
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes << 16
            archive.writestr(info, b"1")
        content = bytearray(buffer.getvalue())
        content[content.rindex(b"PK\1\2") + 8] |= flags
        content[content.rindex(b"PK\3\4") + 6] |= flags
        file = tmp_path / f"{name.replace('/', '-')}.zip"
        file.write_bytes(bytes(content))
        return file

    archives.unpack(packed("d/a"), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/d").iterdir()] == ["a"]
    assert archives.to_tar(packed("d/a"), tmp_path / "out.tar") == 1
    with pytest.raises(StageError, match="member 'link' is a link; it is refused"):
        archives.unpack(packed("link", attributes=0o120777), tmp_path / "linked")
    with pytest.raises(StageError, match=r"locked\.zip: .*encrypted.*; pack it without a password"):
        archives.unpack(packed("locked", flags=1), tmp_path / "locked")


@pytest.mark.parametrize("read", [archives.unpack, archives.to_tar])
@pytest.mark.parametrize("begins", [b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd", b"Rar!\x1a\x07"])
def test_an_archive_of_another_kind_is_told_by_its_name(tmp_path, read, begins):
    (tmp_path / "a.tar").write_bytes(begins + b"x" * 2000)
    with pytest.raises(
        StageError, match=r"is (a 7z archive|packed by zstd|a RAR archive), which is not read here; allow"
    ):
        read(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize("read", [archives.unpack, archives.to_tar])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_that_is_broken_between_its_members_is_refused(tmp_path, mode, read):
    """A header that is damaged, cut or missing ends a tar for `tarfile`: what came before looks whole."""
    plain = tar_bytes([("a", b"1"), ("b", b"2")])
    damaged = plain[:1024] + b"x" * 512 + plain[1536:]
    for number, content in enumerate((damaged, plain[:1024], plain[:1200], plain[:2048])):
        (tmp_path / "a.tar").write_bytes(gzip.compress(content) if mode == "w:gz" else content)
        with pytest.raises(StageError, match=r"a\.tar: cannot be read as an archive.*is it whole"):
            read(tmp_path / "a.tar", tmp_path / f"out-{number}")
    (tmp_path / "a.tar").write_bytes(gzip.compress(plain)[:-30] if mode == "w:gz" else plain[:1030])
    with pytest.raises(StageError, match=r"cannot be read as an archive"):
        read(tmp_path / "a.tar", tmp_path / "cut")
    (tmp_path / "a.tar").write_bytes(plain[: 2048 + 512])
    read(tmp_path / "a.tar", tmp_path / "one end mark")


NAMES = st.text(st.characters(exclude_categories=()), max_size=40) | st.lists(
    st.sampled_from(["..", ".", "", "a", "b", "/", "\\", "C:", "é", "\0", "x" * 200, "train.txt"]), max_size=5
).map("/".join)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=2000)), max_size=6)


def encodable(members, kind):
    """Members that this kind of archive can be made of at all."""
    try:
        return KINDS[kind](members)
    except (ValueError, OverflowError, IndexError):  # surrogates, NUL, no name, names too long for a zip
        return None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(KINDS)),
    members=MEMBERS,
    cut=st.none() | st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=8),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_whatever_the_bytes_only_stage_errors_and_nothing_outside(tmp_path_factory, kind, members, cut, flips):
    content = encodable(members, kind)
    if content is None:
        return
    spoiled = bytearray(content)
    for where, mask in flips:
        spoiled[int(where * len(spoiled))] ^= mask
    if cut is not None:
        del spoiled[int(cut * len(spoiled)) :]
    home = tmp_path_factory.mktemp("any")
    archive = home / "archive"
    archive.write_bytes(bytes(spoiled))
    inside = home / "in" / "side"
    inside.parent.mkdir()
    limits = archives.Limits(bytes=10**6, members=100)
    for read in (
        lambda: archives.unpack(archive, inside, limits),
        lambda: archives.to_tar(archive, home / "t", limits),
    ):
        try:
            read()
        except StageError as error:
            assert str(error)
    outside = {path.name for path in home.iterdir()} | {path.name for path in inside.parent.iterdir()}
    assert outside <= {"archive", "in", "side", "t"}
    for path in inside.rglob("*"):
        assert path.resolve().is_relative_to(inside) and not path.is_symlink()
    assert sum(path.stat().st_size for path in inside.rglob("*") if path.is_file()) <= limits.bytes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.from_regex(r"[a-zé][a-z]{0,20}(/[a-z]{1,120}){0,2}", fullmatch=True), unique=True, max_size=5))
def test_good_archives_come_out_as_they_went_in(tmp_path_factory, names):
    names = [name for name in names if not any(other.startswith(f"{name}/") for other in names)]
    members = [(name, name.encode() * 3) for name in names]
    for kind, make in KINDS.items():
        home = tmp_path_factory.mktemp("good")
        (home / "archive").write_bytes(make(members))
        archives.unpack(home / "archive", home / "out")
        found = {
            p.relative_to(home / "out").as_posix(): p.read_bytes() for p in (home / "out").rglob("*") if p.is_file()
        }
        assert found == dict(members), kind


# -- weights ------------------------------------------------------------------------------------


class Malicious:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_paddles_own_checkpoints_pass(tmp_path):
    import paddle

    layer = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))
    for protocol in (2, 4):
        paddle.save(layer.state_dict(), str(tmp_path / "w.pdparams"), protocol=protocol)
        assert checkpoints.check(tmp_path / "w.pdparams", "w") == len(layer.state_dict())
    arrays = {key: value.numpy() for key, value in layer.state_dict().items()}
    (tmp_path / "n.pdparams").write_bytes(pickle.dumps({**arrays, "scale": np.float32(2), "epoch": 3}, protocol=2))
    assert checkpoints.check(tmp_path / "n.pdparams", "n") == len(arrays)


@pytest.mark.parametrize("protocol", range(6))
def test_a_program_that_poses_as_weights_is_refused_and_does_not_run(tmp_path, protocol):
    trace = tmp_path / "it ran"
    bad = {"conv.weight": np.zeros(3), "bias": Malicious(f"touch '{trace}'")}
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(bad, protocol=protocol))
    with pytest.raises(StageError, match=r"w\.pdparams: asks for posix\.system.*refused|w\.pdparams: asks for"):
        checkpoints.check(tmp_path / "w.pdparams", "w.pdparams")
    assert not trace.exists()
    pickle.loads((tmp_path / "w.pdparams").read_bytes())  # noqa: S301  (that it would have run)
    assert trace.exists()


ARRAY = (1, (1,), np.dtype("f4"), False, b"\0" * 4)  # what an array's pickle says of its inside
RECONSTRUCT, SCALAR = np.zeros(1).__reduce__()[0], np.float32(1).__reduce__()[0]


def reduced(arguments, state=None, function=RECONSTRUCT):
    """A weight file with an array or a number as its pickle builds it."""

    class Item:
        def __reduce__(self):
            return (function, arguments) if state is None else (function, arguments, state)

    return pickle.dumps({"a": Item()}, protocol=4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read as weights"),
        (b"\x80\x04garbage", "cannot be read as weights"),
        (pickle.dumps({"a": np.zeros(100)}, protocol=4)[:-40], "cannot be read as weights"),
        (pickle.dumps([np.zeros(3)], protocol=4), "no arrays by name"),
        (pickle.dumps({"a": 1}, protocol=4), "no arrays by name"),
        (pickle.dumps({"a": np.array([[], None], dtype=object)}, protocol=4), "numbers of the kind 'O8'"),
        (pickle.dumps({"a": np.zeros(3, [("x", "f4")])}, protocol=4), "numbers of the kind 'V4'"),
        (pickle.dumps({"a": np.zeros(3)}, protocol=4).replace(b"K\x03\x85", b"K\x04\x85"), "an array of the shape"),
        (pickle.dumps({"a": np.ma.zeros(3)}, protocol=4), "asks for numpy.ma"),
        (pickle.dumps({"a": np.zeros(3), "b": np.dtype("f4")}, protocol=4), "asks for a _Dtype"),
        (reduced((np.ndarray, (1,), b"b"), ARRAY), "an array that is not one of numbers"),
        (reduced((np.ndarray, (0,), b"b"), (2, *ARRAY[1:])), "an array that is not one of numbers"),
        (reduced((np.ndarray, (0,), b"b"), (*ARRAY[:2], "f4", *ARRAY[3:])), "an array that is not one of numbers"),
        (reduced((np.ndarray, (0,), b"b"), (*ARRAY[:4], 7)), "an array that is not one of numbers"),
        (reduced((np.dtype("f4"), b"12"), function=SCALAR), "a number that is none"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "asks for builtins.eval"),
        (b"cbuiltins\ngetattr\n.", "asks for builtins.getattr"),
        (b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.", "asks for _codecs.encode to 'rot13'"),
    ],
)
def test_what_is_no_weight_file_is_refused(tmp_path, content, words):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(StageError, match=words):
        checkpoints.check(tmp_path / "w", "w")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255), cut=st.integers(0, 50))
def test_spoiled_weights_raise_stage_errors_only(tmp_path_factory, where, mask, cut):
    content = bytearray(pickle.dumps({"a": np.arange(5.0), "b": np.float32(1)}, protocol=4))
    content[int(where * len(content))] ^= mask
    file = tmp_path_factory.mktemp("w") / "w"
    file.write_bytes(bytes(content[: len(content) - cut]))
    try:
        checkpoints.check(file, "w")
    except StageError as error:
        assert str(error)


# -- the scripts --------------------------------------------------------------------------------


def run(root, folder, script, *arguments, **environment):
    command = [sys.executable, root / "scripts" / script, "--cell", "d", "--record", "r/d.json", "--log", "r/d.log"]
    return subprocess.run(
        [*map(str, command), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("layout", ["mini_supervisely", "cityscapes"])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_archives_of_the_real_layouts_from_a_url(root, tmp_path, site, kind, layout):
    synthetic.write_tar(
        tmp_path / "plain.tar", layout, {"train": 2, "val": 1, "test": layout == "mini_supervisely"}, 1, (64, 32)
    )
    with tarfile.open(tmp_path / "plain.tar") as tar:
        members = [(f"{layout}/{member.name}", tar.extractfile(member).read()) for member in tar]
    url = site.put(f"/{layout}.{kind}", KINDS[kind](members))
    site.misbehave(f"/{layout}.{kind}", Answer(cut=2000), Answer(status=500))
    made = run(
        root, tmp_path, "make_tarball.py", "--layout", layout, "--source", "url", "--location", url,
        "--tarball", "results/data/d.tar",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    found = record.read(tmp_path / "r/d.json")["metrics"]
    assert found["fetched_from"] == url and found["files"] == len(members)
    unpacked = run(
        root, tmp_path, "unpack_dataset.py", "--layout", layout, "--tarball", "results/data/d.tar",
        "--dataset", "results/data/d",
    )  # fmt: skip
    assert unpacked.returncode == 0, unpacked.stderr
    assert json.loads((tmp_path / "results/data/d/manifest.json").read_text())["splits"]["train"]


def test_a_failed_download_is_told_and_a_second_job_goes_on(root, tmp_path, site):
    url = site.put("/d.tar", tar_bytes([("a.bin", CONTENT)]))
    site.misbehave("/d.tar", Answer(cut=500_000), *[Answer(status=404)] * 3)
    arguments = ["--layout", "cityscapes", "--source", "url", "--location", url, "--tarball", "r/d.tar"]
    failed = run(root, tmp_path, "make_tarball.py", *arguments)
    assert failed.returncode == 1
    content = record.read(tmp_path / "r/d.failed.json")
    assert content["status"] == "failed" and f"{url}: the server answers 404" in content["reason"]
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["d.failed.json", "d.log"]
    site.misbehave("/d.tar")
    assert run(root, tmp_path, "make_tarball.py", *arguments).returncode == 0
    assert sum(request.sent for request in site.requests) == len(site.files["/d.tar"])


def test_malicious_weights_from_a_url_are_refused(root, tmp_path, site):
    trace = tmp_path / "it ran"
    bad = pickle.dumps({"w": np.zeros(3), "x": Malicious(f"touch '{trace}'")}, protocol=4)
    url = site.put("/w.zip", zip_bytes([("released/model.pdparams", bad)]))
    arguments = ["--source", "url", "--location", url, "--weights-name", "w", "--weights", "r/w.pdparams"]
    failed = run(root, tmp_path, "fetch_weights.py", *arguments)
    assert failed.returncode == 1
    reason = record.read(tmp_path / "r/d.failed.json")["reason"]
    assert "released/model.pdparams: asks for posix.system" in reason and url in reason
    assert not trace.exists() and not (tmp_path / "r/w.pdparams").exists()
    assert not (tmp_path / "results/checksums.yaml").exists()
    assert [path.suffix for path in (tmp_path / "results/downloads").iterdir()] == [".lock"]
