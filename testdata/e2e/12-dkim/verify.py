"""verify.py FILE SERVER PORT: judges each DKIM signature of a message by dkimpy.

Prints a line for each: selector, algorithm, and ok or bad.
"""
import subprocess
import sys

import dkim

path, server, port = sys.argv[1:]
message = open(path, "rb").read()


def record(name, timeout=5):
    """The TXT record of a name, its strings joined, as dig finds it."""
    name = name.decode() if isinstance(name, bytes) else name
    text = subprocess.run(["dig", "@" + server, "-p", port, "+short", "+time=5", name, "TXT"],
                          check=True, capture_output=True, text=True).stdout
    return "".join(text.split('"')[1::2]).encode()


fields = [value for name, value in dkim.rfc822_parse(message)[0] if name.lower() == b"dkim-signature"]
for index, value in enumerate(fields):
    tags = dkim.util.parse_tag_value(value)
    try:
        good = dkim.DKIM(message).verify(idx=index, dnsfunc=record)
    except dkim.DKIMException:
        good = False
    print(tags[b"s"].decode(), tags[b"a"].decode(), "ok" if good else "bad")
