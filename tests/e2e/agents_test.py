#!/usr/bin/python3
"""Three delivery agents against an LMTP server that misbehaves: who loses, doubles, alters or bounces mail.

    agents_test.py                 the table of docs/delivery.md is what happens, and nothing bad happens with lda2lmtp
    agents_test.py --write         writes that table
    agents_test.py --row TEXT      runs the rows whose name holds TEXT, and shows everything

Each row is one mail and one mishap. The agent is run as smtpd 6.8 runs it: sh -c, mail.mda where smtpd uses it, the environment,
standard input and output, a user without privileges, and SIGALRM when its time is up. Its end is read as smtpd reads it: 0 is
delivered, 71, 75 and a signal are tried again, everything else bounces. What is tried again finds a server in good health. What the
mail became is then counted in the mailboxes of the servers.
"""

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from document import Written
from stack import LIBEXEC, ROOT, Stack, descendants, enter

sys.path.insert(0, str(ROOT / "tests/support"))
from lmtp_server import CAPABILITIES, CLOSE, COMMIT, DEAF, HALF_CLOSE, SAVED, SILENT, UNREAD, Server, words  # noqa: E402

WRITTEN = Written("agents_test.py")
PLACE = Path("/run/agents")
SENDER, RECIPIENT = "sender@client.example.net", "alice@example.org"
BODY = b"Subject: a mail\nMessage-ID: <1@client.example.net>\n\nHello,\nthis is a mail.\n"
MIB = 1 << 20


@dataclass
class Row:
    name: str
    script: dict = field(default_factory=dict)
    body: bytes = BODY
    sender: str = SENDER
    recipient: str = RECIPIENT
    permanent: bool = False   # the server says, about this recipient or mail, what will be true tomorrow
    window: bool = False      # the reply to the dot does not come: nobody can know, and the mail must be tried again
    byte_by_byte: bool = False
    capabilities: tuple = ("8BITMIME", "ENHANCEDSTATUSCODES", "PIPELINING")
    gives_up: float = 60.0    # seconds until SIGALRM; smtpd has 300
    options: str = ""         # of lda2lmtp
    environment: dict = field(default_factory=dict)  # a value of None takes the variable away
    stdin: str = ""           # a path instead of a pipe
    before: object = None     # called with the path before the agent starts: there is no server then
    tcp: bool = False
    second: bool = False      # there is another server, in good health, which only lda2lmtp can be told
    shell: str = ""           # put before the command
    agents: tuple = ("lda2lmtp", "mail.lmtp", "script")


def signal_agent(number):
    """A step of a script: the agent gets this signal."""
    return lambda talk: os.kill(descendants(talk.server.shell.get(10))[-1], number)


def nothing(_):
    pass


def deserted(path, mode):
    with socket.socket(socket.AF_UNIX) as nobody:
        nobody.bind(path)
    os.chmod(path, mode)


def until_given_up(talk):
    talk.server.given_up.wait(30)


def text(*lines):
    return b"".join(line.encode() + b"\r\n" for line in lines)


def stages(name, code, words, which, **options):
    """One row for each stage, with this reply and the end of the connection."""
    ending = [CLOSE] if code == "421" else []
    return [Row(f"{name} {there[stage]}", {stage: [f"{code} {words}".encode(), *ending]}, **options) for stage in which]


