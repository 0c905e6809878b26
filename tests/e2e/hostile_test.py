"""Clients that mean harm. After each row smtpd and the filter are the same processes, an ordinary mail goes through, rspamd was
told nothing but what smtpd knows, and of the row's mail the mailbox has all or, after a refusal, nothing."""

import re
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from smtp import message
from stack import CLIENT4, SMTPD, StackTest, eventually, main, run, running
from tap import Tap

LONGEST = 65485  # one byte more in a data-line, and smtpd's lookup process spins for ever
SMTPD_CUT = 1997 if SMTPD < (7, 4) else LONGEST  # before 7.4 smtpd copies what a filter sends back into LINE_MAX bytes
NAMELESS = "192.0.2.66"  # not in /etc/hosts: what smtpd calls it comes from DNS

HEAD = message("hostile").partition(b"\r\n\r\n")[0] + b"\r\n"
NOT_RFC_2822 = "^550 5.7.1 .*not RFC 2822 compliant"
PIPELINING = "^500 5.5.1 .*Pipelining"
TOO_LONG = "^554 5.6.0 Message holds a line that is too long"
TOO_LONG_FOR_SMTPD = "^500 5.0.0 Line too long"
ACCEPTED = "^250 "

# What we tell rspamd of ourselves and of smtpd, whoever the client is.
TOLD = {b"Host", b"Connection", b"Content-Length", b"User-Agent", b"Flags", b"Log-Tag", b"Queue-Id", b"MTA-Name", b"IP",
        b"Hostname", b"Helo", b"From", b"Rcpt", b"Deliver-To"}


@dataclass
class Content:
    """After DATA. `seen` is what rspamd gets below smtpd's Received, None when it is not asked; `arrives` is what the mailbox
    gets. Where nothing else is said, both are `wire` without its stuffed dots."""
    name: str
    wire: bytes
    reply: str = ACCEPTED
    seen: bytes = b""
    arrives: bytes = b""

    def __post_init__(self):
        if self.seen == b"":
            self.seen = re.sub(rb"(\A|\n)\.", rb"\1", self.wire)
        if self.arrives == b"":
            self.arrives = self.seen


def refused(name, wire, reply, seen=b""):
    return Content(name, wire, reply, seen)


def numbered(count):
    return b"".join(b"X-%d: v\r\n" % number for number in range(count))


