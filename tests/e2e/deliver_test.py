"""Delivery while the client waits: real smtpd, rspamd and Dovecot, with quota and Sieve."""

import base64
import hashlib
import hmac
import os
import re
import shutil
import signal
import time
from pathlib import Path

from smtp import message
from stack import LMTP_FOR_FILTER, StackTest, descendants, header, main, run

KEY = "/etc/mailbridge.key"
CONFIG = Path("/etc/filter-mailbridge.toml")
MARK = b"X-Mailbridge-Delivered"


def options(deliver=True, **more):
    lines = ["rspamd = 'unix:/run/rspamd/scan.sock'", "lmtp = '/run/dovecot/lmtp-filter'", "verify = 'example.org'",
             f"deliver = {str(deliver).lower()}", f"mark-key = '{KEY}'", *(f"{name} = {value}" for name, value in more.items())]
    return "\n".join(lines) + "\n"


def prepare(_):
    Path(KEY).write_text("0123456789abcdef" * 4 + "\n")
    shutil.chown(KEY, "opensmtpd", "vmail")
    os.chmod(KEY, 0o440)
    CONFIG.write_text(options())


def with_key(text):
    text = re.sub(r'proc-exec "filter-mailbridge[^"]*"', f'proc-exec "filter-mailbridge --config {CONFIG}"', text)
    return text.replace("-l /run/dovecot/lmtp", f"-l /run/dovecot/lmtp --mark-key {KEY}")


def without_trace(mail):
    """Without what two deliveries of one mail do not share: ids and dates in the fields that say how it came, and the order in which
    rspamd lists its symbols."""
    head, _, body = mail.partition(b"\n\n")
    fields = re.split(rb"\n(?![ \t])", head)
    for i, field in enumerate(fields):
        if field.lower().startswith(b"received:"):
            field = re.sub(rb"\bid \S+", b"id ID", field)
            fields[i] = re.sub(rb"(;\s+).*\Z", rb"\1DATE", field, flags=re.DOTALL)
        if field.startswith(b"X-Spamd-Result:"):
            fields[i] = b"X-Spamd-Result"
    return b"\n".join(fields) + b"\n\n" + body


class DeliverTest(StackTest):
    def tearDown(self):
        super().tearDown()
        # Each mail is in its mailbox once, and no mark ever is.
        for user in ("alice", "bob", "carol"):
            for folder in ("INBOX", "Junk"):
                mails = self.stack.mailbox(f"{user}@example.org", folder)
                ids = [header(mail, b"Message-ID")[0] for mail in mails if header(mail, b"Message-ID")]
                self.assertEqual(len(ids), len(set(ids)), f"twice in {folder} of {user}")
                for mail in mails:
                    self.assertNotIn(MARK, mail.partition(b"\n\n")[0])

    def copies(self, subject, recipient="alice@example.org", folder="INBOX"):
        """At once: nothing is waited for."""
        return [mail for mail in self.stack.mailbox(recipient, folder) if f"Subject: {subject}\n".encode() in mail]

    def set_options(self, **more):
        since = self.stack.mark()
        CONFIG.write_text(options(**more))
        for pid in descendants(self.stack.smtpd.process.pid):
            if Path(f"/proc/{pid}/comm").read_text().startswith("filter-mail"):
                os.kill(pid, signal.SIGHUP)
        self.stack.wait_log("the settings were read again", since)

    def queued_copy(self, mail, **options):
        """What smtpd has of an accepted message, before an agent gets it."""
        run("smtpctl", "pause", "mda")
        try:
            self.accepted(mail, **options)
            return run("smtpctl", "show", "message", self.stack.queue()[0][:8]).encode()
        finally:
            run("smtpctl", "resume", "mda")


