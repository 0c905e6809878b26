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
from stack import LMTP_FOR_FILTER, StackTest, header, main, run, running

KEY = "/etc/mailbridge.key"
CONFIG = Path("/etc/filter-mailbridge.toml")
MARK = b"X-Mailbridge-Delivered"


def options(deliver=True, **more):
    lines = ["rspamd = 'unix:/run/rspamd/scan.sock'", "lmtp = '/run/dovecot/lmtp-filter'", "verify = 'example.org'",
             f"deliver = {str(deliver).lower()}", f"mark-key = '{KEY}'", *(f"{name} = {value}" for name, value in more.items())]
    return "\n".join(lines) + "\n"


MANY = [f"list{number}@example.org" for number in range(100)]


def prepare(stack):
    with open("/etc/smtpd-addresses", "a") as addresses:
        for name in MANY:
            stack.add_user(name)
            addresses.write(f"{name} vmail\n")
    Path(KEY).write_text("0123456789abcdef" * 4 + "\n")
    shutil.chown(KEY, "opensmtpd", "vmail")
    os.chmod(KEY, 0o440)
    CONFIG.write_text(options())


def with_key(text):
    text = re.sub(r'proc-exec "filter-mailbridge[^"]*"', f'proc-exec "filter-mailbridge --config {CONFIG}"', text)
    return text.replace("-l /run/dovecot/lmtp", f"-l /run/dovecot/lmtp --mark-key {KEY}")


def mac(text, size=32):
    return base64.b64encode(hmac.new(Path(KEY).read_bytes().split()[0], text, hashlib.sha256).digest()[:size]).rstrip(b"=")


def digest(number, mailbox):
    return mac(b"mailbox " + number + b" " + mailbox, 16)


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
        for pid in running(self.stack.smtpd.process.pid, "filter-mailbridge"):
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
        self.our_line(r'delivered=1/1 lmtp=\S+ deliver_ms=\d+ lmtp_reply="250 2.0.0 .* Saved" answer=proceed')
        self.stack.wait_log('lda2lmtp.* outcome=delivered by="the filter"', self.since)

    def test_the_queued_copy_is_marked(self):
        copy = self.queued_copy(message("the queued copy", b"the body\r\n"), to=["alice@example.org", "bob@Example.org"])
        mark = re.match(MARK + rb": id=([0-9a-f]{8});\n\tto=(\S+),\n\t(\S+),\n\t\S+,\n\t\S+;\n\tseal=(\S+)\n", copy)
        self.assertTrue(mark, copy)
        self.assertIn(b"Subject: the queued copy\n", copy)
        self.assertTrue(copy.endswith(b"\n\nthe body\n"), copy)
        number, alice, bob, seal = mark.groups()
        self.assertEqual(alice, digest(number, b"alice@example.org"))
        self.assertEqual(bob, digest(number, b"bob@example.org"))
        text = re.sub(rb"\s", b"", mark.group().partition(b"seal=")[0].partition(b":")[2]).rstrip(b";")
        self.assertEqual(seal, mac(text))

    def test_one_id_in_all_logs(self):
        """smtpd's message id; over a unix socket Dovecot has one of its own, which our line quotes."""
        self.accepted(message("one id"), to=["alice@example.org", "alice@example.net"])
        self.stack.wait_queue_empty()
        for by_the_filter in (False, True):
            if by_the_filter:
                self.since = self.stack.mark()
                self.accepted(message("one id"), to="bob@example.org")
                self.stack.wait_queue_empty()
            line = self.our_line()
            msgid = re.search(r"msgid=(\w+)", line).group(1)
            self.stack.wait_log(rf"smtpd\[\d+\]: .*message msgid={msgid} ", self.since)
            self.stack.wait_log(rf"smtpd\[\d+\]: .*mda delivery evpid={msgid}", self.since)
            self.assertTrue([line for line in self.stack.rspamd_log() if f"qid: <{msgid}>" in line])
            agent = self.stack.wait_log(rf"lda2lmtp\[\d+\]: .*msgid={msgid} ", self.since)
            session = re.search(r'reply="250 2.0.0 <\S+> (\S+?)(:\S+)? Saved', line if by_the_filter else agent).group(1)
            self.stack.wait_log(rf"dovecot: lmtp\(.*<{re.escape(session)}.*>: .*(stored|saved) mail", self.since)

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

    def test_a_hundred_recipients(self):
        """In one transaction: more than the commands that Dovecot 2.4 takes in at once."""
        self.accepted(message("to a hundred", to="list@example.org"), to=MANY)
        self.assertEqual([len(self.copies("to a hundred", name)) for name in MANY], [1] * len(MANY))
        self.stack.wait_queue_empty(60)
        self.assertEqual([len(self.copies("to a hundred", name)) for name in MANY], [1] * len(MANY))
        self.our_line(r"rcpts=100 .*delivered=100/100 ")

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
        alice = digest(b"0a1b2c3d", b"alice@example.org")
        seal = mac(b"id=0a1b2c3d;to=" + alice)
        mark = MARK + b": id=0a1b2c3d;\n\tto=" + alice + b";\n\tseal=" + seal + b"\n"
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
    """After our proceed. What smtpd/rules.cpp says of it, and smtpd itself."""

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
        """smtpd would bounce it from its queue, before it runs an agent."""
        for deliver in (False, True):
            self.set_options(deliver=deliver)
            for fields in (b"Delivered-To: alice@example.org\r\n", b"delivered-to: ALICE@example.ORG\r\n"):
                self.refused(message("it comes back", extra=fields),
                             "554 5.4.6 Mail loop: the message was delivered to this mailbox before")
                self.assertEqual(self.copies("it comes back"), [])
        self.our_line("loops=alice@example.org answer=.*result=rolled-back")

    def test_mail_that_only_looks_as_if_it_came_back(self):
        """Where smtpd sees no loop, there is none."""
        for fields in (b"Delivered-To: bob@example.org\r\n", b"Delivered-To: <alice@example.org>\r\n",
                       b"Delivered-To:  alice@example.org\r\n", b"X-Delivered-To: alice@example.org\r\n"):
            with self.subTest(fields):
                subject = f"no loop {fields[:-2].decode()}"
                self.accepted(message(subject, extra=fields))
                self.stack.wait_queue_empty()
                self.assertEqual(len(self.copies(subject)), 1)

    def test_mail_that_comes_back_to_one_of_two(self):
        """From the null sender: the bounce has nobody to go to."""
        self.accepted(message("it comes back to one", extra=b"Delivered-To: alice@example.org\r\n"), sender="",
                      to=["alice@example.org", "bob@example.org"])
        self.our_line(r"loops=alice@example.org delivered=1/2 ")
        self.stack.wait_log("result=PermFail .*[Ll]oop", self.since)
        self.assertEqual([len(self.copies("it comes back to one", f"{user}@example.org")) for user in ("alice", "bob")], [0, 1])


