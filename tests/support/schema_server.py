"""A schema registry on loopback: as much of its HTTP interface as reading asks for, and ways to break it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

__all__ = ["SchemaServer"]


class SchemaServer:
    """`url` is where it answers; `schemas`: id → schema, or (schema, type). A context manager."""

    def __init__(self, schemas: dict[int, Any]) -> None:
        self.schemas = schemas
        #: The HTTP status of every answer; None: as is right.
        self.status: int | None = None
        #: Until it is set nothing is answered.
        self.answers = threading.Event()
        self.answers.set()
        self.asked = 0
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                outer.headers.append(dict(self.headers))
                outer.answers.wait(60)
                number = self.path.partition("?")[0].removeprefix("/schemas/ids/")
                found = outer.schemas.get(int(number)) if number.isdecimal() else None
                status, body = 200, {}
                if outer.status is not None:
                    status, body = outer.status, {"error_code": outer.status * 100, "message": "broken on purpose"}
                elif found is None:
                    status, body = 404, {"error_code": 40403, "message": "Schema not found"}
                else:
                    schema, kind = found if isinstance(found, tuple) else (found, "AVRO")
                    text = schema if isinstance(schema, str) else json.dumps(schema)
                    body = {"schema": text} | ({} if kind == "AVRO" else {"schemaType": kind})
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *values: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda request, address: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nobody is there any more. May be called twice."""
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
