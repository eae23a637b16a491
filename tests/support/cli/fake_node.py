"""Runs the command line as a user does, against scripted nodes that answer from a list."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

PROBLEM = {"Content-Type": "application/problem+json"}


@dataclass
class Observations:
    """One request as the scripted node got it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Reply = tuple[int, dict[str, str], bytes] | None
"""Status, headers, body; None closes the connection without an answer."""


@dataclass
class FakeNode:
    """A node that answers from a list; the last answer is repeated."""

    replies: list[Reply]
    seen: list[Observations] = field(default_factory=list)
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.server_port}"

    def start(self) -> None:
        node = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                node.seen.append(Observations(self.command, self.path, dict(self.headers), body))
                reply = node.replies.pop(0) if len(node.replies) > 1 else node.replies[0]
                if reply is None:
                    return
                self.send_response(reply[0])
                for name, value in reply[1].items():
                    self.send_header(name, value)
                if reply[0] != 204:
                    self.send_header("Content-Length", str(len(reply[2])))
                self.end_headers()
                self.wfile.write(reply[2])

            do_GET = do_PUT = do_DELETE = do_POST = answer

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


def problem(status: int, title: str, outcome: str = "not-applied", **headers: str) -> Reply:
    body = json.dumps({"title": title, "status": status, "detail": "because", "outcome": outcome}).encode()
    return status, PROBLEM | headers, body


def ringkeep(*arguments: str, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "ringkeep.cli.main", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, env=os.environ | environ, timeout=60)


def one_line(text: str) -> bool:
    return text.startswith("ringkeep: ") and text.count("\n") == 1 and text.endswith("\n")
