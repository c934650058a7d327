"""Serves the page beside this file, a packed bundle as /model and node_modules as /modules. Nothing else is reachable.

python samples/web/serve.py out/web-minilm node_modules
"""

from __future__ import annotations

import argparse
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(__file__).parent / "index.html"


class Handler(SimpleHTTPRequestHandler):
    """Files of three places."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def __init__(self, model: Path, modules: Path, *args: object, **kwargs: object) -> None:
        self.folders = {"model": model, "modules": modules}
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def translate_path(self, path: str) -> str:
        """The file of a URL; the parent class has removed `..` before the folder is chosen."""
        inner = Path(super().translate_path(path)).relative_to(Path(self.directory).absolute())
        if not inner.parts:
            return str(PAGE)
        folder = self.folders.get(inner.parts[0])
        return str(folder.joinpath(*inner.parts[1:])) if folder else str(PAGE.parent / "absent")

    def list_directory(self, path: object) -> None:  # noqa: ARG002
        """Folders aren't listed."""
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def server(model: Path, modules: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server for this machine alone. port: 0 takes any that is free."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, model, modules))


def main() -> None:
    """Serves until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve the search page.")
    parser.add_argument("model", type=Path, help="what `kogata pack --for transformers.js` wrote")
    parser.add_argument("modules", type=Path, help="a node_modules folder with @huggingface/transformers")
    parser.add_argument("--port", type=int, default=8000)
    asked = parser.parse_args()
    with server(asked.model, asked.modules, asked.port) as serving:
        print(f"http://127.0.0.1:{serving.server_port}/")
        serving.serve_forever()


if __name__ == "__main__":
    main()
