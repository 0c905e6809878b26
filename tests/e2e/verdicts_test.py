"""Each of rspamd's verdicts, seen by the SMTP client and in the mailbox."""

import re
import subprocess
from base64 import b64encode
from email import message_from_bytes
from email.policy import default

from smtp import message
from stack import CLIENT6, LIBEXEC, SERVER6, SMTPD, StackTest, header, main, version

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
RSPAMD = version("rspamd", "--version")


class VerdictsTest(StackTest):
    def test_ham(self):
        mail = message("ham")
        self.accepted(mail)
        stored = self.stack.wait_mail("alice@example.org", b"Subject: ham\n")
        self.assert_delivered(stored, mail)
        self.assertEqual(header(stored, b"X-Spam"), [])
        self.assertRegex(header(stored, b"X-Spamd-Result")[0], rb"^default: False")
        self.assertRegex(header(stored, b"Authentication-Results")[0], rb"^mail\.example\.org;")
        # smtpd's own Return-Path and Delivered-To are not doubled with Dovecot's.
        self.assertEqual(header(stored, b"Return-Path"), [b"<sender@client.example.net>"])
        self.assertEqual(header(stored, b"Delivered-To"), [b"alice@example.org"])
        self.our_line(r'action="?no action"?.*result=')

    def test_junk(self):
        mail = message("[junk] sale")
        self.accepted(mail)
        stored = self.stack.wait_mail("alice@example.org", b"Subject: [junk] sale\n", "Junk")
        self.assert_delivered(stored, mail)
        self.assertEqual(header(stored, b"X-Spam"), [b"Yes"])
        self.assertIn(b"TEST_JUNK", header(stored, b"X-Spamd-Result")[0])

    def test_reject(self):
        self.refused(message("[spam] buy"), "554 5.7.1 Spam message rejected")

    def test_gtube_in_the_last_line_without_line_end(self):
        self.refused(message("gtube", b"first line\r\n" + GTUBE), "554 5.7.1 Gtube pattern")

    def test_soft_reject_carries_rspamds_text(self):
        self.refused(message("[later] hello"), "451 4.7.1 Come back in ten minutes")

    def test_rewritten_subject(self):
        mail = message("[subject] hello")
        self.accepted(mail)
        stored = self.stack.wait_mail("alice@example.org", b"[subject] hello")
        self.assertEqual(header(stored, b"Subject"), [b"*** SPAM *** [subject] hello"])
        self.assertEqual(header(stored, b"X-Spam"), [])
        self.assertTrue(stored.endswith(b"\n\nHello,\nthis is a mail.\n"))

    def test_rewritten_subject_that_was_folded(self):
        self.accepted(message("[subject]\r\n folded"))
        stored = self.stack.wait_mail("alice@example.org", b"folded")
        subjects = header(stored, b"Subject")
        self.assertEqual(len(subjects), 1)
        self.assertRegex(subjects[0], rb"^\*\*\* SPAM \*\*\* \[subject\]\s+folded$")

    def test_rewritten_subject_of_encoded_words(self):
        subject = "[subject] " + " ".join(["Grüße aus Köln"] * 20)
        encoded = "\r\n ".join(f"=?utf-8?B?{b64encode(subject[at:at + 18].encode()).decode()}?=" for at in range(0, len(subject), 18))
        self.accepted(message(encoded + "\r\nSubject: and another one", b"many encoded words\r\n"))
        stored = self.stack.wait_mail("alice@example.org", b"many encoded words")
        raw = re.findall(rb"^Subject:[^\n]*(?:\n[ \t][^\n]*)*", stored.partition(b"\n\n")[0], re.M)
        self.assertEqual(len(raw), 1)
        self.assertGreater(raw[0].count(b"=?"), 5, raw)
        for line in raw[0].split(b"\n"):
            if len(line) > 76:
                self.assertEqual(RSPAMD[:2], (3, 12), "it glues encoded words to letters, and nothing can be folded there")
                self.assertNotRegex(line.strip(), rb"[ \t]|\?==\?")
        self.assertEqual(message_from_bytes(stored, policy=default)["Subject"], "*** SPAM *** " + subject)

    def test_actions_that_smtpd_lacks_are_marked_for_sieve(self):
        for action in ("discard", "hold"):
            with self.subTest(action):
                self.accepted(message(f"[{action}] hello"))
                stored = self.stack.wait_mail("alice@example.org", f"[{action}] hello".encode())
                self.assertEqual(header(stored, b"X-Rspamd-Action"), [action.encode()])

    def test_two_recipients(self):
        mail = message("for two")
        self.accepted(mail, to=["alice@example.org", "bob@example.org"])
        for user in ("alice@example.org", "bob@example.org"):
            stored = self.stack.wait_mail(user, b"Subject: for two\n")
            self.assert_delivered(stored, mail)
            self.assertEqual(header(stored, b"Delivered-To"), [user.encode()])

    def test_one_of_two_recipients_is_unknown(self):
        outcome = self.accepted(message("for one"), to=["nosuch@example.org", "bob@example.org"])
        self.assertEqual([reply.code // 100 for reply in outcome.recipients], [5, 2])
        self.stack.wait_mail("bob@example.org", b"Subject: for one\n")

    def test_unknown_user(self):
        outcome = self.send(message("for nobody"), to="nosuch@example.org")
        self.assertEqual(outcome.final.code // 100, 5)

    def test_several_mails_in_one_session(self):
        with self.stack.session() as session:
            for number, (tag, code) in enumerate([("", 250), ("[spam]", 554), ("", 250), ("[later]", 451), ("[junk]", 250)]):
                session.envelope("sender@client.example.net", ["alice@example.org"])
                session.content(message(f"{tag} series {number}"))
                self.assertEqual(session.dot().code, code)
        for number, folder in ((0, "INBOX"), (2, "INBOX"), (4, "Junk")):
            self.stack.wait_mail("alice@example.org", f"series {number}\n".encode(), folder)

    def test_forged_headers_are_removed(self):
        forged = (b"X-Spam: No", b"X-Spam-Status: No, score=-100", b"X-Rspamd-Action: no action",
                  b"Authentication-Results: mail.example.org; dkim=pass header.d=bank.example")
        mail = message("forged", extra=b"".join(line + b"\r\n" for line in forged))
        self.accepted(mail)
        stored = self.stack.wait_mail("alice@example.org", b"Subject: forged\n")
        self.assert_delivered(stored, mail, removed=forged)
        results = header(stored, b"Authentication-Results")
        self.assertEqual(len(results), 1)
        self.assertNotIn(b"bank.example", results[0])

    def test_junk_with_a_forged_x_spam(self):
        self.accepted(message("[junk] forged", extra=b"X-Spam: No\r\nx-spam: no\r\n"))
        stored = self.stack.wait_mail("alice@example.org", b"[junk] forged", "Junk")
        self.assertEqual(header(stored, b"X-Spam"), [b"Yes"])

    def test_null_sender(self):
        mail = message("a bounce", sender="MAILER-DAEMON@client.example.net")
        self.accepted(mail, sender="")
        stored = self.stack.wait_mail("alice@example.org", b"Subject: a bounce\n")
        self.assert_delivered(stored, mail)
        self.assertEqual(header(stored, b"Return-Path"), [b"<>"])

    def test_strange_but_legal_addresses(self):
        sender = "a|b'c+d=e/f@client.example.net" if SMTPD < (7, 9) else "a_b+d=e/f@client.example.net"  # docs/servers.md
        self.accepted(message("strange"), sender=sender)
        stored = self.stack.wait_mail("alice@example.org", b"Subject: strange\n")
        self.assertEqual(header(stored, b"Return-Path"), [f"<{sender}>".encode()])

    def test_ipv6(self):
        mail = message("over six")
        self.accepted(mail, address=(SERVER6, 25), source=CLIENT6)
        stored = self.stack.wait_mail("alice@example.org", b"Subject: over six\n")
        self.assert_delivered(stored, mail)
        self.assertIn(CLIENT6.encode(), header(stored, b"Authentication-Results")[0])
        self.our_line(rf'ip="?\[?{CLIENT6}')

    def test_empty_message(self):
        self.accepted(b"", to="bob@example.org")
        stored = self.stack.wait_mail("bob@example.org", b"for <bob@example.org>;\n", self.where_empty_goes())
        self.assertTrue(stored.partition(b"\n\n")[2] in (b"", b"\n"))

    def test_check_knows_a_worker_from_its_siblings(self):
        for endpoint, status, expected in (
                ("unix:/run/rspamd/scan.sock", 0, "OK, refuses the test spam"),
                ("http://127.0.0.1:11334", 1, "this is rspamd's controller, which scans with a single process"),
                ("http://127.0.0.1:11332", 1, "this is rspamd's proxy in milter mode, which does not scan over HTTP"),
                ("http://127.0.0.1:11331", 1, "Connection refused"),
                ("http://127.0.0.1:53", 1, "/ping")):
            with self.subTest(endpoint):
                done = subprocess.run([LIBEXEC / "filter-mailbridge", "--check", "--rspamd", endpoint, "--scan-timeout", "5"],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
                self.assertEqual(done.returncode, status, done.stdout)
                self.assertIn(f"{endpoint.removeprefix('http://')}: {expected}", done.stdout)

    def where_empty_goes(self):
        """rspamd's own score of an empty mail decides; our line tells."""
        return "Junk" if "add header" in self.our_line() else "INBOX"

    def test_one_megabyte(self):
        mail = message("large", b"".join(b"%07d the quick brown fox jumps over the lazy dog, again and again\r\n" % n
                                         for n in range(15000)))
        self.accepted(mail)
        self.assert_delivered(self.stack.wait_mail("alice@example.org", b"Subject: large\n"), mail)

    def test_client_leaves_in_the_middle(self):
        session = self.stack.session()
        session.envelope("sender@client.example.net", ["alice@example.org"])
        session.raw(b"Subject: never finished\r\n\r\nhalf a li")
        session.close()
        self.accepted(message("after the one that left"))
        self.stack.wait_mail("alice@example.org", b"after the one that left")
        self.assertNotIn(b"never finished", b"".join(self.stack.mailbox("alice@example.org")))


if __name__ == "__main__":
    main()