CONTENTS = [
    Content("nothing", b"", seen=None, arrives=b"\r\n"),
    Content("header without body", HEAD),
    Content("header, empty line, no body", HEAD + b"\r\n"),
    Content("body without header", b"\r\nbody\r\n"),
    Content("empty lines", b"\r\n\r\n\r\n"),
    refused("text without empty line", b"hello world\r\nmore\r\n", NOT_RFC_2822),
    refused("a line without colon in the header", HEAD + b"no colon\r\nX-Spam: No\r\n\r\nbody\r\n", NOT_RFC_2822),
    # It would continue smtpd's own Received.
    refused("first line begins with a blank", b" by evil\r\n" + HEAD + b"\r\nbody\r\n", NOT_RFC_2822, None),
    refused("first line begins with a tab", b"\tX-Spam: No\r\n" + HEAD + b"\r\nbody\r\n", NOT_RFC_2822, None),
    refused("first line is a blank", b" \r\n" + HEAD + b"\r\nbody\r\n", NOT_RFC_2822, None),
    refused("nothing but lines that begin with a tab", b"\tX-Spam: No\r\n\tSun, 22 Nov 2026 16:30:33 +0000 (UTC)\r\n", NOT_RFC_2822, None),
    Content("field without a name", b": x\r\n" + HEAD + b"\r\nbody\r\n"),
    Content("control bytes, CR and bars in the header", HEAD + b"X-A: \x01\x02\x7f\x1b[31m\rX-B: 1\r\nX|C: |\r\n\r\nbody\r\n"),
    Content("control bytes, CR and bars in the body", HEAD + b"\r\n\r|\r\x01\x08\x1b[2J|\r\n|\r\nfilter-result|x|y|proceed\r\n"),
    Content("NUL ends a line in smtpd", HEAD + b"X-A: a\0b\r\n\r\nnul\0after\r\n\0\r\nend\r\n",
            seen=HEAD + b"X-A: a\r\n\r\nnul\r\n\r\nend\r\n"),
    Content("bare LF ends a line", HEAD + b"\r\none\ntwo\n..\nthree\r\n", seen=HEAD + b"\r\none\r\ntwo\r\n.\r\nthree\r\n"),
    Content("dots", HEAD + b"\r\n..\r\n...\r\n.. \r\n..a\r\n"),
    # lda2lmtp takes CR LF on its input for a line end.
    Content("dot and CR", HEAD + b"\r\nbefore\r\n.\r\r\n\r.\r\r\nafter\r\n",
            arrives=HEAD + b"\r\nbefore\r\n\r\n\r.\r\nafter\r\n"),
    Content("stuffed dots in the header", HEAD + b"..X: y\r\n\r\nbody\r\n"),
    # These end the message for smtpd, and what follows is a command too many.
    refused("dot and NUL", HEAD + b"\r\nbefore\r\n.\0\r\nafter\r\n", PIPELINING, HEAD + b"\r\nbefore\r\n"),
    refused("dot between bare LFs", HEAD + b"\r\nbefore\n.\nMAIL FROM:<>\r\n", PIPELINING, HEAD + b"\r\nbefore\r\n"),
    refused("pipelined after the dot", HEAD + b"\r\nbefore\r\n.\r\nRSET\r\n", PIPELINING, HEAD + b"\r\nbefore\r\n"),
    refused("a second mail after the dot",
            HEAD + b"\r\nbefore\r\n.\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\nSubject: x\r\n\r\n",
            PIPELINING, HEAD + b"\r\nbefore\r\n"),
    Content("100,000 header fields", numbered(100_000) + HEAD + b"\r\nbody\r\n"),
    Content("a header field of 1 MB", b"X-Big: a\r\n" + b" 0123456789abcdef0123456789abcdef0123456789abcde\r\n" * 20_000 + HEAD +
            b"\r\nbody\r\n"),
    Content("2,000 forged fields", b"X-Spam: No\r\n" * 2_000 + HEAD + b"\r\nbody\r\n",
            arrives=HEAD + b"\r\nbody\r\n"),
    Content("longest line", HEAD + b"\r\n" + b"y" * LONGEST + b"\r\n", arrives=HEAD + b"\r\n" + b"y" * SMTPD_CUT + b"\r\n"),
    Content("longest line of dots", HEAD + b"\r\n" + b"." * LONGEST + b"\r\n",
            arrives=HEAD + b"\r\n" + b"." * (SMTPD_CUT - 1) + b"\r\n"),
    Content("longest line in the header", HEAD + b"X-Big: " + b"y" * (LONGEST - 7) + b"\r\n\r\nbody\r\n",
            arrives=HEAD + b"X-Big: " + b"y" * (SMTPD_CUT - 7) + b"\r\n\r\nbody\r\n"),
    refused("one byte more", HEAD + b"\r\n" + b"y" * (LONGEST + 1) + b"\r\n", TOO_LONG, None),
    refused("one byte more in the header", HEAD + b"X: " + b"y" * (LONGEST - 2) + b"\r\n\r\nbody\r\n", TOO_LONG, None),
    refused("the longest line that smtpd takes", HEAD + b"\r\n" + b"y" * 65533 + b"\r\n", TOO_LONG, None),
    refused("one that it does not take", HEAD + b"\r\n" + b"y" * 65535 + b"\r\n", TOO_LONG_FOR_SMTPD, None),
    refused("a line without end", HEAD + b"\r\n" + b"y" * 300_000, TOO_LONG_FOR_SMTPD, None),
]

SYNTAX = "^(501|553) "
UNKNOWN_OPTION = "^503 "


@dataclass
class Envelope:
    name: str
    mail: bytes = b"<sender@src.example>"
    rcpt: bytes = b"<alice@example.org>"
    hello: bytes = b"EHLO client.example.net"
    before: bytes = b""  # a command after the greeting, refused by smtpd
    reply: str = ACCEPTED  # to the last command
    sender: bytes = b"<sender@src.example>"  # as rspamd is told


