"""The package as others get it: typed, whole, without a dependency that it does not name."""

import pathlib
import subprocess
import sys
import zipfile

FOLDER = pathlib.Path(__file__).resolve().parents[1]


def test_the_types_hold(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path)], cwd=FOLDER, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_are_seen_by_programs_that_use_it(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import claviger\n"
        "caller = claviger.Claviger.from_env({'ANTHROPIC_BASE_URL': 'http://gw', 'ANTHROPIC_API_KEY': 'k'})\n"
        "reveal_type(caller.summary().estimated_cost_pico_usd)\n"
        "claviger.Limiter(per_second='fast')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path), str(program)],
        env={"MYPYPATH": str(FOLDER / "src"), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=300,
    )
    assert 'Revealed type is "int"' in done.stdout or 'Revealed type is "builtins.int"' in done.stdout, done.stdout + done.stderr
    assert "per_second" in done.stdout and "Found 1 error" in done.stdout, done.stdout


def test_the_wheel_is_whole_and_imports_alone(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=FOLDER, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("claviger-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"claviger/py.typed", "claviger/prices.json", "claviger/__init__.py"} <= names
    assert not [name for name in names if "test" in name]
    script = f"import sys; sys.path.insert(0, {str(wheel)!r}); import claviger; print(claviger.__file__, 'anthropic' in sys.modules, 'cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == f"{wheel}/claviger/__init__.py False False", done.stderr
    claviger = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(wheel)!r}); from claviger import Prices; Prices.carried()"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )
    assert claviger.returncode == 0, claviger.stderr
