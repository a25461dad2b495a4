"""A holder in Python for `test_rotating.py`: the official SDK over the adapter, four calls at once."""

import concurrent.futures
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients" / "python" / "src"))

import anthropic  # noqa: E402

from claviger import Claviger, HmacKey, Secret, Signer, StaticKey  # noqa: E402

ASK = {"model": "claude-opus-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}


def now():
    return time.time() + int(pathlib.Path(os.environ["CLOCK"]).read_text())


def store(text, _):
    file = os.open(os.environ["STORE"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w") as opened:
        opened.write(text)


key = HmacKey(Secret(os.environ["CLAVIGER_SIGNING_SECRET"]), on_successor=store, clock=now)
signer = Signer(key, os.environ["CLAVIGER_SIGNING_PROFILE"], clock=now)
caller = Claviger(os.environ["ANTHROPIC_BASE_URL"], StaticKey(Secret(os.environ["ANTHROPIC_API_KEY"])), auth="token", signer=signer)
with anthropic.Anthropic(**caller.sdk()) as client, concurrent.futures.ThreadPoolExecutor(4) as pool:
    for line in sys.stdin:
        unit, number = line.split()
        end = time.monotonic() + int(number)

        def work(_):
            count = 0
            while (time.monotonic() < end) if unit == "secs" else (count < int(number) // 4):
                assert client.messages.create(**ASK).content
                count += 1
            return count

        try:
            print(sum(pool.map(work, range(4))), "calls", flush=True)
        except Exception as error:
            print(f"failed: {error!r} {error.__cause__!r}", flush=True)