ENVELOPES = [
    Envelope("source route with line ends and control bytes", b"<a\rX-Injected\x01\x1b[2J\xe9:sender@src.example>"),
    Envelope("source route that is a bar", b"<|:sender@src.example>"),
    Envelope("source route of a field", b"<a\rIP:sender@src.example>"),
    Envelope("two colons", b"<a\rIP: 6.6.6.6:sender@src.example>", reply=SYNTAX),
    Envelope("source route that is one", b"<@a,@b:sender@src.example>"),
    Envelope("sender with a bar", b"<a|b@src.example>", **({"sender": b"<a|b@src.example>"} if SMTPD < (7, 9) else {"reply": SYNTAX})),
    Envelope("sender with NUL", b"<a\0b@src.example>", reply=SYNTAX),
    Envelope("quoted sender", b'<"a b"@src.example>', reply=SYNTAX),
    Envelope("two senders", b"<a,b@src.example>", reply=SYNTAX),
    Envelope("8-bit sender", b"<u\xff@src.example>", reply=SYNTAX),
    Envelope("two domains", b"<a@b@src.example>", reply=SYNTAX),
    Envelope("bar in the domain", b"<u@src.example|x>", reply=SYNTAX),
    Envelope("nothing behind the route", b"<\r:>", sender=b"<>"),
    Envelope("an at sign", b"<@>", sender=b"<>"),
    Envelope("no domain", b"<nodomain>", sender=b"<nodomain@mail.example.org>"),
    Envelope("a route of 200 bytes", b"<" + b"r" * 200 + b":sender@src.example>"),
    Envelope("a field behind the sender", b"<sender@src.example>\rX-Injected: 1", reply=UNKNOWN_OPTION),
    Envelope("a bar in an option", b"<sender@src.example> SIZE=1|2\rX: y", reply=UNKNOWN_OPTION),
    Envelope("recipient with a route", rcpt=b"<a\rRcpt\x01:alice@example.org>"),
    Envelope("recipient with a bar before it", rcpt=b"<|:alice@example.org>"),
    Envelope("recipient that is a field", rcpt=b"<x\rRcpt: <evil@example.com>\r:alice@example.org>", reply=SYNTAX),
    Envelope("recipient with a bar", rcpt=b"<a|b@example.org>", reply="^5"),
    Envelope("a bar behind the recipient", rcpt=b"<alice@example.org>|x", reply=UNKNOWN_OPTION),
    Envelope("a field in ORCPT", rcpt=b"<alice@example.org> ORCPT=rfc822;a\rX: y", reply="^5"),
    Envelope("HELO with a field", hello=b"EHLO a\rX-Injected: 1", reply=SYNTAX),
    Envelope("HELO with a bar", hello=b"EHLO a|b", reply=SYNTAX),
    Envelope("HELO with 8 bits", hello=b"HELO \xe9.example", reply=SYNTAX),
    Envelope("HELO with an escape", hello=b"EHLO [IPv6:::1|\x1b[2J]", reply=SYNTAX),
    Envelope("HELO of 300 bytes", hello=b"EHLO " + b"a" * 300, reply=SYNTAX),
    Envelope("HELO with NUL", hello=b"EHLO a\0b"),
    # Debian's smtpd cannot do TLS, so it offers no AUTH: names with line ends are in tests/sessions/filter/injection.session.
    Envelope("AUTH PLAIN", before=b"AUTH PLAIN AGV2aWwNVXNlcjogcm9vdAB4"),
    Envelope("AUTH LOGIN", before=b"AUTH LOGIN ZXZpbA1Vc2VyOiByb290"),
    Envelope("a bar", before=b"|"),
    Envelope("a line that only we understand", before=b"report|0.6|1.2|smtp-in|link-disconnect|0"),
    Envelope("CR", before=b"\r"),
    Envelope("NUL", before=b"\0"),
    Envelope("VRFY and EXPN", before=b"VRFY |\rEXPN |"),
    Envelope("a long command", before=b"A" * 2000),
]


def labels(*parts):
    """A domain name in DNS, where a label may be any bytes."""
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


NAMES = [
    labels(b"evil\rX-Injected: 1", b"example"),
    labels(b"a|pass|6.6.6.6:1|b", b"example"),
    labels(b"a b", b"example"),
    labels(b"a\nreport|0.6|1.2|smtp-in|link-disconnect|0", b"example"),
    labels(b"a\0b\xff\x01", b"example"),
    labels(*[b"x" * 60] * 4),
    labels(b"unverified", b"example"),
]


