"""A W&B server on loopback: as much of its API as the runs of the real client use, and what it was told, to be read."""

# Methods and their arguments are named as the operations and variables of the client's queries are.
# ruff: noqa: A002, N802

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partialmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789" * 4
"""The one API key that the server knows."""

HISTORY, EVENTS, OUTPUT = "wandb-history.jsonl", "wandb-events.jsonl", "output.log"

Values = dict[str, Any]


@dataclass
class Run:
    """What the server was told of a run: the lines of its streams, its uploaded files, and each attempt's exit code."""

    display_name: str = ""
    config: str = "{}"
    lines: dict[str, list[str]] = field(default_factory=lambda: {HISTORY: [], EVENTS: [], OUTPUT: []})
    summary: str = "{}"
    files: dict[str, bytes] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)

    @property
    def history(self) -> list[Values]:
        """The logged rows, in the order of their offsets."""
        return [json.loads(line) for line in self.lines[HISTORY]]

    def take(self, name: str, offset: int, content: list[str]) -> None:
        """Stores lines of a stream; a line that is sent again replaces itself."""
        if name == "wandb-summary.json":
            self.summary = content[-1]
            return
        lines = self.lines[name]
        lines += [""] * (offset - len(lines))
        lines[offset : offset + len(content)] = content


class WandbServer(ThreadingHTTPServer):
    """A server on a free port, which answers nothing but 503 while it is ``down``.

    ``runs`` by id; ``artifacts`` as they were asked for; the names of those ``committed``; ``artifact_files`` by
    the artifact's number and their own name.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.lock = threading.Lock()
        self.down = False
        self.runs: dict[str, Run] = {}
        self.artifacts: list[Values] = []
        self.artifact_files: dict[str, bytes] = {}
        self.committed: list[str] = []

    def Viewer(self) -> Values:
        person = {"id": "viewer", "entity": "tester", "username": "tester", "email": "tester@example.invalid"}
        return {"viewer": {**person, "flags": "{}", "teams": {"edges": []}}}

    def ServerFeaturesQuery(self) -> Values:
        return {"serverInfo": {"features": []}}

    def RunResumeStatus(self, project: str, name: str, **_: Any) -> Values:
        bucket: Values | None = None
        if run := self.runs.get(name):
            config = json.loads(run.config)
            bucket = {
                "id": name,
                "name": name,
                "displayName": run.display_name,
                "config": run.config,
                "wandbConfig": json.dumps({"t": config["_wandb"]["value"]["t"]}),
                "summaryMetrics": run.summary,
                "historyLineCount": len(run.lines[HISTORY]),
                "eventsLineCount": len(run.lines[EVENTS]),
                "logLineCount": len(run.lines[OUTPUT]),
                "historyTail": json.dumps(run.lines[HISTORY][-1:]),
                "eventsTail": json.dumps(run.lines[EVENTS][-1:]),
                "tags": [],
                "notes": "",
            }
        return {"model": {**_project(project), "bucket": bucket}}

    def UpsertBucket(self, name: str, project: str, config: str | None, displayName: str | None, **_: Any) -> Values:
        inserted = name not in self.runs
        run = self.runs.setdefault(name, Run())
        run.display_name = displayName or run.display_name
        run.config = config or run.config
        bucket = {"id": name, "name": name, "displayName": run.display_name, "config": run.config}
        bucket |= {"project": _project(project), "historyLineCount": len(run.lines[HISTORY])}
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def CreateRunFiles(self, run: str, files: list[str], **_: Any) -> Values:
        places = [{"name": name, "uploadUrl": f"{self.url}/upload/runs/{run}/{name}"} for name in files]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": places}}

    def CreateArtifact(self, input: Values) -> Values:
        self.artifacts.append(input)
        artifact = {
            "id": str(len(self.artifacts) - 1),
            "state": "PENDING",
            "artifactSequence": {"latestArtifact": None},
        }
        return {"createArtifact": {"artifact": artifact}}

    def CreateArtifactManifest(self, artifactID: str, **_: Any) -> Values:
        return {"createArtifactManifest": {"artifactManifest": self._manifest(artifactID)}}

    def UpdateArtifactManifest(self, artifactManifestID: str, **_: Any) -> Values:
        return {"updateArtifactManifest": {"artifactManifest": self._manifest(artifactManifestID)}}

    def _manifest(self, artifact: str) -> Values:
        place = f"{self.url}/upload/artifacts/{artifact}/manifest.json"
        return {"id": artifact, "file": {"id": "manifest", "uploadUrl": place, "uploadHeaders": []}}

    def CreateArtifactFiles(self, input: Values) -> Values:
        nodes = [
            {
                "storagePath": file["name"],
                "uploadUrl": f"{self.url}/upload/artifacts/{file['artifactID']}/{file['name']}",
                "uploadHeaders": [],
                "artifact": {"id": file["artifactID"]},
            }
            for file in input["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def CommitArtifact(self, artifactID: str) -> Values:
        self.committed.append(self.artifacts[int(artifactID)]["artifactCollectionName"])
        return {"commitArtifact": {"artifact": {"id": artifactID, "digest": "digest"}}}


def _project(name: str) -> Values:
    return {"id": "project", "name": name, "entity": {"id": "entity", "name": "tester"}}


class Handler(BaseHTTPRequestHandler):
    """One request: GraphQL, lines of a stream, or an uploaded file."""

    server: WandbServer
    protocol_version = "HTTP/1.1"

    def _answer(self, receive: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            status, answer = getattr(self, receive)(body)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = partialmethod(_answer, "_post")
    do_PUT = partialmethod(_answer, "_put")

    def _post(self, body: bytes) -> tuple[int, Values]:
        if self.path.startswith("/sdk/otel/"):
            return 200, {}
        if self.server.down:
            return 503, {}
        if self.headers["Authorization"] != "Basic " + base64.b64encode(f"api:{KEY}".encode()).decode():
            return 401, {"errors": [{"message": "user is not logged in"}]}
        match self.path.strip("/").split("/"):
            case ["graphql"]:
                return 200, self._graphql(json.loads(body))
            case ["files", _, _, run, "file_stream"]:
                return 200, self._stream(self.server.runs[run], json.loads(body))
        return 404, {}

    def _graphql(self, query: Values) -> Values:
        operation = query.get("operationName") or query["query"].split("(")[0].split()[1]
        if resolve := getattr(self.server, operation, None):
            return {"data": resolve(**query.get("variables") or {})}
        return {"errors": [{"message": f"{operation} is not known here"}]}

    def _stream(self, run: Run, sent: Values) -> Values:
        for name, part in sent.get("files", {}).items():
            run.take(name, part["offset"], part["content"])
        if sent.get("complete"):
            run.exit_codes.append(sent["exitcode"])
        return {}

    def _put(self, body: bytes) -> tuple[int, Values]:
        _, kind, owner, name = self.path.strip("/").split("/", 3)
        if kind == "runs":
            self.server.runs[owner].files[name] = body
        else:
            self.server.artifact_files[f"{owner}/{name}"] = body
        return 200, {}

    def handle(self) -> None:
        """Serves a connection until the client, which may be killed, leaves it."""
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, *args: object) -> None:
        """A test's output is for the test."""


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """A server while the block runs."""
    with WandbServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
