"""matrix.py WORK, see run.sh. It prints the ports of its two taps and reads the port of our server."""

import glob, os, re, socket, sys, threading, time

work = sys.argv[1]
PATIENCE = 60  # seconds, for all that must come


class Tap(threading.Thread):
    """A wire to one of Postfix's doors that keeps what goes there."""

    def __init__(self, name):
        super().__init__(daemon=True)
        self.name_, self.kept = name, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        print(f"listening for {name} at {self.listener.getsockname()[1]}", flush=True)

    def run(self):
        while True:
            ours, _ = self.listener.accept()
            postfix = door(self.name_)
            kept = bytearray()
            self.kept.append(kept)
            for source, sink, keep in (ours, postfix, kept), (postfix, ours, bytearray()):
                threading.Thread(target=pump, args=(source, sink, keep), daemon=True).start()


def pump(source, sink, keep):
    try:
        while octets := source.recv(65536):
            keep += octets
            sink.sendall(octets)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # either end may hang up


def door(name):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(PATIENCE)
    s.connect(f"{work}/spool/public/{name}")
    return s


class Client:
    """An SMTP client that says just what it is told."""

    def __init__(self, s):
        self.s, self.read = s, s.makefile("rb")
        self.ended = False
        self.reply()

    def reply(self):
        """The code of the next reply; "" when the connection is over."""
        try:
            while line := self.read.readline():
                if line[3:4] == b" ":
                    return line[:3].decode()
        except ConnectionResetError:
            pass
        self.ended = True
        return ""

    def say(self, octets, apart=False):
        """Sends all at once, or each octet apart."""
        try:
            for piece in [octets[i : i + 1] for i in range(len(octets))] if apart else [octets]:
                self.s.sendall(piece)
        except OSError:
            pass  # it was refused: what was said of it is still to be read

    def ask(self, line, want="250"):
        self.say(line.encode() + b"\r\n")
        got = self.reply()
        assert got == want, f"{line}: {got}"

    def envelope(self, domain):
        self.ask("EHLO smuggler.test")
        self.ask("MAIL FROM:<smuggler@far.test>")
        self.ask(f"RCPT TO:<ann@{domain}.test>")

    def rest(self):
        """All replies until the server hangs up."""
        codes = []
        while code := self.reply():
            codes.append(code)
        return codes

    def close(self):
        self.read.close()
        self.s.close()


def ours():
    s = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Client(s)


# What some server somewhere has taken for the end of a message, and what is like it.
CR, LF, END = "\r", "\n", "\r\n"
ends = [a + "." + b for a in (LF, CR, END, CR + END, END + LF, "\0" + END) for b in (LF, CR, END, CR + END, LF + CR) if (a, b) != (END, END)]
ends += [END + "\0." + END, END + ".\0" + END, END + "." + CR + "\0" + LF, LF + CR + "." + LF + CR, END + "." + CR + "." + END, CR, LF, "\0", CR + CR, LF + LF, LF + CR]

# Commands of another message, which must never be obeyed.
behind = "MAIL FROM:<evil@far.test>\r\nRCPT TO:<victim@{0}.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n.\r\n"

# What must arrive as it is. A lone dot is a line like others where BDAT counts octets.
clean = {
    "dots": "\r\n.x\r\n..\r\n...\r\n . \r\n.. x\r\n",
    "a dot at once": ".\r\nx\r\n",
    "a lone dot": "x\r\n.\r\ny\r\n",
    "commands": "x\r\n.\r\n" + behind,
    "long lines": ("." + "x" * 4999 + "\r\n") * 3,
    "many dots": ".\r\n" * 60000,
    "large": "\r\n.\r\n" + "".join(f".{i} all work\r\n..\r\n" for i in range(20000)),
    "nothing": "",
}

wanted = {}  # subject to body
faults = []


def head(subject):
    return f"From: smuggler@far.test\r\nSubject: {subject}\r\n\r\n"


def dirty(name, domain, send):
    """Sends what must be refused, once, and ends the connection."""
    c = ours()
    c.envelope(domain)
    codes = send(c)
    if len(codes) != 1 or codes[0][0] != "5":
        faults.append(f"{name}: answered by {codes}, want one refusal and the end")
    c.close()


def by_data(text, apart):
    def send(c):
        c.ask("DATA", "354")
        c.say(text, apart)
        return c.rest()

    return send


def by_bdat(text, at):
    """In two chunks, or in one where at is 0."""

    def send(c):
        octets = b"" if not at else b"BDAT %d\r\n" % at + text[:at]
        c.say(octets + b"BDAT %d LAST\r\n" % len(text[at:]) + text[at:] + b"NOOP\r\n")
        codes = c.rest()
        while at and codes[:1] == ["250"]:  # for the first chunk
            codes.pop(0)
        return codes

    return send


