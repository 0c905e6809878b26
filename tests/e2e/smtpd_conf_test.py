"""smtpd_conf_test.py SET: the files of smtpd-conf/SET as they are, started and used.
smtpd_conf_test.py README: README's smtpd.conf, with rspamd and Dovecot as in system-users."""

import re
import sys
import textwrap
import unittest

from smtp import message
from stack import ROOT, StackTest, header, main

NAME = sys.argv.pop(1)


class SmtpdConfTest(StackTest):
    def test_inbox(self):
        mail = message("hello")
        self.accepted(mail)
        stored = self.stack.wait_mail("alice@example.org", b"Subject: hello\n")
        self.assert_delivered(stored, mail)
        self.assertEqual(len(header(stored, b"X-Spamd-Result")), 1)

    def test_junk(self):
        self.accepted(message("[junk] hello"), to="bob@example.org")
        stored = self.stack.wait_mail("bob@example.org", b"Subject: [junk] hello\n", "Junk")
        self.assertEqual(header(stored, b"X-Spam"), [b"Yes"])

    def test_reject(self):
        self.refused(message("[spam] hello"), "554 5.7.1 Spam message rejected")

    def test_unknown_user(self):
        self.assertEqual(self.send(message("hello"), to="nosuch@example.org").final.code // 100, 5)

    def test_sendmail_on_this_host(self):
        self.stack.sendmail("bob@example.org", b"Subject: from cron\n\nhello\n")
        self.stack.wait_mail("bob@example.org", b"Subject: from cron\n")
        self.our_line("ip=127.0.0.1")


@unittest.skipUnless(NAME == "in-session", "what Dovecot says in the session")
class InSessionTest(StackTest):
    def rcpt(self, recipient):
        with self.stack.session() as session:
            session.command("MAIL FROM:<sender@client.example.net>")
            return session.command(f"RCPT TO:<{recipient}>").text

    def test_recipients(self):
        self.assertEqual(self.rcpt("nosuch@example.org"), "550 5.1.1 There is no such mailbox")
        self.assertEqual(self.rcpt("bob+lists@example.org")[:4], "250 ")

    def test_no_room_in_the_mailbox(self):
        """carol's quota is 4K."""
        self.refused(message("too much", b"0123456789abcdef\r\n" * 1000),
                     "452 4.2.2 The mailbox has no room for a message of this size, try again later", to="carol@example.org")

    def test_delivered_before_the_client_is_answered(self):
        mail = message("in the session")
        self.accepted(mail)
        [stored] = [stored for stored in self.stack.mailbox("alice@example.org") if b"Subject: in the session\n" in stored]
        self.assert_delivered(stored, mail)
        self.stack.wait_queue_empty()
        self.stack.wait_mail("alice@example.org", b"Subject: in the session\n")  # once

    def test_dovecot_down(self):
        self.stack.dovecot.stop()
        try:
            self.accepted(message("to the queue"))
            self.stack.wait_log("lda2lmtp.*status=75", self.since)
        finally:
            self.stack.dovecot.start()
        self.stack.retry_now()
        self.stack.wait_mail("alice@example.org", b"Subject: to the queue\n")

    def test_an_alias(self):
        """In Dovecot's users file."""
        self.accepted(message("to the postmaster"), to="postmaster@example.org")
        self.stack.wait_mail("alice@example.org", b"Subject: to the postmaster\n")


def readmes_smtpd_conf(_):
    text = (ROOT / "README.md").read_text()
    return textwrap.dedent(re.search(r"\(`/etc/smtpd\.conf`\):\n\n((?:    .*\n|\n)+)", text).group(1))


if __name__ == "__main__":
    if NAME == "README":
        main(conf="system-users", smtpd_conf=readmes_smtpd_conf)
    else:
        main(conf=NAME)
