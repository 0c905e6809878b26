"""Servers that are stopped, paused, killed or full: no mail is lost, none arrives twice, and smtpd lives on."""

import os
import re
import signal
import threading
import time
from pathlib import Path

from smtp import message
from stack import StackTest, eventually, header, main, running

OPTIONS = "--connect-timeout 2 --scan-timeout 3"
UNSCANNED = "451 4.3.0 Message could not be scanned, try again later"  # never 421, which would end the session


def connections(path):
    """How many unix stream sockets carry this path on the listening side, the listener included."""
    return sum(line.endswith(path) for line in Path("/proc/net/unix").read_text().splitlines())


class RspamdFails(StackTest):
    def tearDown(self):
        self.stack.rspamd.resume()
        if not self.stack.rspamd.alive():
            self.stack.rspamd.start()
        super().tearDown()
        # And mail flows again, without a restart of smtpd.
        subject = f"after {self.id().rpartition('.')[2]}"
        self.accepted(message(subject))
        self.stack.wait_mail("alice@example.org", f"Subject: {subject}\n".encode())

    def test_stopped(self):
        self.stack.rspamd.stop()
        self.refused(message("while rspamd is stopped"), UNSCANNED)

    def test_paused(self):
        self.stack.rspamd.pause()
        self.refused(message("while rspamd is paused"), UNSCANNED)

    def test_paused_and_the_mail_fills_every_buffer(self):
        self.stack.rspamd.pause()
        self.refused(message("large while rspamd is paused", b"0123456789abcdef0123456789abcdef\r\n" * 200000), UNSCANNED)

    def test_killed_in_the_middle_of_a_scan(self):
        path = self.stack.where["rspamd"]
        self.stack.rspamd.pause()
        before = connections(path)

        def kill_when_asked():
            eventually(lambda: connections(path) > before, "the filter asks rspamd")
            self.stack.rspamd.kill()

        killer = threading.Thread(target=kill_when_asked)
        killer.start()
        begun = time.monotonic()
        self.refused(message("rspamd dies"), UNSCANNED)
        self.assertLess(time.monotonic() - begun, 3, "the end of the connection is the answer, not the timeout")
        killer.join()

    def test_client_leaves_during_the_scan(self):
        path = self.stack.where["rspamd"]
        self.stack.rspamd.pause()
        before = connections(path)
        with self.stack.session() as session:
            session.envelope("sender@client.example.net", ["alice@example.org"])
            session.content(message("nobody waits"))
            session.raw(b".\r\n")
            eventually(lambda: connections(path) > before, "the filter asks rspamd")
        # smtpd does not look at the client while a filter decides, so this ends like any scan that takes too long.
        self.our_line('answer="?451 4\\.3\\.0 ')
        self.assertEqual(self.stack.queue(), [])
        self.assertNotIn(b"nobody waits", b"".join(self.stack.mailbox("alice@example.org")))


class FilterOptions(StackTest):
    """Each test starts smtpd with other options for the filter, and the last thing puts the usual ones back."""

    def tearDown(self):
        self.stack.set_smtpd_conf(filter_options=OPTIONS)
        self.stack.restart_smtpd()
        if not self.stack.rspamd.alive():
            self.stack.rspamd.start()
        super().tearDown()

    def restart_with(self, options):
        self.stack.set_smtpd_conf(filter_options=options)
        self.stack.restart_smtpd()

    def test_wrong_option(self):
        self.restart_with("--nosuch-option")
        with self.stack.session() as session:
            for _ in range(2):  # the session goes on after the refusal
                session.envelope("sender@client.example.net", ["alice@example.org"])
                session.content(message("with a wrong option"))
                self.assertRegex(session.dot().text, r"^451 4\.3\.0 ")
        self.stack.wait_log("nosuch-option", self.since)
        self.assertEqual(self.stack.queue(), [])
        self.stack.assert_smtpd_alive()

    def test_wrong_value_in_the_configuration_file(self):
        Path("/etc/filter-mailbridge.toml").write_text('rspamd = "http://127.0.0.1:11333"\nscan-timeout = "soon"\n')
        self.restart_with("--config /etc/filter-mailbridge.toml")
        outcome = self.send(message("with a wrong file"))
        self.assertRegex(outcome.final.text, r"^451 4\.3\.0 ")
        self.stack.wait_log(r"/etc/filter-mailbridge\.toml:2\b.*scan-timeout", self.since)
        self.stack.assert_smtpd_alive()

    def test_an_earlier_filters_junk_is_no_forgery(self):
        """Without a scan nobody else adds X-Spam: Yes."""
        chain = ('filter "earlier" phase connect match src { "192.0.2.99" } junk\n'
                 'filter "both" chain { "earlier", "mailbridge" }\n\nlisten on 0.0.0.0 filter "both"\n')
        listener = 'listen on 0.0.0.0 filter "mailbridge"\n'
        self.stack.set_smtpd_conf(lambda text: text.replace(listener, chain), "--on-error accept")
        self.stack.restart_smtpd()
        self.stack.rspamd.stop()
        mail = message("marked by an earlier filter", extra=b"X-Spam: No\r\n")
        self.accepted(mail)
        stored = self.stack.wait_mail("alice@example.org", b"Subject: marked by an earlier filter\n", "Junk")
        self.assert_delivered(stored, mail, removed=(b"X-Spam: No",))
        self.assertEqual(header(stored, b"X-Spam"), [b"Yes"])

    def test_accept_without_a_scan(self):
        self.restart_with("--on-error accept")
        self.stack.rspamd.stop()
        forged = (b"X-Spam: Yes", b"Authentication-Results: mail.example.org; dkim=pass")
        foreign = b"Authentication-Results: mx.elsewhere.example; spf=pass"
        mail = message("unscanned", extra=b"".join(line + b"\r\n" for line in (*forged, foreign)))
        self.accepted(mail)
        stored = self.stack.wait_mail("alice@example.org", b"Subject: unscanned\n")
        self.assert_delivered(stored, mail, removed=forged)
        self.assertEqual(len(header(stored, b"X-Spam-Error")), 1)