class InTheSession(DeliverTest):
    def test_in_the_mailbox_before_the_reply(self):
        self.accepted(message("before the reply"))
        copies = self.copies("before the reply")
        self.assertEqual(len(copies), 1)
        self.assertEqual(len(header(copies[0], b"Return-Path")), 1)
        self.assertEqual(header(copies[0], b"Delivered-To"), [b"alice@example.org"])
        self.assertEqual(len(header(copies[0], b"Received")), 2, "smtpd's and Dovecot's")
        self.stack.wait_queue_empty()
        self.assertEqual(len(self.copies("before the reply")), 1)
        self.our_line(r"delivered=1/1 lmtp=\S+ deliver_ms=\d+ answer=proceed")
        self.stack.wait_log('lda2lmtp.* outcome=delivered by="the filter"', self.since)

    def test_the_queued_copy_is_the_mark_and_the_header(self):
        copy = self.queued_copy(message("the queued copy", b"the body\r\n"), to=["alice@example.org", "bob@example.org"])
        self.assertTrue(copy.startswith(MARK + b": id="), copy)
        self.assertIn(b"\n\tto=<alice@example.org>,\n\t<bob@example.org>;\n\tseal=", copy)
        self.assertIn(b"Subject: the queued copy\n", copy)
        self.assertNotIn(b"the body", copy)
        text = re.sub(rb"\s", b"", copy.partition(b"seal=")[0].partition(b":")[2]).rstrip(b";")
        seal = hmac.new(Path(KEY).read_bytes().strip(), text, hashlib.sha256).digest()
        self.assertIn(b"seal=" + base64.b64encode(seal) + b"\n", copy)

    def test_a_detail_and_capitals(self):
        for recipient in ("alice+Folder@example.org", "Alice@Example.ORG"):
            with self.subTest(recipient):
                subject = f"to {recipient}"
                since = self.stack.mark()
                self.accepted(message(subject), to=recipient)
                self.assertEqual(len(self.copies(subject)), 1)
                self.stack.wait_log('lda2lmtp.* by="the filter"', since)

    def test_the_null_sender(self):
        self.accepted(message("from nobody"), sender="")
        self.assertEqual(len(self.copies("from nobody")), 1)

    def test_several_messages_in_a_session(self):
        with self.stack.session() as session:
            for number in range(5):
                session.envelope("sender@client.example.net", ["alice@example.org", "bob@example.org"])
                session.content(message(f"series {number}"))
                self.assertEqual(session.dot().code, 250)
                self.assertEqual(len(self.copies(f"series {number}")), 1)
                self.assertEqual(len(self.copies(f"series {number}", "bob@example.org")), 1)

    def test_what_is_refused_is_not_delivered(self):
        self.refused(message("[spam] for sale"), "554 5.7.1 Spam message rejected")
        self.assertEqual(self.copies("[spam] for sale"), [])

    def test_junk_is_filed(self):
        self.accepted(message("[junk] offers"))
        self.assertEqual(len(self.copies("[junk] offers", folder="Junk")), 1)


class WhatDovecotSays(DeliverTest):
    def test_others_beside_dovecots(self):
        self.accepted(message("mixed"), to=["alice@example.org", "alice@example.net"])
        for recipient in ("alice@example.org", "alice@example.net"):
            stored = self.stack.wait_mail(recipient, b"Subject: mixed\n")
            self.assertNotIn(MARK, stored)
            self.assertTrue(stored.endswith(b"this is a mail.\n"))
        self.assertEqual(len(self.copies("mixed")), 1)
        self.our_line("rcpts=2 .*left_to_smtpd=recipients")

    def test_full_at_the_end_of_data(self):
        outcome = self.send(message("too much", b"More than her quota.\r\n" * 1000), to="carol@example.org")
        self.assertEqual(outcome.final.text, "552 5.2.2 Mailbox is full")
        self.assertEqual(self.stack.queue(), [])
        self.assertEqual(self.copies("too much", "carol@example.org"), [])
        self.our_line("delivered=0/1 .*lmtp_stage=dot lmtp_reply=.*result=rolled-back")

    def test_full_for_now(self):
        local = Path("/etc/dovecot/local.conf")
        before = local.read_text()

        def restart(text):
            local.write_text(text)
            self.stack.dovecot.stop()
            self.stack.dovecot.start()

        self.addCleanup(restart, before)
        restart(before + "quota_full_tempfail = yes\n")
        outcome = self.send(message("too much now", b"More than her quota.\r\n" * 1000), to="carol@example.org")
        self.assertEqual(outcome.final.text, "452 4.2.2 Mailbox is full")
        self.assertEqual(self.stack.queue(), [])

    def test_one_is_full(self):
        mail = message("one is full", b"More than her quota.\r\n" * 1000)
        self.accepted(mail, to=["carol@example.org", "alice@example.org"], sender="")
        self.assertEqual(len(self.copies("one is full")), 1)
        self.stack.wait_log("lda2lmtp.* outcome=refused reply=.*5.2.2", self.since)  # her bounce has nobody to go to

    def test_sieve_rejects(self):
        """Dovecot says that it is delivered, and writes to the sender itself: this one has no address."""
        script = Path("/var/mail/vhosts/example.org/bob/.dovecot.sieve")
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text('require "reject";\nif header :contains "Subject" "sieve rejects" { reject "no"; }\n')
        run("chown", "-R", "vmail:vmail", "/var/mail/vhosts/example.org")
        self.addCleanup(script.unlink)
        self.accepted(message("sieve rejects"), to="bob@example.org", sender="")
        self.stack.wait_queue_empty()
        self.assertEqual(self.copies("sieve rejects", "bob@example.org"), [])
        self.our_line("delivered=1/1")

    def test_dovecot_is_stopped(self):
        self.accepted(message("before it stops"))
        self.stack.dovecot.stop()
        self.accepted(message("while it is stopped"))
        self.our_line("delivered=0/1 .*lmtp_stage=connect")
        self.assertEqual(len(self.stack.queue()), 1)
        self.stack.dovecot.start()
        self.stack.retry_now()
        self.stack.wait_mail("alice@example.org", b"Subject: while it is stopped\n")
        for number in range(100):  # for some seconds the filter tries nothing
            since = self.stack.mark()
            self.accepted(message(f"when it is back {number}"))
            line = self.stack.wait_log("filter-mailbridge.* result=committed", since)
            if "delivered=1/1" in line:
                return
            self.assertIn("left_to_smtpd=silence", line)
            time.sleep(0.5)
        self.fail("never again")

    def test_discard(self):
        self.accepted(message("[discard] away"), to=["alice@example.org", "bob@example.org"])
        self.stack.wait_queue_empty()
        self.our_line("discarded=2 answer=proceed result=committed")
        self.assertEqual(self.copies("[discard] away") + self.copies("[discard] away", "bob@example.org"), [])

    def test_discard_for_one_of_two_ways(self):
        self.accepted(message("[discard] not quite"), to=["alice@example.org", "alice@example.net"])
        for recipient in ("alice@example.org", "alice@example.net"):
            stored = self.stack.wait_mail(recipient, b"[discard] not quite")
            self.assertEqual(header(stored, b"X-Rspamd-Action"), [b"discard"])


