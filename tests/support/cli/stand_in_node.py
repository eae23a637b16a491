"""A program that `ringkeep up` takes for a node: holds its directory, answers /readyz, stops when told.

A file `NAME.behaviour` beside its directory tells it another behaviour: refuse, leave CODE, wait, stubborn.
"""

import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from ringkeep import process
from ringkeep.settings import NodeSettings, load_node_settings


def main(words: list[str]) -> None:
    flags = {flag[2:].replace("-", "_"): value for flag, value in zip(words[::2], words[1::2], strict=True)}
    settings = load_node_settings(flags)
    told = settings.data.parent / f"{settings.name}.behaviour"
    behaviour = told.read_text() if told.exists() else ""
    identity = settings.data / "identity.json"
    if behaviour == "refuse":
        print("ringkeep: refused for a test", file=sys.stderr)
        sys.exit(78)
    held = process.PidFile.take(settings.data)
    if behaviour.startswith("leave"):
        identity.write_text('{"cluster_id": "formed", "left": true}')
        held.release()
        sys.exit(int(behaviour.split()[1]))
    if behaviour != "wait":
        identity.write_text('{"cluster_id": "formed"}')
    process.start_log(settings.data, settings.name)

    def stop(*_: object) -> None:
        if behaviour != "stubborn":
            held.release()
            sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    serve(settings, ready=behaviour != "wait")


def serve(settings: NodeSettings, ready: bool) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if ready else 503)
            self.end_headers()
            self.wfile.write(b"ready\n" if ready else b"not ready\nwaits for: a test\n")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    HTTPServer(settings.http_listener, Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