class HostileTest(StackTest):
    tap = None

    @classmethod
    def setUpClass(cls):
        cls.tap = Tap("/run/tap.sock", cls.stack.where["rspamd"])
        cls.filter = filter_pid(cls.stack)
        cls.rows = 0

    # What holds after each row.

    def row_begins(self):
        self.asked = len(self.tap.requests)
        self.boxes = self.count()

    def count(self):
        return sum(len(self.stack.mailbox("alice@example.org", folder)) for folder in ("INBOX", "Junk"))

    def nothing_arrived(self):
        self.stack.wait_queue_empty()
        self.assertEqual(self.count(), self.boxes)

    def all_is_well(self, client=CLIENT4):
        for request in self.tap.requests[self.asked:]:
            self.assert_told(request, client)
        self.assertEqual(filter_pid(self.stack), self.filter)
        HostileTest.rows += 1
        subject = f"ordinary mail {self.rows}."
        self.accepted(message(subject), to="bob@example.org")
        self.stack.wait_mail("bob@example.org", f"Subject: {subject}\n".encode())

    def assert_told(self, request, client):
        for line in request.head.split(b"\r\n")[1:-2]:
            self.assertRegex(line, rb"\A[A-Za-z-]+: [\x20-\x7e]+\Z")
        names = [name for name in request.names if name != b"Rcpt"]
        self.assertEqual(len(names), len(set(names)), request.head)
        self.assertLessEqual(set(names), TOLD)
        self.assertEqual(request.values(b"IP"), [client.encode()])
        self.assertEqual(request.values(b"Rcpt"), [b"<alice@example.org>"])

    def mail_of(self, reply):
        """What arrived of the mail that smtpd accepted with this reply."""
        here = b"SMTP id " + reply.split()[2].encode() + b"\n"

        def find():
            return [mail for folder in ("INBOX", "Junk") for mail in self.stack.mailbox("alice@example.org", folder)
                    if here in mail]

        mails = eventually(find, f"the mail of {reply!r} arrives")
        self.assertEqual(len(mails), 1)
        return mails[0]

    def assert_arrived(self, stored, sent):
        """The body byte for byte, every header line in its place."""
        sent_head, empty_line, body = sent.replace(b"\r\n", b"\n").partition(b"\n\n")
        if sent.startswith(b"\r\n"):
            sent_head, body = b"", sent.replace(b"\r\n", b"\n")[1:]
        head, _, stored_body = stored.partition(b"\n\n")
        self.assertEqual(stored_body, body)
        lines = iter(head.split(b"\n"))
        for line in sent_head.rstrip(b"\n").split(b"\n"):
            if line:
                self.assertIn(line, lines)

    # The tables.

    def test_contents(self):
        for row in CONTENTS:
            with self.subTest(row.name):
                self.row_begins()
                with self.stack.session() as session:
                    session.envelope("sender@src.example", ["alice@example.org"])
                    session.raw(row.wire + b".\r\n")
                    reply = session.reply().text
                self.assertRegex(reply, row.reply)
                if re.match(ACCEPTED, reply):
                    self.assert_arrived(self.mail_of(reply), row.arrives)
                else:
                    self.nothing_arrived()
                asked = self.tap.requests[self.asked:]
                if row.seen is None:
                    self.assertEqual(asked, [])
                for request in asked:  # a client that smtpd throws out can be too fast for a scan
                    self.assertRegex(request.message, rb"\AReceived: from client\.example\.net ")
                    if request.whole:
                        self.assertTrue(request.message.endswith(b" (UTC)\r\n" + row.seen), request.message[-300:])
                if row.seen is not None and re.match(ACCEPTED, reply):
                    self.assertEqual([request.whole for request in asked], [True])
                self.all_is_well()

    def test_envelopes(self):
        for row in ENVELOPES:
            with self.subTest(row.name):
                self.row_begins()
                with self.stack.session(helo=None) as session:
                    reply = self.dialogue(session, row)
                self.assertRegex(reply, row.reply)
                if re.match(ACCEPTED, reply):
                    self.assertNotRegex(self.mail_of(reply), rb"(?m)^(X-Injected|IP|User)\b")
                    asked = self.tap.requests[self.asked:]
                    self.assertEqual([request.values(b"From") for request in asked], [[row.sender]])
                else:
                    self.nothing_arrived()
                self.all_is_well()

    def dialogue(self, session, row):
        """The reply to the first command that smtpd refuses, or to the dot."""
        if (reply := session.command(row.hello)).code >= 400:
            return reply.text
        if row.before:
            self.assertEqual(session.command(row.before).code // 100, 5)
        for command in (b"MAIL FROM:" + row.mail, b"RCPT TO:" + row.rcpt, b"DATA"):
            if (reply := session.command(command)).code >= 400:
                return reply.text
        session.content(HEAD + b"\r\nbody\r\n")
        return session.dot().text

    def test_names(self):
        """What the client's own DNS calls it."""
        run("ip", "address", "add", f"{NAMELESS}/32", "dev", "lo")
        resolv_conf, dnsmasq_conf = Path("/etc/resolv.conf"), Path("/etc/dnsmasq-test.conf")
        usual = resolv_conf.read_text(), dnsmasq_conf.read_text()
        resolv_conf.write_text("nameserver 127.0.0.1\nlookup file bind\n")
        reverse = ".".join(reversed(NAMELESS.split(".")))
        try:
            self.stack.restart_smtpd()
            for name in NAMES:
                with self.subTest(name):
                    self.stack.dnsmasq.stop()
                    dnsmasq_conf.write_text(f"{usual[1]}dns-rr={reverse}.in-addr.arpa,12,{name.hex()}\n")
                    self.stack.dnsmasq.start()
                    HostileTest.filter = filter_pid(self.stack)
                    self.row_begins()
                    outcome = self.accepted(HEAD + b"\r\nbody\r\n", source=NAMELESS)
                    stored = self.mail_of(outcome.final.text)
                    self.assertNotRegex(stored, rb"(?m)^X-Injected\b")
                    received = re.search(rb"^Received: from client\.example\.net \((.*) \[", stored, re.MULTILINE)[1]
                    self.assertRegex(received, rb"\A(|<unknown>|x{60}\.x{1,60}(\.x{1,60})*|unverified\.example)\Z")
                    self.assertEqual([request.values(b"Hostname") for request in self.tap.requests[self.asked:]], [[]])
                    self.all_is_well(NAMELESS)
            self.assertEqual(received, b"unverified.example")  # so the others were asked for, too
        finally:
            resolv_conf.write_text(usual[0])
            dnsmasq_conf.write_text(usual[1])
            self.stack.dnsmasq.stop()
            self.stack.dnsmasq.start()
            self.stack.restart_smtpd()
            HostileTest.filter = filter_pid(self.stack)

    def test_clients_that_leave(self):
        stages = [b"EHLO client.example.net\r\n", b"MAIL FROM:<sender@src.example>\r\n", b"RCPT TO:<alice@example.org>\r\n",
                  b"DATA\r\n"]
        begun = [b"", b"Sub", b"Subject: x", b"Subject: x\r", HEAD, HEAD + b"\r\n", HEAD + b"\r\nhalf a l",
                 HEAD + b"\r\nbody\r\n", HEAD + b"\r\nbody\r\n.", HEAD + b"\r\nbody\r\n.\r", HEAD + b"\r\n" + b"body\r\n" * 50_000]
        leave = {"closes": lambda peer: None,
                 "resets": lambda peer: peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
                 "stops sending": lambda peer: peer.shutdown(socket.SHUT_WR)}
        for how, act in leave.items():
            with self.subTest(how):
                self.row_begins()
                for count in range(len(stages) + 1):
                    for content in begun if count == len(stages) else [b""]:
                        with self.stack.session(helo=None) as session:
                            for command in stages[:count]:
                                session.raw(command)
                                session.reply()
                            session.raw(content)
                            act(session.socket)
                            if how == "stops sending":
                                session.reader.read()
                self.nothing_arrived()
                self.assertEqual(len(self.tap.requests), self.asked)
                self.all_is_well()

    def test_a_client_that_leaves_after_the_dot(self):
        """Whether it gets the reply or not: one copy at most."""
        self.row_begins()
        with self.stack.session() as session:
            session.envelope("sender@src.example", ["alice@example.org"])
            session.raw(HEAD + b"\r\nbody\r\n.\r\n")
        self.our_line("from=sender@src.example")
        self.stack.wait_queue_empty()
        self.assertLessEqual(self.count() - self.boxes, 1)
        self.all_is_well()

    def test_pipelined_from_the_start(self):
        self.row_begins()
        with self.stack.session(helo=None) as session:
            session.raw(b"EHLO client.example.net\r\nMAIL FROM:<sender@src.example>\r\nRCPT TO:<alice@example.org>\r\n"
                        b"DATA\r\n" + HEAD + b"\r\nbody\r\n.\r\nQUIT\r\n")
            self.assertRegex(session.reply().text, PIPELINING)
        self.nothing_arrived()
        self.all_is_well()

    def test_a_byte_at_a_time(self):
        self.row_begins()
        with self.stack.session(helo=None) as session:
            session.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for command in (b"EHLO client.example.net", b"MAIL FROM:<sender@src.example>", b"RCPT TO:<alice@example.org>",
                            b"DATA", HEAD + b"\r\n..\r\nbody\r\n."):
                for byte in command + b"\r\n":
                    session.raw(bytes([byte]))
                reply = session.reply()
        self.assertEqual(reply.code, 250, reply)
        self.assert_arrived(self.mail_of(reply.text), HEAD + b"\r\n.\r\nbody\r\n")
        self.all_is_well()


def filter_pid(stack):
    return eventually(lambda: running(stack.smtpd.process.pid, "filter-mailbridge"), "the filter runs")[0]


if __name__ == "__main__":
    main(smtpd_conf=lambda text: text.replace("unix:/run/rspamd/scan.sock", "unix:/run/tap.sock"),
         rspamd={"override.d/actions.conf": "reject = 1000;\nadd_header = 900;\ngreylist = 800;\n"})  # it dislikes them
