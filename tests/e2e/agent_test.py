"""lda2lmtp's own: scanning at delivery, recipients as the server wants them, policies for refusals, --check, a mail of 100 MB.
Real smtpd, rspamd and Dovecot; no filter."""

import os
import subprocess
from pathlib import Path

from smtp import message
from stack import LIBEXEC, StackTest, by_dovecot, eventually, header, main

SCAN = "--rspamd unix:/run/rspamd/scan.sock"
USERS = Path("/etc/dovecot/users")


def prepare(_):
    # Dovecot 2.3 answers 451 to what is larger than this.
    USERS.write_text(USERS.read_text().replace("example.net/alice::", "example.net/alice::" + by_dovecot("userdb_quota_max_mail_size", "userdb_quota_mail_size") + "=10K"))


def scanned_by_the_agent(text):
    """The rspamc chain's place taken by one line."""
    text = text.replace(' filter "mailbridge"', "").replace("listen on socket\n", "")
    return text.replace("lda2lmtp -l /run/dovecot/lmtp", f"lda2lmtp -l /run/dovecot/lmtp {SCAN}")


class ScansAtDelivery(StackTest):
    def test_ham(self):
        mail = message("fine")
        self.accepted(mail)
        stored = self.stack.wait_mail("alice@example.org", b"Subject: fine\n")
        self.assert_delivered(stored, mail)
        self.assertEqual([len(header(stored, name)) for name in (b"Return-Path", b"Delivered-To", b"X-Spam")], [1, 1, 0])
        line = self.stack.wait_log(r"lda2lmtp.*outcome=delivered", self.since)
        self.assertRegex(line, r'rspamd=unix:/run/rspamd/scan.sock action="no action" score=\S+ .*scan_ms=')

    def test_rspamd_knows_the_client(self):
        """From smtpd's own Received field: without a filter there is nobody else to ask."""
        self.accepted(message("whose address is it"))
        self.stack.wait_mail("alice@example.org", b"Subject: whose address is it\n")
        eventually(lambda: [line for line in self.stack.rspamd_log()
                            if "ip: 192.0.2.99" in line and "rcpts: <alice@example.org>" in line], "rspamd logs the client")

    def test_rspamd_is_told_nothing_that_the_client_appends(self):
        """To smtpd's own field: OpenSMTPD before 7.5 takes a first line that begins with a blank."""
        forged = b"\tby mail.example.org (OpenSMTPD) with ESMTPSA id 1 auth=yes user=root; Mon, 1 Jan 1990 00:00:00 +0000\r\n"
        mail = message("whose name is it", extra=forged)
        if self.send(mail).final.code == 550:
            self.skipTest("this smtpd refuses it")
        self.stack.wait_mail("alice@example.org", b"Subject: whose name is it\n")
        message_id = header(mail, b"Message-ID")[0].decode()
        line = eventually(lambda: [line for line in self.stack.rspamd_log() if f"id: {message_id}," in line], "rspamd logs the mail")[0]
        self.assertIn("ip: 192.0.2.99", line)
        self.assertNotIn("user:", line)

    def test_spam_is_marked_and_not_bounced(self):
        for word, answer in (("junk", []), ("spam", [b"554 5.7.1 Spam message rejected"])):
            self.accepted(message(f"[{word}] buy", to="bob@example.org"), to="bob@example.org")
            stored = self.stack.wait_mail("bob@example.org", f"[{word}] buy\n".encode(), "Junk")
            self.assertEqual(header(stored, b"X-Spam"), [b"Yes"])
            self.assertEqual(header(stored, b"X-Spam-Answer"), answer)

    def test_forged_headers_go(self):
        self.accepted(message("forged", extra=b"X-Spam: No\r\nX-Spam-Status: No\r\n"))
        stored = self.stack.wait_mail("alice@example.org", b"Subject: forged\n")
        self.assertEqual(header(stored, b"X-Spam") + header(stored, b"X-Spam-Status"), [])

    def test_settings_belong_to_the_recipient(self):
        """carol has a setting of rspamd's by which nothing of the tests is spam. One mail for her and alice is two mails."""
        self.accepted(message("[junk] for two"), to=["alice@example.org", "carol@example.org"])
        self.stack.wait_mail("alice@example.org", b"[junk] for two\n", "Junk")
        self.stack.wait_mail("carol@example.org", b"[junk] for two\n")

    def test_soft_reject_waits_in_the_queue(self):
        self.accepted(message("[later] please"))
        self.stack.wait_log(r"result=\"?TempFail.*Come back in ten minutes", self.since)
        self.assertEqual(len(self.stack.queue()), 1)
        subprocess.run(["smtpctl", "remove", "all"], check=True, capture_output=True)

    def test_rspamd_down(self):
        self.stack.rspamd.stop()
        try:
            self.accepted(message("waits for rspamd"))
            self.stack.wait_log("TempFail.*the mail could not be scanned", self.since)
        finally:
            self.stack.rspamd.start()
        eventually(lambda: any("|pending|" in line for line in self.stack.queue()), "the mail waits")
        self.stack.retry_now()
        stored = self.stack.wait_mail("alice@example.org", b"Subject: waits for rspamd\n")
        self.assertEqual(header(stored, b"X-Spam-Error"), [])

    def test_rspamd_down_and_mail_is_delivered(self):
        status, said = self.stack.run_agent(b"Subject: unscanned\n\nbody\n", "-l", "/run/dovecot/lmtp", "--rspamd", "unix:/none",
                                            "--on-error", "accept", sender="s@client.example.net", recipient="alice@example.org")
        self.assertEqual((status, said), (0, b""))
        stored = self.stack.wait_mail("alice@example.org", b"Subject: unscanned\n")
        self.assertEqual(header(stored, b"X-Spam-Error"), [b"unreachable: No such file or directory"])


