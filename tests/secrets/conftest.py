"""Makes the second factor and the socket's proxy importable."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "control"))
