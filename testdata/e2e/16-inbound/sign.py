"""sign.py KEYS SELECTOR HEADER BODY: signs standard input by dkimpy as judged.test.

KEYS is the folder of the keys; HEADER and BODY are "simple" or "relaxed".
"""
import base64
import subprocess
import sys

import dkim

keys, selector, header, body = sys.argv[1:]
path = "%s/%s._domainkey.judged.test.pem" % (keys, selector)
message = sys.stdin.buffer.read().replace(b"\n", b"\r\n")
if selector == "ed":
    der = subprocess.run(["openssl", "pkey", "-in", path, "-outform", "DER"], check=True, capture_output=True).stdout
    key, algorithm = base64.b64encode(der[-32:]), b"ed25519-sha256"
else:
    key = subprocess.run(["openssl", "pkey", "-in", path, "-traditional"], check=True, capture_output=True).stdout
    algorithm = b"rsa-sha256"
signature = dkim.sign(message, selector.encode(), b"judged.test", key, canonicalize=(header.encode(), body.encode()), signature_algorithm=algorithm)
sys.stdout.buffer.write((signature + message).replace(b"\r\n", b"\n"))
