"""Mail that leaves: signed at the filter, changed by smtpd, relayed, and verified by rspamd as a stranger would. And mail that
comes in, sealed with ARC, as dkimpy sees it."""

import json
import os
import re
import signal
import textwrap

import dkim

from smtp import Sink, message
from stack import CLIENT4, SINK, StackError, StackTest, command_line, descendants, enter, eventually, header, main, run

PORT = 2525


def key():
    """(private key, the record of the public one)."""
    text = run("rspamadm", "dkim_keygen", "-d", "example.org", "-s", "test", "-b", "2048")
    private = re.search(r"-----BEGIN.*?-----END[^-]*-----\n", text, re.S).group()
    record = "".join(re.findall(r'"([^"]*)"', text[text.index(private) + len(private):]))
    return private, record


def published(record):
    """The line of dnsmasq."""
    pieces = ",".join(f'"{piece}"' for piece in textwrap.wrap(record, 250, break_on_hyphens=False, drop_whitespace=False))
    return f"txt-record=test._domainkey.example.org,{pieces}\n"


class OutboundTest(StackTest):
    def symbols(self, mail):
        status, body = self.stack.scan(mail, f"IP: {CLIENT4}\r\nFrom: alice@example.org\r\nRcpt: someone@sink.example.com\r\n")
        self.assertEqual(status, 200)
        return json.loads(body)["symbols"]

    def relayed(self, mail):
        """From this host, so it is ours to sign."""
        count = len(sink.mails)
        self.accepted(mail, sender="alice@example.org", to="someone@sink.example.com", address=("127.0.0.1", 25),
                      source="127.0.0.1")

        def story():
            return "the mail is relayed; the log ends\n" + "\n".join(self.stack.syslog.lines[-15:])

        eventually(lambda: len(sink.mails) > count, story)
        return sink.mails[-1]

    def signed(self, body):
        mail = self.relayed(message("outbound", body, sender="alice@example.org", to="someone@sink.example.com"))
        self.assertEqual(len(header(mail, b"DKIM-Signature")), 1, mail)
        self.assertIn("R_DKIM_ALLOW", self.symbols(mail))
        return mail

    def test_plain(self):
        mail = self.signed(b"Hello,\r\nthis leaves.\r\n")
        # The proof that the check can fail.
        self.assertIn("R_DKIM_REJECT", self.symbols(mail.replace(b"this leaves", b"that leaves")))

    def test_dots_and_blanks(self):
        self.signed(b".\r\n.. dots\r\n\r\ntrailing blanks  \t\r\n\r\n\r\n")

    def test_no_final_line_end(self):
        self.signed(b"the last line has none")

    def test_eight_bit(self):
        self.signed("grüße, привет\r\n".encode())

    def test_bare_carriage_return(self):
        self.signed(b"one\rtwo\r\n")

    def test_strangers_mail_is_not_signed(self):
        self.accepted(message("inbound"))
        stored = self.stack.wait_mail("alice@example.org", b"Subject: inbound\n")
        self.assertEqual(header(stored, b"DKIM-Signature"), [])


ARC = ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"]


class ArcTest(StackTest):
    """rspamd before 4.1.0 names the three fields in any order, and in another one when it has read its configuration again."""

    def restart_worker(self):
        worker = self.worker()
        os.kill(self.stack.rspamd.process.pid, signal.SIGHUP)
        eventually(lambda: self.worker() not in (None, worker), "rspamd starts another worker")

    def worker(self):
        for pid in descendants(self.stack.rspamd.process.pid):
            if b"rspamd: normal process" in command_line(pid):
                return pid
        return None

    def order_of_rspamd(self, mail):
        status, body = self.stack.scan(mail, f"IP: {CLIENT4}\r\nFrom: a@client.example.net\r\nRcpt: alice@example.org\r\n"
                                             "Flags: milter\r\n")
        self.assertEqual(status, 200)
        return [name for name in json.loads(body)["milter"]["add_headers"] if name in ARC]

    def test_each_set_is_in_order_and_valid(self):
        orders = set()
        for n in range(20):
            self.restart_worker()
            mail = message(f"sealed {n}")
            orders.add(" ".join(self.order_of_rspamd(mail)))
            self.accepted(mail)
            stored = self.stack.wait_mail("alice@example.org", b"Subject: sealed %d\n" % n)
            names = re.findall(r"^([\w-]+):", stored.partition(b"\n\n")[0].decode(), re.M)
            self.assertEqual([name for name in names if name in ARC], ARC)
            status, sets, reason = dkim.arc_verify(stored, dnsfunc=lambda *_, **__: record.encode())
            self.assertEqual((status, len(sets)), (dkim.CV_Pass, 1), reason)
        print("rspamd's own orders:", *orders, sep="\n  ", flush=True)


if __name__ == "__main__":
    private, record = key()
    domain = 'domain { example.org { path = "/etc/rspamd/dkim/test.key"; selector = "test"; } }\n'
    relay = f'action "outbound" relay host smtp+notls://{SINK}:{PORT}'

    def relay_to_sink(text):
        if 'action "outbound" relay\n' not in text:
            raise StackError("smtpd.conf has another action for outbound mail now")
        return text.replace('action "outbound" relay\n', relay + "\n")

    enter()
    sink = Sink((SINK, PORT))
    main(smtpd_conf=relay_to_sink, dns=published(record), rspamd={
        "dkim/test.key": private,
        "local.d/dkim_signing.conf": domain, "local.d/arc.conf": domain})
