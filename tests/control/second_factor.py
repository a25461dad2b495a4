"""Codes of the second factor (RFC 6238)."""

import base64
import hashlib
import hmac
import struct
import time


class SecondFactor:
    """Codes of one operator; each is used once."""

    def __init__(self, secret: str):
        self.secret = base64.b32decode(secret + "=" * (-len(secret) % 8))
        self.last = 0

    def code(self) -> str:
        step = max(self.last + 1, int(time.time()) // 30 - 1)
        while step > int(time.time()) // 30 + 1:
            time.sleep(1)
        self.last = step
        digest = hmac.new(self.secret, struct.pack(">Q", step), hashlib.sha1).digest()
        at = digest[-1] & 15
        return f"{(struct.unpack('>I', digest[at:at + 4])[0] & 0x7FFFFFFF) % 10**6:06}"
