"""smtpd_conf_test.py SET: the files of smtpd-conf/SET as they are, started and used.
smtpd_conf_test.py README: README's smtpd.conf, with rspamd and Dovecot as in system-users."""

import re
import sys
import textwrap

from smtp import message
from stack import ROOT, StackTest, header, main


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


def readmes_smtpd_conf(_):
    text = (ROOT / "README.md").read_text()
    return textwrap.dedent(re.search(r"\(`/etc/smtpd\.conf`\):\n\n((?:    .*\n|\n)+)", text).group(1))


if __name__ == "__main__":
    name = sys.argv.pop(1)
    if name == "README":
        main(conf="system-users", smtpd_conf=readmes_smtpd_conf)
    else:
        main(conf=name)
