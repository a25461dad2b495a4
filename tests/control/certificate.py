"""A certificate for `localhost` that nobody but the test believes."""

import pathlib
import subprocess

WISHES = """
[req]
distinguished_name = name
x509_extensions = more
[name]
[more]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:localhost
"""


def make(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Certificate and key, PEM."""
    cert, key, wishes = folder / "cert.pem", folder / "key.pem", folder / "openssl.cnf"
    wishes.write_text(WISHES)
    subprocess.run(
        [
            "openssl", "req", "-x509", "-config", wishes, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "30", "-subj", "/CN=localhost", "-keyout", key, "-out", cert,
        ],
        check=True, capture_output=True, timeout=60,
    )
    return cert, key