class Marks(DeliverTest):
    def test_forged_and_replayed(self):
        mark = re.match(rb".*?seal=[^\n]*\n", self.queued_copy(message("the first")), re.DOTALL).group()
        forged = mark.replace(b"\n", b"\r\n")
        folded = forged.replace(b"X-Mailbridge-Delivered:", b"x-mailbridge-DELIVERED :\r\n")
        for deliver in (True, False):
            self.set_options(deliver=deliver)
            for number, fields in enumerate((forged, folded)):
                subject = f"replayed {number}{deliver}"
                self.accepted(message(subject, extra=fields))
                self.stack.wait_queue_empty()
                copies = self.copies(subject) + self.copies(subject, folder="Junk")  # rspamd does not like how some begin
                self.assertEqual(len(copies), 1)
        self.set_options()

    def test_the_agent_believes_no_other_mark(self):
        text = b"id=0a1b2c3d;to=<alice@example.org>"
        seal = base64.b64encode(hmac.new(Path(KEY).read_bytes().strip(), text, hashlib.sha256).digest())
        mark = MARK + b": id=0a1b2c3d;\n\tto=<alice@example.org>;\n\tseal=" + seal + b"\n"
        trace = b"Return-Path: <s@x.example>\nDelivered-To: alice@example.org\n"
        received = b"Received: from x\n\tby mail.example.org (OpenSMTPD) with ESMTP id %s;\n\tnow\n"
        rows = [("the one it was made for", trace + mark + received % b"0a1b2c3d", 0),
                ("another message", trace + mark + received % b"0a1b2c3e", 1),
                ("below the trace", trace + received % b"0a1b2c3d" + mark, 1),
                ("another seal", trace + mark.replace(seal, seal[::-1]) + received % b"0a1b2c3d", 1)]
        for name, head, delivered in rows:
            with self.subTest(name):
                subject = f"by hand {name}"
                mail = head + f"Subject: {subject}\n".encode() + b"\nbody\n"
                status, said = self.stack.run_agent(mail, "-l", "/run/dovecot/lmtp", "--mark-key", KEY, sender="s@x.example",
                                                    recipient="alice@example.org")
                self.assertEqual((status, said), (0, b""))
                copies = self.copies(subject)
                self.assertEqual(len(copies), delivered)
                if name == "below the trace":  # an agent cuts out what is a mark, and this is none
                    for file in (self.stack.maildir("alice@example.org") / "new").iterdir():
                        if MARK in file.read_bytes():
                            file.unlink()