class Delivers(StackTest):
    def agent(self, mail, *options, recipient="alice@example.org", lmtp="/run/dovecot/lmtp"):
        return self.stack.run_agent(mail, "-l", lmtp, *options, sender="s@client.example.net", recipient=recipient)

    def test_recipients(self):
        """Dovecot is told here to take names as they are."""
        for options, recipient, status, delivered_to in (
                ((), "alice@example.org", 0, b"alice@example.org"),
                ((), "alice@EXAMPLE.ORG", 0, b"alice@example.org"),
                (("--fold", "none"), "alice@EXAMPLE.ORG", 67, None),
                ((), "Alice@example.org", 67, None),
                (("--fold", "all"), "Alice@Example.org", 0, b"alice@example.org"),
                ((), "alice+Lists@example.org", 0, b"alice+Lists@example.org"),
                (("--fold", "all"), "ALICE+Lists@example.org", 0, b"alice+Lists@example.org"),
                (("--strip-detail",), "alice+Lists@example.org", 0, b"alice@example.org"),
                (("--strip-detail", "--delimiter", "_"), "alice_lists@example.org", 0, b"alice@example.org"),
                (("--rcpt", "{local}{+detail}@example.org"), "alice+x@old.example", 0, b"alice+x@example.org"),
                (("--rcpt", "user"), "alice@example.org", 0, None),  # vmail, an account of the host
                (("--rcpt", "{local}@{domain}> SIZE=1"), "alice@example.org", 75, None)):
            with self.subTest(options=options, recipient=recipient):
                subject = b"to %d" % self.next
                type(self).next += 1
                got, said = self.agent(b"Subject: %s\n\nbody\n" % subject, *options, recipient=recipient)
                self.assertEqual(got, status, said)
                if delivered_to:
                    stored = self.stack.wait_mail("alice@example.org", b"Subject: %s\n" % subject)
                    self.assertEqual(header(stored, b"Delivered-To"), [delivered_to])

    next = 0

    def test_policies(self):
        large = b"Subject: large\n\n" + b"More than her quota.\n" * 1000
        small = b"Subject: small\n\n"
        full = b"552 5.2.2 <carol@example.org> Quota exceeded"
        too_large = b"451 4.2.0 <alice@example.net> Mail size is larger than the maximum size allowed"
        for options, recipient, mail, status, words in (
                ((), "nobody@example.org", small, 67, b"550 5.1.1 <nobody@example.org> User doesn't exist"),
                (("--unknown", "temporary"), "nobody@example.org", small, 75, b"550 5.1.1 <nobody@example.org> User doesn't exist"),
                ((), "carol@example.org", large, 69, full),
                (("--quota", "temporary"), "carol@example.org", large, 75, full),
                ((), "alice@example.net", large, 75, too_large),
                (("--oversize", "permanent"), "alice@example.net", large, 65, too_large),
                (("--oversize", "temporary"), "alice@example.net", large, 75, too_large)):
            with self.subTest(options=options, recipient=recipient):
                got, said = self.agent(mail, *options, recipient=recipient)
                self.assertEqual(got, status)
                self.assertTrue(said.startswith(words), said)

    def test_100_mb(self):
        """Byte for byte, from a spool file."""
        line = b"A line of text, and a number to tell it from others: %07d\n"
        body = b"".join(line % i for i in range(1_700_000))
        status, said = self.agent(b"Subject: 100 MB\n\n" + body)
        self.assertEqual((status, said), (0, b""))
        stored = self.stack.wait_mail("alice@example.org", b"Subject: 100 MB\n")
        self.assertTrue(stored.partition(b"\n\n")[2] == body)
        self.assertGreater(len(body), 100_000_000)

    def test_check(self):
        socket = "unix:/run/dovecot/lmtp: "
        for options, user, status, words in (
                (("alice@example.org",), 5000, 0, socket + "OK, takes mail for <alice@example.org> (250 2.1.5 OK)"),
                (("nobody@example.org",), 5000, 1, socket + "refuses <nobody@example.org>: 550 5.1.1 <nobody@example.org> User doesn't exist: nobody@example.org"),
                (("alice@example.org",), 5001, 1, socket + "no permission for uid=5001 gid=5001: socket owner 5000:0 mode 0600 (stage=connect)"),
                (("alice@example.org", "-l", "/run/closed/lmtp"), 5001, 1, "unix:/run/closed/lmtp: no permission for uid=5001 gid=5001: directory /run/closed owner 0:0 mode 0700 (stage=connect)"),
                (("alice@example.org", "-l", "/run/no/lmtp"), 5000, 1, "    there is no directory /run/no"),
                (("alice@example.org", *SCAN.split()), 5000, 0, "unix:/run/rspamd/scan.sock: OK, rspamd answers"),
                (("alice@example.org", "--rspamd", "unix:/none"), 5000, 1, "unix:/none: No such file or directory")):
            with self.subTest(options=options, user=user):
                os.makedirs("/run/closed", 0o700, exist_ok=True)
                command = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", LIBEXEC / "lda2lmtp",
                           "-l", "/run/dovecot/lmtp", "--check", *options]
                if options[1:2] == ("-l",):
                    del command[-len(options) - 3:-len(options) - 1]
                # No agent of smtpd's ends with 0 or 1 for this.
                for environment, wanted in (({}, status), ({"LOCAL": "alice", "DOMAIN": "example.org"}, 75)):
                    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                          env=environment)
                    lines = done.stdout.decode().splitlines()
                    self.assertEqual(done.returncode, wanted, lines)
                    self.assertEqual(lines[0], f"as uid={user} gid={user}")
                    self.assertIn(words, lines)


if __name__ == "__main__":
    main(smtpd_conf=scanned_by_the_agent, prepare=prepare, dovecot=by_dovecot("auth_username_format = %u\n", "protocol lmtp {\n  auth_username_format = %{user}\n}\nauth_username_format = %{user}\n"),
         rspamd={"local.d/settings.conf": 'carol { priority = high; rcpt = "carol@example.org"; apply { groups_disabled = ["test"]; } }\n'})