def refuse_all(domain):
    for i, end in enumerate(ends):
        name = f"end {i} {end!r} {domain}"
        start = (head("dirty") + "body").encode()
        text = start + end.encode() + behind.format(domain).encode()
        dirty(name + " by DATA", domain, by_data(text, False))
        dirty(name + " by DATA, apart", domain, by_data(text, True))
        for at in [0] + list(range(len(start), len(start) + len(end) + 1)):
            dirty(f"{name} by BDAT {at}", domain, by_bdat(text, at))
        if end.startswith(END):
            continue  # a command would end there
        for command in "MAIL FROM:<evil@far.test>{0}RSET", "RSET{0}", "RCPT TO:<victim@{1}.test{0}>":
            line = command.format(end, domain).encode() + b"\r\n"
            dirty(f"{name} in {line!r}", domain, lambda c: (c.say(line + behind.format(domain).encode()), c.rest())[1])


def accept_all(domain):
    for name, body in clean.items():
        body = body.format(domain)
        for way in "DATA", "BDAT", "chunks":
            subject = f"{name} by {way} to {domain}"
            text = (head(subject) + body).encode()
            c = ours()
            c.envelope(domain)
            if way == "DATA":
                c.ask("DATA", "354")
                c.say(re.sub(rb"(?m)^\.", b"..", text) + b".\r\n")
            elif way == "BDAT":
                c.say(b"BDAT %d LAST\r\n" % len(text) + text)
            else:  # cut where it hurts most: within a line end, before and behind a dot
                cuts = [m.start() + i for m in list(re.finditer(rb"\r\n\.?", text))[:20] for i in (1, 2, 3)]
                cuts = [0] + sorted(set(cuts)) + [len(text)]
                pieces = [text[a:b] for a, b in zip(cuts, cuts[1:])]
                c.say(b"".join(b"BDAT %d\r\n" % len(p) + p for p in pieces) + b"BDAT 0 LAST\r\n")
                for _ in pieces:
                    c.reply()
            code = c.reply()
            if code != "250":
                faults.append(f"{subject}: {code}")
            wanted[subject] = body.replace("\r\n", "\n")
            c.close()


def control():
    """Postfix itself makes two messages of such a text: else nothing here could fail."""
    c = Client(door("data"))
    c.envelope("data")
    c.ask("DATA", "354")
    c.say((head("control") + "body\n.\n" + behind.format("data")).encode())
    codes = [c.reply() for _ in range(5)]
    assert codes == ["250", "250", "250", "354", "250"], f"Postfix says {codes}"
    wanted.update({"control": "body\n", "smuggled": "smuggled\n"})
    c.close()


def messages():
    """What Postfix has delivered: subject and body of each."""
    for file in glob.glob(f"{work}/mail/box/new/*"):
        with open(file, newline="", encoding="latin-1") as f:
            top, _, body = f.read().partition("\n\n")
        yield re.search(r"(?m)^Subject: (.*)$", top)[1], body


def count(file, pattern):
    with open(file, encoding="utf-8", errors="replace") as f:
        return len(re.findall(pattern, f.read()))


def settled():
    """Nothing waits, neither here nor there."""
    queued = count(f"{work}/log", '"msg":"queued"')
    return (
        queued == count(f"{work}/log", '"msg":"delivered"')
        and queued + 2 == count(f"{work}/postlog/mail", "message-id=")  # two by control
        and queued + 2 == count(f"{work}/postlog/mail", "qmgr.*: removed")
    )


def judge(taps):
    end = time.monotonic() + PATIENCE
    while not settled():
        assert time.monotonic() < end, "mail is still under way"
        time.sleep(0.05)
    for subject, body in messages():
        if subject not in wanted:
            faults.append(f"{subject!r} was not to arrive, or not twice")
        elif wanted[subject] != body:
            faults.append(f"{subject}: other octets: {body[:200]!r}")
        wanted.pop(subject, None)
    faults.extend(f"{subject} did not arrive" for subject in wanted)
    for tap in taps:
        assert tap.kept, f"nobody came to {tap.name_}"
        for kept in tap.kept:
            if m := re.search(rb"\r(?!\n)|(?<!\r)\n|\0", kept):
                faults.append(f"sent to {tap.name_}: {bytes(kept[max(0, m.start() - 40) : m.start() + 40])!r}")
    kept = b"".join(taps[0].kept)
    assert b"BDAT " in kept and b"\r\nDATA\r\n" in kept, "both ways of sending were to be seen"


taps = [Tap("bdat"), Tap("data")]
for tap in taps:
    tap.start()
port = int(sys.stdin.readline())
control()
for tap in taps:
    refuse_all(tap.name_)
    accept_all(tap.name_)
judge(taps)
print(*faults, sep="\n")
if faults:
    sys.exit(1)
print("all is well")