there = {"banner": "for a banner", "lhlo": "to LHLO", "mail": "to MAIL", "rcpt": "to RCPT", "data": "to DATA", "dot": "to the dot"}
ALL = tuple(there)
# lda2lmtp is given 3 of 4 seconds, as it has 290 of smtpd's 300.
PATIENT = {"gives_up": 4.0, "options": "--timeout 3"}
LARGE = b"Subject: large\n\n" + b"0123456789abcdef0123456789abcdef\n" * (4 * MIB // 33)

MAILS = [
    Row("empty", body=b""),
    Row("a header and nothing else", body=b"Subject: nothing\n"),
    Row("no line end at the end", body=BODY[:-1]),
    Row("a line that is a dot, and commands below", body=BODY + b".\nMAIL FROM:<forged@example.org>\nRCPT TO:<bob@example.org>\nDATA\nsmuggled\n"),
    Row("lines of dots", body=BODY + b"..\n...\n.a line\n"),
    Row("CR LF line ends", body=BODY.replace(b"\n", b"\r\n")),
    Row("bare CR", body=BODY + b"a\rb\n\r.\rc\r\rd\n"),
    Row("NUL", body=BODY + b"before\0after\nnext\n"),
    Row("8-bit", body=BODY + "Grüße, 世界\n".encode() + b"\xff\xfe\n"),
    Row("a line of 1 MiB", body=BODY + b"x" * MIB + b"\n"),
    Row("100 MiB", body=BODY + (b"0123456789abcdef" * 62 + b"12345\n..\n") * (100 * MIB // 1001)),
]

# What Dovecot lists, and lda2lmtp uses.
BDAT = {"capabilities": CAPABILITIES, "agents": ("lda2lmtp",)}

SECTIONS = {
    "The server refuses": [
        *stages("`421`", "421", "4.3.2 dovecot Shutting down", ALL),
        *stages("`451`", "451", "4.3.0 Temporary internal error", ALL),
        *stages("`554`", "554", "5.3.0 No", ("banner", "lhlo", "mail")),
        Row("`554` to MAIL, and accepts recipient and mail all the same", {"mail": [b"554 5.3.0 No"], "rcpt": [b"250 2.1.5 OK"]}),
        Row("`503` to DATA", {"data": [b"503 5.5.1 Bad sequence of commands"]}),
        Row("`550 5.1.1`, unknown user", {"rcpt": [b"550 5.1.1 <alice@example.org> User doesn't exist"]}, permanent=True),
        Row("`550` without further code to RCPT", {"rcpt": [b"550 no such user"]}, permanent=True),
        Row("`552 5.2.2`, mailbox full, to RCPT", {"rcpt": [b"552 5.2.2 <alice@example.org> Quota exceeded"]}, permanent=True),
        Row("`452 4.2.2`, mailbox full, to RCPT", {"rcpt": [b"452 4.2.2 <alice@example.org> Quota exceeded"]}),
        Row("`552 5.2.2`, mailbox full, to the dot", {"dot": [b"552 5.2.2 <alice@example.org> Quota exceeded"]}, permanent=True),
        Row("`552 5.3.4`, mail too big, to MAIL", {"mail": [b"552 5.3.4 Message size exceeds fixed limit"]}, permanent=True),
        Row("`554 5.7.1`, policy, to the dot", {"dot": [b"554 5.7.1 Rejected by policy"]}, permanent=True),
        Row("`552 5.3.4` while the mail is on its way, then closed", {"body": [UNREAD, b"552 5.3.4 Too big", CLOSE]}, LARGE, permanent=True),
        Row("`421` to the dot, delivered", {"dot": [COMMIT, b"421 4.3.2 dovecot Shutting down", CLOSE]}, window=True),
        Row("`451` while the mail is on its way, then closed", {"body": [UNREAD, b"451 4.3.1 Disk full", CLOSE]}, LARGE),
        Row("`354` although no recipient was accepted, then nothing after the dot",
            {"rcpt": [b"550 5.1.1 <alice@example.org> User doesn't exist"], "dot": []}, permanent=True),
    ],
    "The connection ends": [
        Row("before the banner", {"banner": [CLOSE]}),
        Row("after LHLO", {"lhlo": [CLOSE]}),
        Row("after MAIL", {"mail": [CLOSE]}),
        Row("after RCPT", {"rcpt": [CLOSE]}),
        Row("after DATA", {"data": [CLOSE]}),
        Row("after `354`", {"data": [HALF_CLOSE, b"354 OK", CLOSE]}),
        Row("in the middle of a large mail", {"body": [UNREAD, CLOSE]}, LARGE),
        Row("after the dot, nothing delivered", {"dot": [CLOSE]}),
        Row("after the dot, delivered, no reply", {"dot": [COMMIT, CLOSE]}, window=True),
        Row("in the middle of the reply to the dot", {"dot": [COMMIT, words(b"250 2.0.0 <alice@exam"), CLOSE]}, window=True),
        Row("after the reply to the dot", {"dot": [HALF_CLOSE, SAVED, CLOSE]}),
        Row("after QUIT", {"quit": [CLOSE]}),
    ],
    "The server is silent": [
        Row("instead of a banner", {"banner": [SILENT]}, **PATIENT),
        Row("after LHLO", {"lhlo": [SILENT]}, **PATIENT),
        Row("after MAIL", {"mail": [SILENT]}, **PATIENT),
        Row("after RCPT", {"rcpt": [SILENT]}, **PATIENT),
        Row("after DATA", {"data": [SILENT]}, **PATIENT),
        Row("and reads no more of a large mail", {"body": [DEAF]}, LARGE, **PATIENT),
        Row("after the dot, nothing delivered", {"dot": [SILENT]}, **PATIENT),
        Row("after the dot, delivered", {"dot": [COMMIT, SILENT]}, window=True, **PATIENT),
        Row("after QUIT", {"quit": [SILENT]}, **PATIENT),
        Row("before the dot until smtpd has given up, and then goes on", {"data": [until_given_up, b"354 OK"]}, gives_up=1.5),
        Row("after the dot until smtpd has given up, and then delivers", {"dot": [until_given_up, SAVED]}, window=True, **PATIENT),
    ],
    "Replies of another kind": [
        Row("many lines in each", {
            "banner": [text("220-dovecot", "220-speaks", "220 LMTP")], "mail": [text("250-2.1.0 yes", "250 2.1.0 OK")],
            "rcpt": [text("250-2.1.5 yes", "250 2.1.5 OK")], "data": [text("354-go", "354 on")],
            "dot": [COMMIT, text("250-2.0.0 <alice@example.org>", "250-2.0.0 was", "250 2.0.0 Saved")]}),
        Row("each byte in a segment of its own", byte_by_byte=True),
        Row("LF line ends", {"banner": [b"220 dovecot\n"], "mail": [b"250 2.1.0 OK\n"], "data": [b"354 OK\n"],
                             "dot": [COMMIT, b"250 2.0.0 Saved\n"]}),
        Row("a banner of 8 KiB", {"banner": [b"220 " + b"x" * 8192]}),
        Row("a reply to LHLO of 8 KiB", {"lhlo": [b"250-dovecot\r\n250-X " + b"y" * 8192 + b"\r\n250 PIPELINING"]}),
        Row("a reply to the dot of 8 KiB", {"dot": [COMMIT, b"250 2.0.0 " + b"x" * 8192]}),
        Row("a reply to LHLO of 200 lines", {"lhlo": [b"250-X\r\n" * 199 + b"250 PIPELINING"]}),
        Row("a reply to the dot of 200 lines", {"dot": [COMMIT, b"250-2.0.0 Saved\r\n" * 199 + b"250 2.0.0 Saved"]}),
        Row("a refusal of the user of 200 lines", {"rcpt": [b"550-5.1.1 no\r\n" * 199 + b"550 5.1.1 no"]}, permanent=True),
        Row("`251` to RCPT", {"rcpt": [b"251 2.1.5 will forward"]}),
        Row("`200` to the dot", {"dot": [COMMIT, b"200 2.0.0 Saved"]}),
        Row("`250` instead of `354`", {"data": [b"250 2.0.0 OK"]}),
        Row("`354` to MAIL", {"mail": [b"354 OK"]}),
        Row("`334` to RCPT", {"rcpt": [b"334 OK"]}),
        Row("`354` to the dot, nothing delivered", {"dot": [b"354 OK"]}),
        Row("`250` together with `354`, nothing delivered", {"data": [b"354 OK\r\n250 2.0.0 Saved"], "dot": [CLOSE]}),
        Row("replies before the questions, nothing delivered", {
            "banner": [text("220 dovecot", "250 dovecot", "250 2.1.0 OK", "250 2.1.5 OK", "354 OK", "250 2.0.0 Saved"), SILENT]}, **PATIENT),
        Row("HTTP for a banner", {"banner": [text("HTTP/1.1 400 Bad Request", "Connection: close", "") + b"250 bad\r\n", CLOSE]}),
        Row("NUL bytes for a banner", {"banner": [b"\0\0\0\0\r\n", CLOSE]}),
        Row("NUL and 8-bit in the text of a reply", {"banner": [b"220 dove\0cot \xff\xfe"]}),
        Row("garbage after the dot, delivered", {"dot": [COMMIT, b"was denn nun"]}, window=True),
        Row("`421` to QUIT", {"quit": [b"421 4.3.2 dovecot Shutting down", CLOSE]}),
        Row("`500` to QUIT", {"quit": [b"500 5.5.1 Unknown command"]}),
        Row("`421` right behind the reply to the dot", {"dot": [HALF_CLOSE, SAVED, b"421 4.3.2 dovecot Shutting down", CLOSE]}),
    ],
    "The mail": MAILS,
    "With BDAT, which only lda2lmtp uses": [
        *(replace(row, **BDAT) for row in MAILS),
        Row("`550 5.1.1`, unknown user", {"rcpt": [b"550 5.1.1 <alice@example.org> User doesn't exist"]}, permanent=True, **BDAT),
        Row("`503` to BDAT", {"body": [UNREAD, b"503 5.5.0 No valid recipients", CLOSE]}, LARGE, **BDAT),
        Row("`552 5.3.4` while the mail is on its way, then closed", {"body": [UNREAD, b"552 5.3.4 Too big", CLOSE]}, LARGE, permanent=True,
            **BDAT),
        Row("`552 5.2.2`, mailbox full, after it", {"dot": [b"552 5.2.2 <alice@example.org> Quota exceeded"]}, permanent=True, **BDAT),
        Row("`421` after it", {"dot": [b"421 4.3.2 dovecot Shutting down", CLOSE]}, **BDAT),
        Row("closed in the middle of a large mail", {"body": [UNREAD, CLOSE]}, LARGE, **BDAT),
        Row("closed after it, nothing delivered", {"dot": [CLOSE]}, **BDAT),
        Row("closed after it, delivered, no reply", {"dot": [COMMIT, CLOSE]}, window=True, **BDAT),
        Row("silent after it, delivered", {"dot": [COMMIT, SILENT]}, window=True, **BDAT, **PATIENT),
        Row("reads no more of a large mail", {"body": [DEAF]}, LARGE, **BDAT, **PATIENT),
        Row("`250` before the mail, nothing delivered", {"body": [b"250 2.0.0 Saved", SILENT]}, LARGE, **BDAT, **PATIENT),
    ],
    "With a second server, which only lda2lmtp can be told": [
        *(Row(f"the first {name}", script, second=True, agents=("lda2lmtp",), **more) for name, script, more in (
            ("is not there", {}, {"before": nothing}),
            ("says `421` for a banner", {"banner": [b"421 4.3.2 dovecot Shutting down", CLOSE]}, {}),
            ("is silent", {"banner": [SILENT]}, PATIENT),
            ("says `451` to MAIL", {"mail": [b"451 4.3.0 Temporary internal error"]}, {}),
            ("says `421` to RCPT", {"rcpt": [b"421 4.3.2 dovecot Shutting down", CLOSE]}, {}),
            ("says `451` to RCPT", {"rcpt": [b"451 4.3.0 <alice@example.org> Temporary internal error"]}, {}),
            ("does not know the user", {"rcpt": [b"550 5.1.1 <alice@example.org> User doesn't exist"]}, {"permanent": True}),
            ("closes in the middle of a large mail", {"body": [UNREAD, CLOSE]}, {"body": LARGE}),
            ("closes after the dot", {"dot": [COMMIT, CLOSE]}, {"window": True}),
            ("says `421` to the dot", {"dot": [b"421 4.3.2 dovecot Shutting down", CLOSE]}, {}),
            ("says `451` to the dot", {"dot": [b"451 4.2.0 <alice@example.org> locked"]}, {}))),
    ],
    "The envelope": [
        Row("the null sender", sender=""),
        Row("a sender with `=`, `+` and `/`", sender="srs0=ab/c+d=tt=example.net=user@client.example.net"),
        Row("a sender with `!`, `#`, `$`, `*` and `'`", sender="prvs=1!a#b$c*d'e@client.example.net"),
        Row("a sender that looks like an option", sender="--receiver=bob@example.org"),
        Row("a UTF-8 sender", sender="jürgen@client.example.net"),
        Row("a UTF-8 recipient, which the server refuses", {"rcpt": [b"501 5.5.4 Invalid TO: Invalid character"]}, permanent=True,
            recipient="jürgen@example.org"),
        Row("a recipient with a detail", recipient="alice+lists@example.org"),
        Row("no SENDER in the environment", environment={"SENDER": None}, agents=("lda2lmtp", "mail.lmtp")),
        Row("no RECIPIENT in the environment", environment={"RECIPIENT": None}, agents=("lda2lmtp", "mail.lmtp")),
    ],
    "The host": [
        Row("no socket", before=nothing),
        Row("a socket where nobody listens", before=lambda path: deserted(path, 0o666)),
        Row("a socket without permission", before=lambda path: deserted(path, 0)),
        Row("a TCP port where nobody listens", before=nothing, tcp=True),
        Row("standard input cannot be read", stdin="/"),
        Row("TMPDIR cannot be written, nor lda2lmtp's `--spool`", body=BODY + b"0123456789abcde\n" * MIB, environment={"TMPDIR": "/proc"},
            options="--spool /proc"),
        Row("no memory for the mail", shell="ulimit -v 60000; ", body=BODY + b"0123456789abcde\n" * (4 * MIB)),
        Row("SIGTERM before the dot", {"data": [signal_agent(signal.SIGTERM), SILENT]}),
        Row("SIGSEGV before the dot", {"data": [signal_agent(signal.SIGSEGV), SILENT]}),
        Row("SIGKILL before the dot", {"data": [signal_agent(signal.SIGKILL), SILENT]}),
        Row("SIGTERM after the dot, delivered", {"dot": [COMMIT, signal_agent(signal.SIGTERM), SILENT]}, window=True),
        Row("SIGKILL after the dot, delivered", {"dot": [COMMIT, signal_agent(signal.SIGKILL), SILENT]}, window=True),
    ],
}


# ---- as smtpd does it --------------------------------------------------------------------------------------------------------


def expanded(address):
    """%{sender} and %{rcpt} of smtpd.conf: what a shell could mistake becomes a colon (smtpd.h, MAILADDR_ESCAPE)."""
    return re.sub(r"[!#$%&'*?`{|}~]", ":", address)


def command(agent, endpoint, row, healthy):
    if agent == "mail.lmtp":
        return f'{LIBEXEC}/mail.lmtp -d "{endpoint}" -r'
    if agent == "script":
        return f'{LIBEXEC}/mail.mda "exec {PLACE}/script -s {expanded(row.sender)} -r {expanded(row.recipient)} -l {endpoint}"'
    second = f"-l {endpoint}.second" if row.second else ""
    return f'{LIBEXEC}/mail.mda "exec {LIBEXEC}/lda2lmtp -l {endpoint} {second} {"" if healthy else row.options}"'


def standard_input(row):
    return (f"Return-Path: <{row.sender}>\n" if row.sender else "").encode() + f"Delivered-To: {row.recipient}\n".encode() + row.body


@dataclass
class Attempt:
    status: str   # "0", "75", "SIGALRM"
    read_as: str  # "delivered", "again", "bounced"
    said: str     # the last line, which smtpd quotes
    mails: list
    path: str


def attempt(agent, row, path, healthy=False):
    """One run. `healthy`: the server is, and so is the rest of the world."""
    row = Row(row.name, body=row.body, sender=row.sender, recipient=row.recipient) if healthy else row
    server = None
    if row.before:
        row.before(path)
    else:
        server = Server(path, row.script, capabilities=row.capabilities, byte_by_byte=row.byte_by_byte)
        server.given_up = threading.Event()  # smtpd has
        server.shell = queue.Queue()
    second = Server(f"{path}.second") if row.second else None
    environment = {"PATH": "/usr/bin:/bin", "DOMAIN": row.recipient.partition("@")[2], "HOME": "/run/home/vmail",
                   "RECIPIENT": row.recipient, "SHELL": "/bin/sh", "LOCAL": row.recipient.partition("@")[0], "LOGNAME": "vmail",
                   "USER": "vmail", "SENDER": row.sender, **row.environment}
    line = row.shell + command(agent, "127.0.0.1:1" if row.tcp else path, row, healthy)
    with open(f"{path}.out", "w+b") as output:
        stdin = os.open(row.stdin, os.O_RDONLY) if row.stdin else subprocess.PIPE
        shell = subprocess.Popen(["/bin/sh", "-c", line], stdin=stdin, stdout=output, stderr=output,
                                 env={name: value for name, value in environment.items() if value is not None},
                                 user="vmail", group="vmail", extra_groups=[], cwd="/", start_new_session=True)
        if server:
            server.shell.put(shell.pid)
        complete = [True]
        feeder = threading.Thread(target=feed, args=(shell.stdin, standard_input(row), complete), daemon=True)
        if shell.stdin:
            feeder.start()
        try:
            shell.wait(row.gives_up)
        except subprocess.TimeoutExpired:
            shell.send_signal(signal.SIGALRM)  # smtpd's child is this process, and its alarm goes no further
            shell.wait()
        if server:
            server.given_up.set()
            server.close()
        if second:
            second.close()
        if shell.stdin:
            feeder.join(5)
        else:
            os.close(stdin)
        output.seek(0)
        said = (output.read().decode(errors="replace").splitlines() or [""])[-1]
    if shell.returncode == 0:
        read_as = "delivered" if complete[0] else "again"  # "mda exited prematurely"
    else:
        read_as = "again" if shell.returncode < 0 or shell.returncode in (71, 75) else "bounced"
    status = str(shell.returncode) if shell.returncode >= 0 else signal.Signals(-shell.returncode).name
    return Attempt(status, read_as, said, [mail for each in (server, second) if each for mail in each.mails], path)


def feed(pipe, data, complete):
    try:
        with pipe:
            pipe.write(data)
    except BrokenPipeError:
        complete[0] = False


# ---- what became of the mail ---------------------------------------------------------------------------------------------------

GOOD = ("delivered", "later", "refused", "twice?")


def as_sent(row):
    """What must lie in the mailbox."""
    body = row.body.replace(b"\r\n", b"\n")
    return body if not body or body.endswith(b"\n") else body + b"\n"


def intact(mail, row):
    """smtpd's two lines may be there or not."""
    content = mail.bytes
    for line in ([b"Return-Path: <%s>\n" % row.sender.encode()] if row.sender else []) + [b"Delivered-To: %s\n" % row.recipient.encode()]:
        content = content[len(line):] if content.startswith(line) else content
    return (mail.sender, mail.recipient, content) == (row.sender, row.recipient, as_sent(row))


@dataclass
class Result:
    outcome: str
    first: Attempt

    def cell(self):
        word = self.outcome if self.outcome in GOOD else f"**{self.outcome}**"
        return f"{word} ({self.first.status})"


def run_row(agent, row, path):
    first = attempt(agent, row, f"{path}.1")
    mails = list(first.mails)
    second = None
    if first.read_as == "again" and not row.permanent:
        second = attempt(agent, row, f"{path}.2", healthy=True)
        mails += second.mails
    altered = [mail for mail in mails if not intact(mail, row)]
    if first.read_as == "bounced":
        outcome = "bounced though delivered" if mails else "refused" if row.permanent else "bounced"
    elif first.read_as == "again" and (not second or second.read_as != "delivered"):
        outcome = "tried for days"
    elif not mails:
        outcome = "lost"
    elif altered:
        outcome = "altered"
    elif len(mails) > 1:
        outcome = "twice?" if row.window else "twice"
    else:
        outcome = "delivered" if first.read_as == "delivered" else "later"
    return Result(outcome, first)


def run_rows(rows):
    """{(id of the row, agent): Result}. Large mails one after the other, all else at the same time."""
    tasks = [(f"{PLACE}/{number}.{agent}", agent, row) for number, row in enumerate(rows) for agent in row.agents]
    results = {}

    def work(task):
        path, agent, row = task
        results[id(row), agent] = run_row(agent, row, path)

    small = [task for task in tasks if len(task[2].body) < 10 * MIB]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, sorted(small, key=lambda task: task[2].gives_up)))  # those that wait begin
    for task in tasks:
        if task not in small:
            work(task)
    return results


# ---- the table ---------------------------------------------------------------------------------------------------------------

def table(results):
    lines = []
    for title, rows in SECTIONS.items():
        lines += [f"### {title}", "", "| | lda2lmtp | mail.lmtp | the script | lda2lmtp says |", "|---|---|---|---|---|"]
        for row in rows:
            cells = [results[id(row), agent].cell() if agent in row.agents else "" for agent in ("lda2lmtp", "mail.lmtp", "script")]
            said = re.sub(r"\(lmtp=\S+, ", "(", results[id(row), "lda2lmtp"].first.said).replace(str(PLACE), "…").replace("|", "\\|")
            lines.append(f"| {row.name} | {' | '.join(cells)} | {said and f'`{said}`'} |")
        lines.append("")
    return "\n".join(lines) + "\n"


def prepare():
    """The namespaces, the accounts, the programs where they are installed; no server of the stack is started."""
    enter()
    stack = Stack("virtual-users")
    PLACE.mkdir()
    (PLACE / "script").write_bytes((ROOT / "bench/lda2lmtp.py").read_bytes())
    (PLACE / "script").chmod(0o755)
    return stack


class AgentsTest(unittest.TestCase):
    stack = None

    @classmethod
    def setUpClass(cls):
        cls.results = run_rows([row for rows in SECTIONS.values() for row in rows])

    def test_lda2lmtp_neither_loses_nor_doubles_nor_bounces(self):
        bad = [f"{title}: {row.name}: {self.results[id(row), 'lda2lmtp']}" for title, rows in SECTIONS.items() for row in rows
               if self.results[id(row), "lda2lmtp"].outcome not in GOOD]
        self.assertEqual(bad, [])

    def test_who_may_have_delivered_says_so(self):
        silent = [row.name for rows in SECTIONS.values() for row in rows if self.results[id(row), "lda2lmtp"].outcome == "twice?"
                  and "may be delivered twice" not in self.results[id(row), "lda2lmtp"].first.said and "KILL" not in row.name]
        self.assertEqual(silent, [])

    def test_each_delivery_is_one_line_in_the_log(self):
        logged = [line for line in self.stack.syslog.lines if "lda2lmtp[" in line]
        checked = 0
        for (_, agent), result in self.results.items():
            first = result.first
            if agent == "lda2lmtp" and (first.status == "0" or f"(lmtp=unix:{first.path}," in first.said):
                lines = [line for line in logged if re.search(rf" lmtp=unix:{re.escape(first.path)}(\.second)? .* status=", line)]
                self.assertEqual(len(lines), 1, lines)
                self.assertIn(f" status={first.status} " if first.status.isdigit() else " status=75 ", lines[0])
                self.assertEqual("may be delivered twice" in lines[0], "may be delivered twice" in first.said)
                checked += 1
        self.assertGreater(checked, 80)

    def test_the_table_in_the_docs(self):
        self.assertEqual(WRITTEN.differences(table(self.results)), "", "if that is right, agents_test.py --write writes it")


def main():
    AgentsTest.stack = prepare()
    if sys.argv[1:] == ["--write"]:
        WRITTEN.write(table(run_rows([row for rows in SECTIONS.values() for row in rows])))
    elif sys.argv[1:2] == ["--row"]:
        rows = [row for rows in SECTIONS.values() for row in rows if sys.argv[2] in row.name]
        for (key, agent), result in run_rows(rows).items():
            print(next(row.name for row in rows if id(row) == key), agent, result.cell(), result.first, sep="\n    ")
    else:
        unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