class DeliveryFails(StackTest):
    def tearDown(self):
        self.stack.dovecot.resume()
        if not self.stack.dovecot.alive():
            self.stack.dovecot.start()
        super().tearDown()

    def waits_in_the_queue(self):
        eventually(lambda: [line for line in self.stack.queue() if "|pending|" in line], "one envelope waits", 30)

    def arrives(self, subject):
        self.stack.retry_now()
        self.stack.wait_mail("alice@example.org", f"Subject: {subject}\n".encode())
        self.stack.wait_queue_empty()

    def test_dovecot_stopped(self):
        self.stack.dovecot.stop()
        self.accepted(message("later"))
        self.stack.wait_log(r"mda delivery.*result=TempFail", self.since)
        self.waits_in_the_queue()
        self.stack.dovecot.start()
        self.arrives("later")

    def test_dovecot_stops_while_the_agent_waits(self):
        self.stack.dovecot.pause()
        self.accepted(message("no reply"))
        self.agent_pid()
        self.stack.dovecot.kill()
        self.stack.wait_log(r"mda delivery.*result=TempFail", self.since)
        self.waits_in_the_queue()
        self.stack.dovecot.start()
        self.arrives("no reply")

    def test_agent_killed(self):
        self.stack.dovecot.pause()
        self.accepted(message("the agent dies"))
        os.kill(self.agent_pid(), signal.SIGKILL)
        self.stack.wait_log(r"mda delivery.*result=TempFail", self.since)
        self.waits_in_the_queue()
        self.stack.dovecot.resume()
        self.arrives("the agent dies")

    def agent_pid(self):
        return eventually(lambda: running(self.stack.smtpd.process.pid, "lda2lmtp"), "smtpd runs lda2lmtp")[0]

    def test_mailbox_full(self):
        """carol's quota is 4K: a bounce with Dovecot's own words, at once."""
        self.accepted(message("too much", b"0123456789abcdef\r\n" * 1000), sender="bob@example.org", to="carol@example.org")
        line = self.stack.wait_log(r"mda delivery.*carol@example\.org.*result=", self.since)
        self.assertRegex(line, r"result=PermFail.*552 5\.2\.2 ")
        bounce = self.stack.wait_mail("bob@example.org", b"552 5.2.2 ")
        self.assertEqual(header(bounce, b"Return-Path"), [b"<>"])
        self.assertEqual(self.stack.mailbox("carol@example.org"), [])

    def test_user_that_only_smtpd_knows(self):
        with open("/etc/smtpd-addresses", "a") as table:
            table.write("ghost@example.org vmail\n")
        self.stack.restart_smtpd()
        self.accepted(message("for a ghost"), sender="bob@example.org", to="ghost@example.org")
        line = self.stack.wait_log(r"mda delivery.*ghost@example\.org.*result=", self.since)
        self.assertRegex(line, r"result=PermFail.*550 5\.1\.1 ")
        bounce = self.stack.wait_mail("bob@example.org", b"550 5.1.1 ")
        self.assertTrue(re.search(rb"ghost@example\.org", bounce))


if __name__ == "__main__":
    main(filter_options=OPTIONS)