class TheSizeThatSmtpdTakes(DeliverTest):
    """Only its answer to EHLO tells, and a client may say HELO."""

    def tearDown(self):
        self.stack.set_smtpd_conf(with_key)
        self.stack.restart_smtpd()
        super().tearDown()

    def submit_with_helo(self, mail):
        with self.stack.session(helo=None) as session:
            self.assertEqual(session.command("HELO client.example.net").code, 250)
            session.envelope("sender@client.example.net", ["alice@example.org"])
            session.content(mail)
            return session.dot()

    def test_the_first_client_says_helo(self):
        self.stack.restart_smtpd()
        since = self.stack.mark()
        self.assertEqual(self.submit_with_helo(message("said HELO")).code, 250)
        self.assertEqual(len(self.copies("said HELO")), 1)
        self.stack.wait_log("filter-mailbridge.* delivered=1/1 ", since)

    def test_what_is_cut_is_not_delivered(self):
        """smtpd keeps the line to itself with which its limit is exceeded, and all that follow."""
        self.stack.set_smtpd_conf(lambda text: "smtp max-message-size 200K\n" + with_key(text))
        self.stack.restart_smtpd()
        line = b"y" * 900 + b"\r\n"
        rows = [("fits easily", line * 100, 250, True), ("fits", line * 200, 250, False), ("too much", line * 300, 554, False),
                ("a long line too much", line * 150 + b"z" * 60000 + b"\r\n" + line * 50, 554, False)]
        for name, body, code, in_session in rows:
            with self.subTest(name):
                since = self.stack.mark()
                reply = self.submit_with_helo(message(name, body))
                self.assertEqual(reply.code // 100, code // 100, reply)
                line = self.stack.wait_log(r"filter-mailbridge.*\bsession=.*result=", since)
                self.assertEqual("delivered=1/1" in line, in_session, line)
                self.stack.wait_queue_empty()
                self.assertEqual(len(self.copies(name)), int(code == 250))


class AKeyIsReplaced(DeliverTest):
    def test_nothing_is_doubled(self):
        """filter-mailbridge(8), Keys: mail waits in the queue meanwhile, sealed with either key."""
        old, new = Path(KEY).read_text().strip(), "fedcba9876543210" * 4

        def write(*keys):
            fresh = Path(KEY + ".new")
            fresh.write_text("".join(key + "\n" for key in keys))
            shutil.chown(fresh, "opensmtpd", "vmail")
            fresh.chmod(0o440)
            fresh.rename(KEY)

        self.addCleanup(self.set_options)
        self.addCleanup(write, old)
        steps = [("before", lambda: None), ("believed", lambda: write(old, new)), ("first", lambda: write(new, old)),
                 ("read by the filter", self.set_options), ("alone", lambda: write(new))]
        run("smtpctl", "pause", "mda")
        for name, step in steps[:4]:
            step()
            self.accepted(message(f"key {name}"), to=["alice@example.org", "bob@example.org"])
        run("smtpctl", "resume", "mda")
        self.stack.retry_now()
        self.stack.wait_queue_empty()
        steps[4][1]()
        self.set_options()
        self.accepted(message("key alone"), to=["alice@example.org", "bob@example.org"])
        self.stack.wait_queue_empty()
        for name, _ in steps:
            for user in ("alice", "bob"):
                self.assertEqual(len(self.copies(f"key {name}", f"{user}@example.org")), 1, name)
        self.assertEqual(self.stack.log_since(self.since, "not sealed"), [])

    def test_an_agent_cannot_read_it(self):
        """What is not marked is delivered, and what is waits until it can."""
        self.set_options(deliver=False)
        run("smtpctl", "pause", "mda")
        self.accepted(message("without a mark"))
        self.set_options()
        self.accepted(message("with a mark"))
        self.assertEqual(len(self.copies("with a mark")), 1)
        os.chmod(KEY, 0o400)  # for the filter alone
        self.addCleanup(os.chmod, KEY, 0o440)
        run("smtpctl", "resume", "mda")
        self.stack.wait_mail("alice@example.org", b"Subject: without a mark\n")
        line = self.stack.wait_log("lda2lmtp.* outcome=delivered .*mark_key=", self.since)
        self.assertIn(f"{KEY}: Permission denied", line)
        self.stack.wait_log("lda2lmtp.* outcome=deferred .*its mark cannot be read", self.since)
        self.assertEqual(len(self.stack.queue()), 1)
        os.chmod(KEY, 0o440)
        self.stack.retry_now()
        self.stack.wait_queue_empty()
        self.assertEqual(len(self.copies("with a mark")), 1)


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
