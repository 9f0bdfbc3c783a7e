"""Static files: one hash for the whole tree in their address, so that they may be kept for ever.

The hash stands before the path, so relative imports between modules keep working. A page names
the modules that its entry reaches by static imports, so that they load side by side. The editor's
many modules come in packs (`packing.py`), under a mark of their own.
"""

import hashlib
import mimetypes
import re
from importlib.resources import files
from pathlib import Path

import jinja2
from starlette.responses import FileResponse, Response

from flowengine.web import packing
from flowengine.web.problem import not_found

FOREVER = "public, max-age=31536000, immutable"
PACKS = ["main.js", "rest.js"]
"""The editor's packs: what its first sight takes, and what a person needs at once after that."""
_PACKED = "-packed"
_IMPORT = re.compile(r"""^\s*(?:import|export)\b[^'"()]*?['"](\.{1,2}/[^'"]+)['"]""", re.MULTILINE)
_SYMBOL = re.compile(r'<symbol id="([^"]+)"[^>]*>\s*<path\b[^>]*?\bd="([^"]+)"')
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}


class Assets:
    """The static files that ship with the editor; read anew when one of them changes."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or Path(str(files("flowengine.web") / "static"))).resolve()
        self._seen: tuple[tuple[str, int, int], ...] | None = None
        self._hash = ""
        self._modules: dict[str, list[str]] = {}
        self._packs: packing.Packs | None = None
        self._drawings: dict[str, str] = {}
        self._drawn_for = ""

    def paths(self) -> list[Path]:
        """Every file, in order."""
        return sorted(p for p in self.folder.rglob("*") if p.is_file() and p.suffix in _TYPES)

    @property
    def hash(self) -> str:
        """What changes with any of the files."""
        paths = self.paths()
        stamps = [(str(p), s.st_mtime_ns, s.st_size) for p in paths for s in [p.stat()]]
        seen = tuple(stamps)
        if seen != self._seen:
            summed = hashlib.sha256(Path(packing.__file__).read_bytes())
            for path in paths:
                name = str(path.relative_to(self.folder)).encode()
                summed.update(b"%d %s" % (len(name), name) + path.read_bytes())
            self._seen, self._hash = seen, summed.hexdigest()[:16]
            self._modules = {}
            self._packs = None
        return self._hash

    def url(self, name: str) -> str:
        """The address of a file."""
        return f"/static/{self.hash}/{name}"

    def packs(self) -> list[str]:
        """The addresses of the editor's packs, the one to begin with first."""
        return [f"/static/{self.hash}{_PACKED}/{name}" for name in PACKS]

    def modules(self, entry: str) -> list[str]:
        """The addresses of the modules that an entry reaches by static imports, itself first."""
        mark = self.hash
        if entry not in self._modules:
            self._modules[entry] = self._reached(entry)
        return [f"/static/{mark}/{name}" for name in self._modules[entry]]

    def _reached(self, entry: str) -> list[str]:
        found: dict[str, None] = {}
        waiting = [entry]
        while waiting:
            name = waiting.pop(0)
            path = self.find(name)
            if name in found or path is None:
                continue
            found[name] = None
            for target in _IMPORT.findall(path.read_text("utf-8")):
                reached = (path.parent / target).resolve()
                if reached.is_relative_to(self.folder):
                    waiting.append(str(reached.relative_to(self.folder)))
        return list(found)

    def drawing(self, icon: str) -> str:
        """The path of an icon of the sprite, so that a page shows it without the sprite."""
        if not self._drawings or self._drawn_for != self.hash:
            self._drawings = dict(_SYMBOL.findall(self._source("icons.svg") or ""))
            self._drawn_for = self.hash
        return self._drawings[icon]

    def find(self, name: str) -> Path | None:
        """The file of a name below the folder; None for what is none, or leads elsewhere."""
        if "\0" in name or "\\" in name:
            return None
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder) or path.suffix not in _TYPES:
            return None
        return path if path.is_file() else None

    def _source(self, name: str) -> str | None:
        path = self.find(name)
        return None if path is None else path.read_text("utf-8")

    def response(self, mark: str, name: str) -> Response:
        """The file itself; kept for ever under the hash of now, and not at all under another."""
        path = self.find(name)
        if path is None:
            raise not_found("such file")
        now = self.hash
        kept = FOREVER if mark in {now, now + _PACKED} else "no-store"
        if mark.endswith(_PACKED) and path.suffix == ".js":
            if self._packs is None:
                self._packs = packing.Packs(PACKS, self._source)
            text = self._packs.text(str(path.relative_to(self.folder)))
            return Response(text, headers={"Cache-Control": kept}, media_type="text/javascript")
        media = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
        return FileResponse(path, headers={"Cache-Control": kept}, media_type=media)


def templates() -> jinja2.Environment:
    """Templates, with everything escaped that is put into them."""
    folder = Path(str(files("flowengine.web") / "templates"))
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
