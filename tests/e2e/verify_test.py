"""Recipients verified with real Dovecot: by its quota-status service, or by LMTP probes.

usage: verify_test.py quota-status|lmtp
"""

import shutil
import sys
import threading
import time
import unittest
from pathlib import Path

from smtp import message
from stack import CLIENT6, LMTP_FOR_FILTER, QUOTA, QUOTA_STATUS, SERVER6, StackTest, by_dovecot, connect, eventually, main

BACKEND = sys.argv.pop(1)
ENDPOINT = {"quota-status": "--quota-status unix:/run/dovecot/quota-status", "lmtp": "--lmtp /run/dovecot/lmtp-filter"}[BACKEND]
OPTIONS = f"--verify-timeout 1 --verify example.org --verify example.net --verify any.example {ENDPOINT}"
UNKNOWN = "550 5.1.1 There is no such mailbox"
FULL = "452 4.2.2 The mailbox is full, try again later"
NO_ROOM = "452 4.2.2 The mailbox has no room for a message of this size, try again later"
UNVERIFIED = "451 4.3.0 The recipient could not be verified, try again later"
GUESSED = "421 4.7.0 Too many unknown recipients"
OURS = [UNKNOWN, FULL, NO_ROOM, UNVERIFIED, GUESSED]

# Every local part of any.example, in one mailbox.
CATCH_ALL = by_dovecot("""userdb {
  driver = passwd-file
  args = username_format=@%d /etc/dovecot/catch-all
}
""", """userdb catch-all {
  driver = passwd-file
  passwd_file_path = /etc/dovecot/catch-all
  auth_username_format = @%{user | domain}
}
""")
# As by default in Dovecot 2.4: nothing is said of a message that is larger than the whole quota.
SILENT = by_dovecot("plugin {\n  quota_status_toolarge =\n}\n", "quota_status_toolarge =\n")
# smtpd leaves example.org and any.example to Dovecot; of example.net it knows an alias.
ADDRESSES = """@example.org vmail
@any.example vmail
alice@example.net vmail
sales@example.net alice@example.net
postmaster@example.org alice@example.org
"""


def smtpd_conf(text):
    return text.replace('"example.net"', '"example.net", "any.example"').replace("/etc/smtpd-addresses", "/etc/addresses")


def prepare(stack):
    Path("/etc/addresses").write_text(ADDRESSES)
    Path("/etc/dovecot/catch-all").write_text("@any.example::5000:5000::/var/mail/vhosts/any.example/all::\n")
    for user in ("dave", "erin", "fred", "gina"):
        stack.add_user(f"{user}@example.org")
    for user in ("full", "half", "small", "tiny"):
        stack.add_user(f"{user}@example.org", QUOTA + "8K")
    for user, size in (("full", 20000), ("half", 4000)):
        mailbox = stack.maildir(f"{user}@example.org")
        for part in ("cur", "new", "tmp"):
            (mailbox / part).mkdir(parents=True)
        (mailbox / "cur/1.1.host:2,S").write_bytes(b"Subject: large\n\n" + b"x" * size)
        for path in [mailbox.parent, mailbox, *mailbox.rglob("*")]:
            shutil.chown(path, "vmail", "vmail")


def policy(recipient, size):
    """What quota-status itself says."""
    with connect("/run/dovecot/quota-status") as peer:
        peer.sendall(f"request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient={recipient}\nsize={size}\n\n".encode())
        return peer.makefile().readline().rstrip("\n")


