"""Odd bytes: through smtpd, whose own cuts are asserted, and straight into lda2lmtp, which changes none."""

from pathlib import Path

from smtp import message
from stack import SMTPD, StackTest, by_dovecot, main

# smtpd before 7.4 copies an echoed line into LINE_MAX bytes; None: later ones leave it whole.
SMTPD_CUT = 1997 if SMTPD < (7, 4) else None
# smtpd freezes on a longer filter-dataline (reference: lka's buffer of 65,536 less the 50 bytes before the payload).
LONGEST_ECHO = 65485


class ThroughSmtpd(StackTest):
    def through(self, subject, body, expected=None):
        mail = message(subject, body)
        self.accepted(mail)
        stored = self.stack.wait_mail("alice@example.org", f"Subject: {subject}\n".encode())
        self.assert_delivered(stored, mail if expected is None else message(subject, expected))

    def assert_delivered(self, stored, sent, **_):
        self.assertEqual(stored.partition(b"\n\n")[2], sent.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n"))

    def test_dots(self):
        self.through("dots", b".\r\n..\r\n...\r\n.a\r\na.\r\n. \r\n\r\n.\r\n")

    def test_bare_cr(self):
        self.through("bare cr", b"one\rtwo\r\n\rthree\r\nfour \r five\r\n")

    def test_eight_bit(self):
        self.through("eight bit", bytes(range(0x80, 0x100)) + b"\r\n" + "grüße, привет, 你好\r\n".encode())

    def test_control_bytes(self):
        self.through("control", bytes(byte for byte in range(1, 32) if byte not in b"\r\n") + b"\x7f\r\n")

    def test_blank_lines_at_the_end(self):
        self.through("blanks", b"text\r\n\r\n \r\n\t\r\n\r\n\r\n")

    def test_line_of_60_kB(self):
        line = bytes(0x21 + n % 0x5d for n in range(60000)).replace(b".", b"x")
        self.through("long line", b"before\r\n" + line + b"\r\nafter\r\n", b"before\r\n" + line[:SMTPD_CUT] + b"\r\nafter\r\n")
        if SMTPD_CUT:
            self.stack.wait_log("filter-mailbridge.*1,?997", self.since)
        else:
            self.our_line("result=committed")
            self.assertEqual(self.stack.log_since(self.since, "will be cut"), [])

    def test_longest_line_that_smtpd_survives(self):
        line = b"y" * LONGEST_ECHO
        self.through("longest line", line + b"\r\n", line[:SMTPD_CUT] + b"\r\n")

    def test_a_line_that_would_freeze_smtpd_is_refused(self):
        outcome = self.send(message("fatal line", b"z" * (LONGEST_ECHO + 1) + b"\r\n"))
        self.assertRegex(outcome.final.text, r"^554 5\.6\.0 ")
        self.accepted(message("after the fatal line"))
        self.stack.wait_mail("alice@example.org", b"after the fatal line")


class StraightIntoTheAgent(StackTest):
    """lda2lmtp as smtpd runs it: user vmail, sender and recipient in the environment."""

    def agent(self, stdin, *arguments, sender="sender@client.example.net", recipient="bob@example.org"):
        return self.stack.run_agent(stdin, *arguments, sender=sender, recipient=recipient)

    def delivered(self, mark, stdin, expected=None, **options):
        status, said = self.agent(stdin, **options)
        self.assertEqual((status, said), (0, b""))
        stored = self.stack.wait_mail("bob@example.org", mark)
        self.assertTrue(stored.endswith(b"\n" + (stdin if expected is None else expected)), stored[-300:])
        return stored

    def test_nul_and_every_other_byte(self):
        self.delivered(b"nul and all", b"Subject: nul and all\n\n\0a\0\0b\n" + bytes(set(range(256)) - {10, 13}) + b"\n")

    def test_no_final_newline(self):
        stdin = b"Subject: no final newline\n\nthe last line"
        self.delivered(b"no final newline", stdin, stdin + b"\n")

    def test_bare_cr_and_crlf(self):
        self.delivered(b"line ends", b"Subject: line ends\n\na\rb\nc\r\n\rd\n", b"Subject: line ends\n\na\rb\nc\n\rd\n")

    def test_dots(self):
        self.delivered(b"agent dots", b"Subject: agent dots\n\n.\n..\n.a\n\r.\n\n.\n")

    def test_line_of_60_kB(self):
        self.delivered(b"agent long", b"Subject: agent long\n\n" + b"w" * 60000 + b"\n")

    def test_no_input(self):
        before = len(self.stack.mailbox("bob@example.org"))
        self.assertEqual(self.agent(b""), (0, b""))
        self.assertEqual(len(self.stack.mailbox("bob@example.org")), before + 1)

    def test_smtpds_leading_headers_are_not_doubled(self):
        stored = self.delivered(b"leading", b"Return-Path: <sender@client.example.net>\nDelivered-To: bob@example.org\n"
                                b"Subject: leading\n\nDelivered-To: in the body\n",
                                b"Subject: leading\n\nDelivered-To: in the body\n")
        self.assertEqual(stored.count(b"Return-Path:"), 1)
        self.assertEqual(stored.count(b"Delivered-To: bob"), 1)

    def test_unknown_user_is_permanent(self):
        status, said = self.agent(b"Subject: x\n\n", recipient="ghost@example.org")
        self.assertEqual(status, 67)
        self.assertRegex(said, rb"(?s)\A550 5\.1\.1 [^\n]*stage=rcpt[^\n]*\n\Z")

    def test_missing_socket_is_temporary(self):
        status, said = self.agent(b"Subject: x\n\n", "-l", "/run/nosuch/lmtp")
        self.assertEqual(status, 75)
        self.assertEqual(said.count(b"\n"), 1)

    def test_a_host_name_needs_no_module_of_nsswitch(self):
        """The agent is linked statically, and such a program can crash in the modules it loads. Of
        localhost's two addresses only the second has a listener."""
        nsswitch = Path("/etc/nsswitch.conf")
        before = nsswitch.read_text()
        nsswitch.write_text("hosts: nosuchmodule\n")
        try:
            self.assertEqual(self.agent(b"Subject: by name\n\n", "-l", "localhost:24"), (0, b""))
        finally:
            nsswitch.write_text(before)
        status, said = self.agent(b"Subject: no such name\n\n", "-l", "nosuch.example.org:24")
        self.assertEqual(status, 75)
        self.assertIn(b"Host not found", said)

    def test_wrong_option_is_temporary(self):
        self.assertEqual(self.agent(b"Subject: x\n\n", "--nosuch")[0], 75)


if __name__ == "__main__":
    main(dovecot="service lmtp {\n  inet_listener lmtp {\n    " + by_dovecot("address", "listen") + " = 127.0.0.1\n    port = 24\n  }\n}\n")