class WhatSmtpdRefuses(DeliverTest):
    """After our proceed. What filter/smtpd_rules.cpp says of it, and smtpd itself."""

    ROWS = [  # name, fields, smtpd's code, left to smtpd
        ("a line without a colon", b"this is no field\r\n", 550, True),
        ("a line of blanks and text", b"Subject: x\r\nno field, too\r\n", 550, True),
        ("a name of 1,100 bytes", b"X" * 1100 + b": x\r\n", 550, True),
        ("two names of 600 bytes", b"X" * 600 + b": x\r\n" + b"Y" * 600 + b": x\r\n", 550, True),
        ("a name of 500 bytes", b"X" * 500 + b": x\r\n", 250, False),
        ("a name of 600 bytes", b"X" * 600 + b": x\r\n", 250, True),
        ("Cc of 70 kB", b"Cc: " + b"a@b.example,\r\n " * 5000 + b"a@b.example\r\n", 550, True),
        ("Cc of 30 kB", b"Cc: " + b"a@b.example,\r\n " * 2000 + b"a@b.example\r\n", 250, False),
        ("X-Long of 70 kB", b"X-Long: " + b"a@b.example,\r\n " * 5000 + b"a@b.example\r\n", 250, False),
        ("98 hops and smtpd's", b"Received: by x\r\n" * 98, 250, False),
        ("99 hops and smtpd's", b"Received: by x\r\n" * 99, 500, True),
        ("a blank before the colon", b"X-Odd : x\r\n", 250, False),
        ("a field without a name", b": x\r\n", 250, True),
    ]

    def test_the_table(self):
        for name, fields, code, left in self.ROWS:
            with self.subTest(name):
                since = self.stack.mark()
                outcome = self.send(message(name, extra=fields))
                self.assertEqual(outcome.final.code, code, outcome.final)
                line = self.stack.wait_log(r"filter-mailbridge.*\bsession=.*result=", since)
                self.assertEqual("left_to_smtpd=" in line, left, line)
                self.stack.wait_queue_empty()
                copies = self.copies(name) + self.copies(name, folder="Junk")
                self.assertEqual(len(copies), int(code == 250))

    def test_mail_that_comes_back(self):
        """smtpd bounces it before it runs an agent; from the null sender that is its end."""
        self.accepted(message("it comes back", extra=b"Delivered-To: alice@example.org\r\n"), sender="")
        self.stack.wait_log("result=PermFail .*[Ll]oop", self.since)
        self.assertEqual(self.copies("it comes back"), [])


class TheSameBothWays(DeliverTest):
    """The bytes in the mailbox, whichever way they went."""

    def rows(self):
        yield "plain", message("both ways"), {}
        yield "eight bits", message("both ways", bytes(range(0x80, 0x100)) + "grüße\r\n".encode()), {}
        yield "dots", message("both ways", b".\r\n..\r\n.a\r\n\r\n.\r\n"), {}
        yield "long lines", message("both ways", (b"y" * 1990 + b"\r\n") * 3 + b"." * 1000 + b"\r\n"), {}
        yield "control bytes", message("both ways", bytes(b for b in range(1, 32) if b not in b"\r\n") + b"\x7f\r\n"), {}
        yield "bare CR", message("both ways", b"one\rtwo\r\n\rthree\r\nfour \r five\r\n"), {}
        yield "NUL", message("both ways", b"before\0after\r\n"), {}
        yield "blank lines", message("both ways", b"text\r\n\r\n \r\n\t\r\n\r\n"), {}
        yield "no body", message("both ways", b""), {}
        yield "header alone", b"Subject: both ways\r\n", {}
        yield "the null sender", message("both ways"), {"sender": ""}
        yield "a detail", message("both ways"), {"to": "alice+x@example.org"}
        yield "names without a domain", message("both ways", to="alice, \"B\" <bob>, c@example.net", extra=b"Bcc: secret\r\n"), {}
        yield "junk", message("[junk] both ways"), {}
        yield "odd fields", message("both ways", extra=b"X-Empty:\r\nX-Fold: a\r\n\tb\r\n  c\r\nX-Odd : d\r\nto: bob\r\n"), {}
        yield "a list without an end", message("both ways", extra=b"Cc: undisclosed:;, \"a\\\"b\" <c>, (d) e\r\n"), {}

    def everything(self):
        return [(folder, mail) for folder in ("INBOX", "Junk") for mail in self.stack.mailbox("alice@example.org", folder)]

    def test_the_comparison(self):
        for name, mail, more in self.rows():
            with self.subTest(name):
                stored = []
                for deliver in (True, False):
                    self.set_options(deliver=deliver)
                    since = self.stack.mark()
                    before = self.everything()
                    self.accepted(mail.replace(b"Message-ID: <", b"Message-ID: <%d." % deliver), **more)
                    line = self.stack.wait_log("filter-mailbridge.* result=committed", since)
                    self.assertEqual("delivered=1/1" in line, deliver, line)
                    self.stack.wait_queue_empty()
                    mails = [(folder, one) for folder, one in self.everything() if (folder, one) not in before]
                    self.assertEqual(len(mails), 1)
                    folder, one = mails[0]
                    stored.append((folder, without_trace(one).replace(b"Message-ID: <%d." % deliver, b"Message-ID: <")))
                self.assertEqual(*stored)
        self.set_options()


if __name__ == "__main__":
    main(smtpd_conf=with_key, dovecot=LMTP_FOR_FILTER, prepare=prepare)
