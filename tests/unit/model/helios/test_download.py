"""Fetching a checkpoint by id, from a hub of a few lines on loopback: what is said, resumed, kept and refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from model.errors import CheckpointError

pytest.importorskip("torch")
pytest.importorskip("huggingface_hub")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::ResourceWarning")]

ID, SHA = "somebody/Helios-Tiny", "0" * 39 + "1"


class Hub(BaseHTTPRequestHandler):
    """The four answers of the hub that a download needs. `breaks`: a file whose sending ends half-way, once;
    `shut`: one that it does not give."""

    protocol_version = "HTTP/1.1"

    def __init__(self, state: dict[str, Any], *args: Any) -> None:
        self.state = state
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        files: dict[str, bytes] = self.state["files"]
        if path in (f"/api/models/{ID}", f"/api/models/{ID}/revision/main", f"/api/models/{ID}/revision/{SHA}"):
            card = {"license": "apache-2.0"}
            self._json({"id": ID, "sha": SHA, "cardData": card, "tags": [], "siblings": []})
        elif path == f"/api/models/{ID}/tree/{SHA}":
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": sha1(data).hexdigest()}
                for name, data in files.items()
            ]
            self._json(entries)
        elif path.startswith(f"/{ID}/resolve/{SHA}/"):
            self._file(path.removeprefix(f"/{ID}/resolve/{SHA}/"))
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _json(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _file(self, name: str) -> None:
        data: bytes = self.state["files"][name]
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        if self.command == "GET":
            self.state["fetched"].append((name, start))
            if self.state["shut"] == name:
                self.send_response(403)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", SHA)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "GET":
            if self.state["breaks"] == name:
                self.state["breaks"] = ""
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                self.close_connection = True
                return
            self.wfile.write(data[start:])

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def hub(helios_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, Any]]]:
    """Its address, and its state: the files of a Helios folder, and one that nobody needs."""
    files = {
        str(file.relative_to(helios_folder)): file.read_bytes() for file in helios_folder.rglob("*") if file.is_file()
    }
    files["transformer/old.bin"] = b"0" * 100
    state: dict[str, Any] = {"files": files, "fetched": [], "breaks": "", "shut": ""}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, state))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    yield f"http://127.0.0.1:{server.server_address[1]}", state
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(hub: tuple[str, dict[str, Any]], cache: Path, *, offline: bool = False) -> tuple[Path, list[str]]:
    from model.helios.download import fetch

    said: list[str] = []
    return fetch(ID, offline=offline, say=said.append, endpoint=hub[0], cache=cache), said


def test_a_checkpoint_is_announced_fetched_and_found_again(hub: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    from model.helios.layout import read_folder
    from model.helios.parts import rehearse

    folder, said = fetch(hub, tmp_path)
    assert rehearse(read_folder(folder), dtypes={}).keys() == {"transformer", "text_encoder", "vae"}
    assert len(said) == 1
    assert "licence apache-2.0" in said[0]
    assert "GB to fetch into" in said[0]
    state = hub[1]
    assert all(not name.endswith(".bin") for name, _ in state["fetched"])
    assert (folder / "tokenizer" / "tokenizer.json").read_bytes() == state["files"]["tokenizer/tokenizer.json"]

    state["fetched"].clear()
    again, said = fetch(hub, tmp_path)
    assert (again, said, state["fetched"]) == (folder, [], [])
    assert fetch(("http://127.0.0.1:9", {}), tmp_path, offline=True)[0] == folder


def test_a_broken_connection_is_taken_up_where_it_broke(
    hub: tuple[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 65536)  # it writes 10 MB at a time
    state = hub[1]
    name = largest(state)
    state["breaks"] = name
    folder, _ = fetch(hub, tmp_path)
    assert (folder / name).read_bytes() == state["files"][name]
    first, second = [start for fetched, start in state["fetched"] if fetched == name]
    assert first == 0
    assert 0 <= len(state["files"][name]) // 2 - second < 65536


def test_a_fetch_that_failed_goes_on_with_the_files_that_are_missing(
    hub: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    state = hub[1]
    state["shut"] = name = largest(state)
    with pytest.raises(CheckpointError, match=r"could not be fetched.*the same command goes on"):
        fetch(hub, tmp_path)
    with pytest.raises(CheckpointError, match="not whole"):
        fetch(hub, tmp_path, offline=True)
    before = {fetched for fetched, _ in state["fetched"]} - {name}
    state["shut"] = ""
    state["fetched"].clear()
    folder, _ = fetch(hub, tmp_path)
    assert (folder / name).read_bytes() == state["files"][name]
    whole = {fetched for fetched, _ in state["fetched"]}
    assert name in whole
    assert before  # some files came the first time, and did not come again
    assert len(before & whole) < len(before)


def largest(state: dict[str, Any]) -> str:
    return max(state["files"], key=lambda name: len(state["files"][name]))


def test_what_is_not_there_is_told(hub: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    from model.helios.download import fetch

    with pytest.raises(CheckpointError, match=r"there is no some/other on the hub, or it is private"):
        fetch("some/other", offline=False, say=print, endpoint=hub[0], cache=tmp_path)
    with pytest.raises(CheckpointError, match="leave --offline out"):
        fetch(ID, offline=True, say=print, endpoint=hub[0], cache=tmp_path)
    with pytest.raises(CheckpointError, match=r"could not be fetched"):
        fetch(ID, offline=False, say=print, endpoint="http://127.0.0.1:9", cache=tmp_path)


def test_a_disk_that_is_too_small_is_told_before_anything_moves(
    hub: tuple[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("model.helios.download.shutil.disk_usage", lambda _: usage)
    with pytest.raises(CheckpointError, match="HF_HUB_CACHE to a larger disk"):
        fetch(hub, tmp_path)
    assert hub[1]["fetched"] == []
