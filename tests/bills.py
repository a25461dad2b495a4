"""The bills of a simulator's log, by the independent oracle.

Reads the log (JSON lines) from standard input and prints one JSON object a billed call: the `request_id` that the caller
was given, and what the call costs in pico-dollars as a decimal string. Of a stream that did not end well, what had been
told of its usage is billed.
"""

import json
import sys

from oracle import cost_pusd


def told(call):
    usage = dict(call["sent_start"] or call["usage"])
    last = call["sent_delta"] or {}
    if call["stream"]:
        usage["output_tokens"] = max(usage.get("output_tokens") or 0, last.get("output_tokens") or 0)
    return usage


for line in map(json.loads, sys.stdin):
    call = line["inference"]
    if not call or not call["billed"] or line["kind"] != "request":
        continue
    whole = line["ending"] == "completed" or not call["stream"]
    usage = call["usage"] if whole else told(call)
    cost = cost_pusd(call["model"], usage)
    print(json.dumps({"request_id": line["request_id"], "pusd": str(cost)}))
