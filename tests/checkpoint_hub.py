"""A hub of checkpoints in a few lines on loopback: what a download asks of Hugging Face's, and no more."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ID, SHA = "somebody/Helios-Tiny", "0" * 39 + "1"
NOWHERE = "http://127.0.0.1:9"
"""Where no hub answers."""


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


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Its address, and its state: the files of a Helios folder, and one that nobody needs."""
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    files["transformer/old.bin"] = b"0" * 100
    state: dict[str, Any] = {"files": files, "fetched": [], "breaks": "", "shut": ""}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, state))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
