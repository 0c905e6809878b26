"""The filter, with --verify and --deliver, against an LMTP server that misbehaves: what the client is told, and where its mail is.

    in_session_test.py                 the table of docs/delivery.md is what happens, and nothing bad happens
    in_session_test.py --write         writes that table
    in_session_test.py --row TEXT      runs the rows whose name holds TEXT, and shows everything

Each row is one mail of one session with real smtpd. What is not delivered in the session is smtpd's, and its agent finds a server in
good health. What became of the mail is counted in the mailboxes of both servers.
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from document import Written
from smtp import message
from stack import ROOT, StackTest, main

sys.path.insert(0, str(ROOT / "tests/support"))
from lmtp_server import CAPABILITIES, CLOSE, COMMIT, DEAF, HALF_CLOSE, SAVED, SILENT, UNREAD, Server, words  # noqa: E402

WRITTEN = Written("in_session_test.py")
STORE, HEALTHY, KEY = "/run/store", "/run/healthy-store", "/etc/mailbridge.key"
MARK = b"X-Mailbridge-Delivered"
LARGE = (b"0123456789abcdef" * 60 + b"\r\n") * 1100  # a MiB
FULL = b"552 5.2.2 Quota exceeded"
DOWN = b"421 4.3.2 dovecot Shutting down"


@dataclass
class Row:
    name: str
    script: dict = field(default_factory=dict)
    body: bytes = b"Hello,\r\nthis is a mail.\r\n"
    recipients: int = 1
    permanent: bool = False  # the server says, about these recipients or this mail, what will be true tomorrow
    window: bool = False     # a reply to the dot does not come
    capabilities: tuple = CAPABILITIES
    byte_by_byte: bool = False
    pauses: bool = False     # the filter asks nobody about recipients for some seconds


def text(*lines):
    return b"".join(line.encode() + b"\r\n" for line in lines)


def replies(*lines):
    """To the dot, and who is told 2xx has the mail: in one write, as Dovecot says them."""
    def answer(talk):
        talk.commit([talk.recipients[i] for i, line in enumerate(lines) if line.startswith(b"2")])
        talk.say(b"".join(line + b"\r\n" for line in lines))
    return answer


SAID = b"250 2.0.0 Saved"
there = {"banner": "for a banner", "lhlo": "to LHLO", "mail": "to MAIL", "rcpt": "to RCPT", "dot": "to the dot"}

SECTIONS = {
    "When a recipient is verified": [
        Row("`550 5.1.1`, unknown user", {"probe rcpt": [b"550 5.1.1 no such user"]}, permanent=True),
        Row("`552 5.2.2`, mailbox full", {"probe rcpt": [FULL]}),
        Row("`452 4.2.2`, mailbox full", {"probe rcpt": [b"452 4.2.2 Quota exceeded"]}),
        Row("`451 4.3.0` to RCPT", {"probe rcpt": [b"451 4.3.0 Temporary internal error"]}),
        Row("`421` to RCPT", {"probe rcpt": [DOWN, CLOSE]}),
        Row("`354` to RCPT", {"probe rcpt": [b"354 OK"]}),
        Row("`554` to MAIL", {"probe mail": [b"554 5.3.0 No"]}),
        Row("garbage", {"probe rcpt": [b"was denn nun"]}),
        Row("closed after RCPT", {"probe rcpt": [CLOSE]}),
        Row("silent after RCPT", {"probe rcpt": [SILENT]}, pauses=True),
        Row("`500` to RSET", {"probe rset": [b"500 5.5.1 Unknown command"]}),
    ],
    "At any time": [
        *(Row(f"`{reply.split()[0].decode()}` {there[stage]}", {stage: [reply, CLOSE]})
          for reply in (DOWN, b"451 4.3.0 Temporary internal error", b"554 5.3.0 No") for stage in ("banner", "lhlo")),
        Row("closed before the banner", {"banner": [CLOSE]}),
        Row("silent instead of a banner", {"banner": [SILENT]}, pauses=True),
        Row("HTTP for a banner", {"banner": [text("HTTP/1.1 400 Bad Request", "Connection: close", "") + b"250 bad\r\n", CLOSE]}),
        Row("replies before the questions", {
            "banner": [text("220 dovecot", "250 dovecot", "250 2.1.0 OK", "250 2.1.5 OK", "354 OK", "250 2.0.0 Saved"), SILENT]}),
        Row("each byte in a segment of its own", byte_by_byte=True),
    ],
    "When the mail is delivered": [
        Row("no trouble"),
        Row("no trouble, with DATA", capabilities=("8BITMIME", "ENHANCEDSTATUSCODES", "PIPELINING")),
        Row("no trouble, no extensions", capabilities=()),
        *(Row(f"`421` {there[stage]}", {stage: [DOWN, CLOSE]}) for stage in ("mail", "rcpt", "dot")),
        *(Row(f"`451 4.3.0` {there[stage]}", {stage: [b"451 4.3.0 Temporary internal error"]}) for stage in ("mail", "rcpt", "dot")),
        *(Row(f"`554 5.3.0` {there[stage]}", {stage: [b"554 5.3.0 No"]}) for stage in ("mail", "rcpt", "dot")),
        Row("`421` to the dot, delivered", {"dot": [COMMIT, DOWN, CLOSE]}, window=True),
        Row("`550 5.1.1`, unknown user, to RCPT", {"rcpt": [b"550 5.1.1 no such user"]}, permanent=True),
        Row("`552 5.2.2`, mailbox full, to the dot", {"dot": [FULL]}, permanent=True),
        Row("`452 4.2.2`, mailbox full, to the dot", {"dot": [b"452 4.2.2 Quota exceeded"]}),
        Row("`451 4.2.0` to the dot", {"dot": [b"451 4.2.0 Execution of Sieve filters was aborted due to temporary failure"]}),
        Row("`554 5.7.1`, policy, to the dot", {"dot": [b"554 5.7.1 Rejected by policy"]}, permanent=True),
        Row("`552 5.3.4` while the mail is on its way, then closed", {"body": [UNREAD, b"552 5.3.4 Too big", CLOSE]}, LARGE, permanent=True),
        Row("closed after MAIL", {"mail": [CLOSE]}),
        Row("closed after RCPT", {"rcpt": [CLOSE]}),
        Row("closed in the middle of a large mail", {"body": [UNREAD, CLOSE]}, LARGE),
        Row("closed after the dot, nothing delivered", {"dot": [CLOSE]}),
        Row("closed after the dot, delivered, no reply", {"dot": [COMMIT, CLOSE]}, window=True),
        Row("closed in the middle of the reply to the dot", {"dot": [COMMIT, words(b"250 2.0.0 <row"), CLOSE]}, window=True),
        Row("closed after the reply to the dot", {"dot": [HALF_CLOSE, SAVED, CLOSE]}),
        Row("`421` right behind the reply to the dot", {"dot": [SAVED, DOWN, CLOSE]}),
        Row("silent after RCPT", {"rcpt": [SILENT]}),
        Row("reads no more of a large mail", {"body": [DEAF]}, LARGE),
        Row("silent after the dot, nothing delivered", {"dot": [SILENT]}),
        Row("silent after the dot, delivered", {"dot": [COMMIT, SILENT]}, window=True),
        Row("`200` to the dot", {"dot": [COMMIT, b"200 2.0.0 Saved"]}),
        Row("a reply to the dot of 8 KiB", {"dot": [COMMIT, b"250 2.0.0 " + b"x" * 8192]}),
        Row("a reply to the dot of 200 lines", {"dot": [COMMIT, b"250-2.0.0 Saved\r\n" * 199 + SAID]}),
        Row("`354` to the dot, nothing delivered", {"dot": [b"354 OK"]}),
        Row("`250` before the mail, nothing delivered", {"body": [b"250 2.0.0 Saved", SILENT]}, LARGE * 4),  # not taken in at once
        Row("garbage after the dot, delivered", {"dot": [COMMIT, b"was denn nun"]}, window=True),
    ],
    "When it is delivered to two": [
        Row("no trouble", recipients=2),
        Row("the first is unknown at RCPT", {"rcpt <{}>": [b"550 5.1.1 no such user"]}, recipients=2),
        Row("the first is full at the dot", {"dot": [replies(FULL, SAID)]}, recipients=2),
        Row("the second is full at the dot", {"dot": [replies(SAID, FULL)]}, recipients=2),
        Row("both are full at the dot", {"dot": [replies(FULL, FULL)]}, recipients=2, permanent=True),
        Row("one is full, the other for now", {"dot": [replies(FULL, b"452 4.2.2 Quota exceeded")]}, recipients=2),
        Row("one has it, the other `451 4.3.0`", {"dot": [replies(SAID, b"451 4.3.0 Temporary internal error")]}, recipients=2),
        Row("one has it, then closed", {"dot": [replies(SAID), CLOSE]}, recipients=2),
        Row("both have it, one reply, then closed", {"dot": [COMMIT, SAID, CLOSE]}, recipients=2, window=True),
        Row("both have it, one reply, then silent", {"dot": [COMMIT, SAID, SILENT]}, recipients=2, window=True),
        Row("both have it, one reply, then `421`", {"dot": [COMMIT, SAID, DOWN, CLOSE]}, recipients=2, window=True),
    ],
    "The mail": [
        Row("lines of dots, bare CR, 8-bit, a line of 5,000 bytes",
            body=b".\r\n..\r\n...\r\n.a\r\na\rb\r\n\xff\xfe Gr\xc3\xbc\xc3\x9fe\r\n" + b"x" * 5000 + b"\r\n"),
        Row("commands below a dot", body=b".\r\nMAIL FROM:<forged@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nsmuggled\r\n"),
        Row("an empty body", body=b""),
        Row("4 MiB", body=LARGE * 4),
    ],
}


@dataclass
class Result:
    answer: str      # of smtpd: the last line that the client saw
    outcome: str
    in_session: int  # copies
    queued: int
    said: str        # by the filter's log

    def cells(self):
        good = self.outcome in GOOD
        return f"`{self.answer}` | {self.outcome if good else f'**{self.outcome}**'} | {self.said}"


GOOD = ("delivered", "delivered from the queue", "partly from the queue", "refused", "the client tries again", "twice?")


def altered(mail, sent):
    """Headers may be added, and nothing else."""
    if MARK in mail.bytes:
        return True
    head, _, body = mail.bytes.partition(b"\n\n")
    sent_head, _, sent_body = sent.replace(b"\r\n", b"\n").partition(b"\n\n")
    lines = iter(head.split(b"\n"))
    return body != sent_body or not all(line in lines for line in sent_head.split(b"\n"))


class InSession(StackTest):
    def run_row(self, number, row):
        names = [f"row{number}{letter}@example.org" for letter in "ab"[:row.recipients]]
        self.store.capabilities, self.store.byte_by_byte = row.capabilities, row.byte_by_byte
        self.store.rewrite({stage.format(names[0]): steps for stage, steps in row.script.items()})
        self.healthy.mails = []
        since = self.stack.mark()
        sent = message(row.name, row.body, to=", ".join(names))
        outcome = self.stack.submit("sender@client.example.net", names, sent)
        self.stack.wait_queue_empty(30)
        in_session, queued = list(self.store.mails), list(self.healthy.mails)
        copies = {name: sum(mail.recipient == name for mail in in_session + queued) for name in names}
        if row.pauses:
            self.stack.restart_smtpd()
        answer = re.sub(r"^250 2\.0\.0 \w+ ", "250 2.0.0 … ", outcome.final.text)
        return Result(answer, self.judge(row, outcome.final.code // 100, in_session, queued, copies, sent), len(in_session), len(queued),
                      self.said(since) if ("C", "DATA") in outcome.said else "")

    @staticmethod
    def judge(row, kind, in_session, queued, copies, sent):
        fewest, most = min(copies.values()), max(copies.values())
        if any(altered(mail, sent) for mail in in_session + queued):
            return "altered"
        if kind != 2:
            if most > 0:
                return "refused though delivered" if kind == 5 else "twice"  # the client sends it again
            return "the client tries again" if kind == 4 else "refused" if row.permanent else "bounced"
        if fewest == 0:
            return "lost"
        if most > 1:
            return "twice?" if row.window else "twice"
        return "delivered" if not queued else "delivered from the queue" if not in_session else "partly from the queue"

    def said(self, since):
        """What is not as it should be, from the message's own line."""
        line = self.stack.wait_log(r"filter-mailbridge.*\bsession=.*result=", since)
        fields = re.findall(r'\b(delivered|lmtp_stage|lmtp_reply|lmtp_error|deliver_note)=("[^"]*"|\S+)', line)
        missed = any(name == "lmtp_stage" for name, _ in fields)  # a reply is logged for a delivery that was made, too
        return " ".join(f"`{name}={value}`" for name, value in fields if missed or name != "lmtp_reply")

    @classmethod
    def setUpClass(cls):
        cls.store, cls.healthy = Server(STORE, probes=True, nobody="no-such-user-"), Server(HEALTHY)

    def run_rows(self, wanted=""):
        rows = [row for rows in SECTIONS.values() for row in rows]
        return {id(row): self.run_row(number, row) for number, row in enumerate(rows) if wanted in row.name}

    def test_rows(self):
        results = self.run_rows()
        bad = [f"{title}: {row.name}: {results[id(row)]}" for title, rows in SECTIONS.items() for row in rows
               if results[id(row)].outcome not in GOOD]
        self.assertEqual(bad, [])
        silent = [row.name for rows in SECTIONS.values() for row in rows if results[id(row)].outcome == "twice?"
                  and "may be delivered twice" not in results[id(row)].said]
        self.assertEqual(silent, [])
        self.assertEqual(WRITTEN.differences(table(results)), "", "if that is right, in_session_test.py --write writes it")


