"""flowengine within git: files of a revision, and the drivers that diff and merge flows by meaning.

git is run as a program with a list of arguments, never through a shell.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from flowengine.errors import UsageError

BEGIN = "# flowengine git-setup: flows are compared and merged by meaning"
END = "# end of flowengine git-setup"
DRIVER = "flowengine"

_STAGE = re.compile(r":(?:[0-3]:)?(.+)")


def path_in(spec: str) -> str | None:
    """The path in `REV:path` (or `:2:path`, a stage of a merge); None if there is no colon."""
    stage = _STAGE.fullmatch(spec)
    if stage is not None:
        return stage[1]
    revision, colon, path = spec.partition(":")
    return path if colon and revision and path else None


def read_blob(spec: str) -> bytes:
    """The bytes of `REV:path`; raises UsageError with what git says if there is no such file."""
    path = path_in(spec)
    if path is None or spec.startswith("-"):
        raise UsageError(f'"{spec}" is no REV:path.', "Write it as HEAD~1:flows/cold-room.json.")
    ran = _git("cat-file", "blob", spec)
    if ran.returncode != 0 and not path.startswith(("/", "./", "../")):
        # git counts paths from the top of the repository; people count from where they stand
        revision = spec[: len(spec) - len(path)]
        again = _git("cat-file", "blob", f"{revision}./{path}")
        ran = again if again.returncode == 0 else ran
    if ran.returncode != 0:
        said = ran.stderr.decode("utf-8", "replace").strip().removeprefix("fatal: ")
        raise UsageError(f"git has no {spec}: {said}.", "Look at the revision and the path.")
    return ran.stdout


def set_up(folder: Path) -> tuple[Path, list[str]]:
    """Make git use the drivers for the flows of `folder`; what was written, line by line.

    Returns the attributes file and the lines put into it. Doing it twice changes nothing.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}.", "Give the folder with the flows.")
    top = _top(folder)
    inside = folder.resolve().relative_to(top).as_posix()
    start = "" if inside == "." else f"/{inside}"
    pattern = _quoted(f"{start}/*.json")
    lines = [f"{pattern} text eol=lf diff={DRIVER} merge={DRIVER}"]
    attributes = top / ".gitattributes"
    _write_block(attributes, lines)
    program = _program()
    settings = {
        f"diff.{DRIVER}.command": f"{program} diff --git",
        f"merge.{DRIVER}.name": "flows by node, wire and config key",
        f"merge.{DRIVER}.driver": f"{program} git-setup --merge %O %A %B %P",
    }
    for name, value in settings.items():
        ran = _git("config", "--local", name, value, folder=top)
        if ran.returncode != 0:
            said = ran.stderr.decode("utf-8", "replace").strip()
            raise UsageError(f"git config {name} failed: {said}.", "Look at .git/config.")
    return attributes, lines


def merge_text(ours: Path, base: Path, theirs: Path) -> int:
    """The merge by git itself of three texts into `ours`; the number of conflicts, with markers."""
    ran = _git(
        "merge-file", "-L", "ours", "-L", "base", "-L", "theirs", *map(str, (ours, base, theirs))
    )
    return ran.returncode if 0 <= ran.returncode < 128 else 1


def _git(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(  # noqa: S603  # a list of arguments, no shell
            ["git", *arguments],  # noqa: S607  # the git that the person uses
            cwd=folder,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as err:
        raise UsageError("git is not installed.", "Install git, or compare two files.") from err


def _top(folder: Path) -> Path:
    ran = _git("rev-parse", "--show-toplevel", folder=folder)
    if ran.returncode != 0:
        raise UsageError(f"{folder} is in no git repository.", "Run git init first.")
    return Path(ran.stdout.decode().strip()).resolve()


def _program() -> str:
    """How git's shell starts this very flowengine."""
    return f"{shlex.quote(sys.executable)} -m flowengine"


def _quoted(pattern: str) -> str:
    """A pattern for gitattributes, which splits lines at blanks."""
    if re.search(r'[\s"\\]', pattern):
        return '"' + pattern.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return pattern


def _write_block(path: Path, lines: list[str]) -> None:
    """Add lines to our block of an attributes file; lines of other people stay as they are."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, begin, rest = text.partition(BEGIN + "\n")
    block, _, after = rest.partition(END + "\n")
    kept = [line for line in block.splitlines() if line] if begin else []
    block_lines = [*kept, *(line for line in lines if line not in kept)]
    if before and not before.endswith("\n"):
        before += "\n"
    whole = before + "\n".join([BEGIN, *block_lines, END]) + "\n" + after
    if whole != text:
        path.write_text(whole, encoding="utf-8", newline="\n")
