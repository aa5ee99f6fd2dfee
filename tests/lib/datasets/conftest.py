"""What the tests of several sources need."""

import functools
import http.server
import os
import threading
from contextlib import contextmanager

import pytest


@pytest.fixture(autouse=True)
def only_named_places(monkeypatch, tmp_path_factory):
    """Nothing is found but where a test says, and nothing is downloaded through a proxy."""
    monkeypatch.delenv("DDBIAS_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


@pytest.fixture
def trap():
    """`trap(path)` is what makes the file `path` when it is unpickled by whoever runs code."""

    class Trap:
        def __init__(self, path):
            self.path = path

        def __reduce__(self):
            return os.system, (f"touch {self.path}",)

    return Trap


@pytest.fixture(scope="session")
def serving():
    """`with serving(folder) as address` serves files; a path with `damaged` in it gives something else."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            return

        def do_GET(self):
            if "damaged" not in self.path:
                return super().do_GET()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"half of it")

    @contextmanager
    def serving(folder):
        handler = functools.partial(Handler, directory=str(folder))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
            thread = threading.Thread(target=running.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{running.server_port}/"
            running.shutdown()
            thread.join()

    return serving