def table(results):
    lines = []
    for title, rows in SECTIONS.items():
        lines += [f"### {title}", "", "| | the client is told | the mail | the log says |", "|---|---|---|---|"]
        lines += [f"| {row.name} | {results[id(row)].cells()} |" for row in rows] + [""]
    return "\n".join(lines) + "\n"


def prepare(stack):
    with open("/etc/smtpd-addresses", "a") as addresses:
        addresses.write("@example.org vmail\n")
    Path(KEY).write_text("a key for tests that is long enough for any")


class Shown(InSession):
    """For --write and --row."""

    def test_rows(self):
        if WANTED == "":
            WRITTEN.write(table(self.run_rows()))
        else:
            names = {id(row): row.name for rows in SECTIONS.values() for row in rows}
            for key, result in self.run_rows(WANTED).items():
                print(names[key], result, *self.stack.log_since(self.since, r"filter-mailbridge\[|lda2lmtp\["), sep="\n    ", flush=True)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    del sys.argv[1:]
    if arguments:
        WANTED = arguments[1] if arguments[0] == "--row" else ""
        del InSession.test_rows
    else:
        del Shown
    main(smtpd_conf=lambda conf: conf.replace("-l /run/dovecot/lmtp", f"-l {HEALTHY} --mark-key {KEY}"), prepare=prepare,
         filter_options=f"--lmtp unix:{STORE} --verify example.org --verify-timeout 1.5 --deliver --deliver-timeout 2.5 --mark-key {KEY}")
