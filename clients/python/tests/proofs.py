"""Reads proofs of possession, by `cryptography` alone."""

import base64
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified(proof: str) -> tuple[dict, dict]:
    """Header and claims of a proof that the key in its header signed."""
    signed, _, signature = proof.rpartition(".")
    header, claims = (json.loads(raw(part)) for part in signed.split("."))
    jwk, signature = header["jwk"], raw(signature)
    if header["alg"] == "EdDSA":
        ed25519.Ed25519PublicKey.from_public_bytes(raw(jwk["x"])).verify(signature, signed.encode())
    else:
        point = ec.EllipticCurvePublicNumbers(*(int.from_bytes(raw(jwk[name]), "big") for name in "xy"), ec.SECP256R1())
        assert len(signature) == 64
        der = utils.encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        point.public_key().verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
    return header, claims
