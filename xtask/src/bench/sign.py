"""Signs one request many times: sign.py PROFILE KEY_ID SECRET COUNT < BODY, a line of headers parted by tabs each."""

import base64
import hashlib
import hmac
import os
import sys
import time

AUTHORITY, PATH = "gateway.example", "/v1/messages"

profile, key_id, secret, count = sys.argv[1:5]
body = sys.stdin.buffer.read()
mac = hmac.new(secret.encode(), b"", "sha256")
out = []


def sign(text):
    one = mac.copy()
    one.update(text.encode())
    return one


for _ in range(int(count)):
    at, nonce = str(int(time.time())), os.urandom(16).hex()
    if profile == "v2":
        lines = ["cvg-sig-v2", key_id, "POST", AUTHORITY, PATH, "", hashlib.sha256(body).hexdigest()]
        signature = sign("\n".join(lines) + f"|{at}|{nonce}").hexdigest()
        headers = [
            f"x-request-signature: sha256={signature}",
            f"x-request-timestamp: {at}",
            f"x-request-nonce: {nonce}",
            "x-request-signature-version: 2",
        ]
    else:
        digest = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
        covered = '("@method" "@authority" "@path" "@query" "content-digest")'
        params = f'{covered};created={at};nonce="{nonce}";keyid="{key_id}";alg="hmac-sha256"'
        base = (
            f'"@method": POST\n"@authority": {AUTHORITY}\n"@path": {PATH}\n"@query": ?\n'
            f'"content-digest": {digest}\n"@signature-params": {params}'
        )
        signature = base64.b64encode(sign(base).digest()).decode()
        headers = [
            f"content-digest: {digest}",
            f"signature-input: cvg={params}",
            f"signature: cvg=:{signature}:",
        ]
    out.append("\t".join(headers))
print("\n".join(out))
