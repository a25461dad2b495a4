"""The vectors are what their scripts write."""

import subprocess
import sys

import pytest

from vectors import FOLDER


@pytest.mark.parametrize("script", ["signing.py", "dpop.py", "figures.py", "masks.py", "sealed.py"])
def test_the_vectors_are_what_their_scripts_write(script):
    done = subprocess.run([sys.executable, str(FOLDER / script), "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