class VerifyTest(StackTest):
    failed = False

    def tearDown(self):
        if self.failed:
            self.stack.dovecot.resume()
            if not self.stack.dovecot.alive():
                self.stack.dovecot.start()
            # The filter pauses after silence. Each time somebody else is asked about.
            eventually(lambda: self.rcpt(f"nobody-{time.monotonic_ns()}@example.org") == [UNKNOWN], "recipients are verified again")
        super().tearDown()

    def stop_dovecot(self):
        self.failed = True
        self.stack.dovecot.stop()

    def pause_dovecot(self):
        self.failed = True
        self.stack.dovecot.pause()

    def rcpt(self, *recipients, size=None, **options):
        """The replies to RCPT; no mail is sent."""
        with self.stack.session(**options) as session:
            self.assertEqual(session.command("MAIL FROM:<sender@client.example.net>" + (f" SIZE={size}" if size else "")).code, 250)
            return ["accepted" if reply.code == 250 else reply.text
                    for reply in (session.command(f"RCPT TO:<{recipient}>") for recipient in recipients)]

    def with_options(self, options):
        """smtpd anew, with these options besides, until the test ends."""
        def restart(more):
            self.stack.set_smtpd_conf(smtpd_conf, f"{OPTIONS} {more}")
            self.stack.restart_smtpd()

        self.addCleanup(restart, "")
        restart(options)

    # -- what each mailbox leads to

    def test_known_unknown_and_full(self):
        self.assertEqual(self.rcpt("dave@example.org", "nobody@example.org", "full@example.org", "DAVE@EXAMPLE.org"),
                         ["accepted", UNKNOWN, FULL, "accepted"])

    def test_a_mail_is_delivered_to_those_who_exist(self):
        mail = message("verified")
        outcome = self.accepted(mail, to=["nobody@example.org", "dave@example.org"])
        self.assertEqual([reply.text for reply in outcome.recipients][0], UNKNOWN)
        self.assert_delivered(self.stack.wait_mail("dave@example.org", b"Subject: verified\n"), mail)
        self.our_line("rcpts=1 verified=1 .*result=committed")
        self.our_line("rcpt=nobody@example.org verified=unknown answer=.550 5.1.1")

    def test_detail(self):
        self.assertEqual(self.rcpt("dave+work@example.org", "nobody+work@example.org"), ["accepted", UNKNOWN])
        mail = message("with detail")
        self.accepted(mail, to="dave+work@example.org")
        self.assert_delivered(self.stack.wait_mail("dave@example.org", b"Subject: with detail\n"), mail)

    def test_postmaster_is_smtpds(self):
        self.assertEqual(self.rcpt("postmaster@example.org"), ["accepted"])

    def test_no_word_of_dovecots(self):
        for reply in self.rcpt("nobody@example.org", "full@example.org", "no/such@example.org"):
            self.assertIn(reply, OURS)

    @unittest.skipIf(BACKEND == "lmtp", "a probe says nothing about sizes")
    def test_too_large_by_its_announced_size(self):
        self.assertEqual(policy("half@example.org", 6000), "action=552 5.2.2 Dovecot has no room")
        self.assertEqual(self.rcpt("half@example.org", "dave@example.org", size=6000), [NO_ROOM, "accepted"])
        self.assertEqual(self.rcpt("small@example.org", "dave@example.org", size=20000), [NO_ROOM, "accepted"])
        self.assertEqual(self.rcpt("small@example.org", size=2000), ["accepted"])

    @unittest.skipIf(BACKEND == "lmtp", "a probe says nothing about sizes")
    def test_larger_than_the_quota_when_dovecot_says_nothing_of_it(self):
        self.assertEqual(policy("small@example.org", 20000), "action=")
        self.assertEqual(policy("small@example.org", 2000), "action=DUNNO")
        self.assertEqual(self.rcpt("small@example.org", size=20000), [NO_ROOM])

    @unittest.skipIf(BACKEND == "lmtp", "a probe says nothing about sizes")
    def test_too_large_at_the_end_of_data(self):
        self.refused(message("too large", b"0123456789\r\n" * 2000), NO_ROOM, to="tiny@example.org")
        self.our_line("verified=1 .*full=1 .*result=rolled-back")
        mail = message("it fits")
        self.accepted(mail, to="tiny@example.org")
        self.assert_delivered(self.stack.wait_mail("tiny@example.org", b"Subject: it fits\n"), mail)

    @unittest.skipIf(BACKEND == "lmtp", "a probe says nothing about sizes")
    def test_too_large_for_one_of_two(self):
        mail = message("room for one", b"0123456789\r\n" * 2000)
        self.accepted(mail, to=["tiny@example.org", "erin@example.org"])
        self.assert_delivered(self.stack.wait_mail("erin@example.org", b"Subject: room for one\n"), mail)
        self.our_line("rcpts=2 verified=2 .*full=1 .*answer=proceed")
        # The other is the queue's, which tells the sender.
        self.stack.wait_log(r"smtpd.* mda delivery .*to=<tiny@example\.org>.* result=PermFail", self.since)

    def test_for_good(self):
        self.with_options("--full reject")
        self.assertEqual(self.rcpt("full@example.org"), ["552 5.2.2 The mailbox is full"])

    # -- who is not asked about

    def test_other_domains_are_not_asked_about(self):
        self.with_options("--unverified tempfail")
        self.stop_dovecot()
        self.assertEqual(self.rcpt("someone@sink.example.com", "fred@example.org", source="127.0.0.1", address=("127.0.0.1", 25)),
                         ["accepted", UNVERIFIED])

    def test_aliases_are_smtpds(self):
        self.assertEqual(self.rcpt("sales@example.net", "alice@example.net"), [UNKNOWN, "accepted"])
        self.with_options("--unknown smtpd")
        sales, alice, nobody, full = self.rcpt("sales@example.net", "alice@example.net", "nobody@example.net", "full@example.org")
        self.assertEqual([sales, alice, full], ["accepted", "accepted", FULL])
        self.assertRegex(nobody, "^5")
        self.assertNotIn(nobody, OURS)

    def test_a_domain_that_takes_everybody(self):
        self.assertEqual(self.rcpt(*(f"whoever{n}@any.example" for n in range(5))), ["accepted"] * 5)
        self.stack.wait_log("any.example: every local part is taken", 0)
        self.assertEqual(self.rcpt("nobody@example.org"), [UNKNOWN])

    # -- Dovecot fails

    def assert_proceeds(self, recipient):
        begun = time.monotonic()
        self.assertEqual(self.rcpt(recipient), ["accepted"])
        self.assertLess(time.monotonic() - begun, 15)
        self.stack.wait_log("recipients cannot be verified: ")

    def test_stopped(self):
        self.stop_dovecot()
        self.assert_proceeds("stopped@example.org")

    def test_paused(self):
        self.pause_dovecot()
        self.assert_proceeds("paused@example.org")

    def test_mail_that_came_meanwhile_is_delivered_later(self):
        mail = message("meanwhile")
        self.stop_dovecot()
        self.accepted(mail, to="gina@example.org")
        self.our_line("rcpts=1 verified=0 unverified=1 ")
        self.stack.dovecot.start()
        self.stack.retry_now()
        self.assert_delivered(self.stack.wait_mail("gina@example.org", b"Subject: meanwhile\n"), mail)

    def test_unverified_can_be_deferred(self):
        self.with_options("--unverified tempfail")
        self.pause_dovecot()
        self.assertEqual(self.rcpt("deferred@example.org", "deferred-too@example.org"), [UNVERIFIED, UNVERIFIED])

    # -- who guesses

    def test_guessing_ends(self):
        self.with_options("--max-unknown 2")
        with self.stack.session() as session:
            session.command("MAIL FROM:<sender@client.example.net>")
            replies = [session.command(f"RCPT TO:<guess{n}@example.org>").text for n in range(4)]
            self.assertEqual(replies, [UNKNOWN] * 3 + [GUESSED])
            with self.assertRaises(ConnectionError):
                session.command("NOOP")

    def guess(self, until, answers, number):
        """What a guesser does: asks for one after the other, and comes back when it is thrown out."""
        while time.monotonic() < until:
            with self.stack.session() as session:
                session.command("MAIL FROM:<sender@client.example.net>")
                for n in range(20):
                    try:
                        reply = session.command(f"RCPT TO:<guess-{number}-{time.monotonic_ns()}@example.org>")
                    except ConnectionError:
                        break
                    answers.append(reply.text)
                    if reply.code == 421 or time.monotonic() > until:
                        break

    def test_twenty_connections_guess_no_faster_than_one(self):
        self.with_options("--max-unknown 10")
        self.assertEqual(self.rcpt("erin@example.org"), ["accepted"])
        begun, answers = time.monotonic(), []
        guessers = [threading.Thread(target=self.guess, args=(begun + 20, answers, number)) for number in range(20)]
        for guesser in guessers:
            guesser.start()
        # Somebody else is not slowed, and who has the same address gets a true answer about who exists.
        other = time.monotonic()
        self.assertEqual(self.rcpt("erin@example.org", "nobody@example.org", source=CLIENT6, address=(SERVER6, 25)),
                         ["accepted", UNKNOWN])
        other = time.monotonic() - other
        for _ in range(3):
            self.assertEqual(self.rcpt("erin@example.org"), ["accepted"])
        for guesser in guessers:
            guesser.join()
        took = time.monotonic() - begun
        self.assertLessEqual(set(answers), {UNKNOWN, GUESSED})
        self.assertGreater(answers.count(UNKNOWN), 20)
        self.assertLessEqual(answers.count(UNKNOWN), 20 + took + 1)
        self.stack.wait_log("ip=192.0.2.99 note=.too many unknown recipients: answered slower", self.since)
        print(f"{answers.count(UNKNOWN)} guesses answered in {took:.1f} s, {answers.count(GUESSED)} times 421; "
              f"another address waits for {other * 1000:.0f} ms", flush=True)

    def test_a_thousand_guesses_cost_nobody_who_is_known(self):
        self.with_options("--max-unknown 0 --unverified tempfail")
        self.assertEqual(self.rcpt("erin@example.org"), ["accepted"])
        for part in range(50):
            self.assertEqual(self.rcpt(*(f"guess{part}-{n}@example.org" for n in range(20))), [UNKNOWN] * 20)
        self.stop_dovecot()
        self.assertEqual(self.rcpt("erin@example.org", "guess49-0@example.org", "another@example.org"),
                         ["accepted", UNKNOWN, UNVERIFIED])


if __name__ == "__main__":
    main(filter_options=OPTIONS, smtpd_conf=smtpd_conf, prepare=prepare, dovecot=LMTP_FOR_FILTER + QUOTA_STATUS + SILENT + CATCH_ALL)
