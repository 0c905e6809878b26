"""What is scanned, what becomes of it, and of what cannot be scanned: each as the SMTP client and the mailbox see it."""

import os
import signal
import socket
import threading
from pathlib import Path

from smtp import message
from stack import CLIENT4, SINK, StackTest, eventually, header, main, running

CONFIGURED = "--rspamd unix:/run/rspamd/scan.sock"
TOML = Path("/etc/filter-mailbridge.toml")
SETTINGS = """
lenient {
  id = "lenient";
  apply { actions { reject = 1000; "add header" = 900; } }
}
"""


class Answering:
    """A server of one answer for everybody."""

    def __init__(self, answer):
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            peer, _ = self.listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(self.answer)


class DecidingTest(StackTest):
    def configure(self, options="", *, toml="", rspamd="unix:/run/rspamd/scan.sock", smtpd=""):
        TOML.write_text(toml)
        options += f" --config {TOML}" if toml else ""
        self.stack.set_smtpd_conf(lambda text: smtpd + text.replace(CONFIGURED, f"--rspamd {rspamd}"), options)
        self.stack.restart_smtpd()

    def tearDown(self):
        self.stack.rspamd.resume()
        if not self.stack.rspamd.alive():
            self.stack.rspamd.start()
        super().tearDown()

    def stored(self, subject, folder="INBOX", to="alice@example.org"):
        return self.stack.wait_mail(to, f"Subject: {subject}\n".encode(), folder)


class Failures(DecidingTest):
    """One class has another policy than all the others, so it is this class that was met."""

    def accepted_with(self, subject, error):
        mail = message(subject, extra=b"X-Spam-Error: forged\r\n")
        self.accepted(mail)
        stored = self.stored(subject)
        self.assert_delivered(stored, mail, removed=(b"X-Spam-Error: forged",))
        errors = header(stored, b"X-Spam-Error")
        self.assertEqual(len(errors), 1, errors)
        self.assertRegex(errors[0], error)

    def test_unreachable(self):
        self.configure("--on-error tempfail --on-unreachable reject")
        self.stack.rspamd.stop()
        self.refused(message("unreachable"), "554 5.3.0 Message could not be scanned")

    def test_unreachable_accepted(self):
        self.configure("--on-error reject --on-unreachable accept")
        self.stack.rspamd.stop()
        self.accepted_with("unreachable, accepted", rb"^unreachable: ")

    def test_timeout(self):
        self.configure("--scan-timeout 1 --on-error reject --on-timeout accept")
        self.stack.rspamd.pause()
        self.accepted_with("timeout", rb"^timed_out: ")

    def test_http_error(self):
        server = Answering(b"HTTP/1.1 503 Out of\tservice\r\nContent-Length: 0\r\n\r\n")
        self.configure("--on-error reject --on-http-error accept", rspamd=f"http://127.0.0.1:{server.port}")
        self.accepted_with("http error", rb"^http: 503 Out of service$")

    def test_unreadable(self):
        server = Answering(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"score\":1}")
        self.configure("--on-error reject --on-unreadable accept", rspamd=f"http://127.0.0.1:{server.port}")
        self.accepted_with("unreadable", rb"^unreadable: ")

    def test_not_http(self):
        server = Answering(b"220 mail.example.org ESMTP\r\n")
        self.configure("--on-error accept --on-unreadable reject", rspamd=f"http://127.0.0.1:{server.port}")
        self.refused(message("no HTTP"), "554 5.3.0 Message could not be scanned")

    def test_too_large(self):
        self.configure("--max-size 4K")
        mail = message("[spam] too large", b"0123456789\r\n" * 1000)
        self.accepted(mail)
        stored = self.stored("[spam] too large")
        self.assert_delivered(stored, mail)
        self.assertRegex(header(stored, b"X-Spam-Error")[0], rb"^too_large: \d+ bytes are more than 4096$")
        self.refused(message("[spam] small"), "554 5.7.1 Spam message rejected")

    def test_too_large_refused(self):
        self.configure("--max-size 4K --on-too-large reject")
        self.refused(message("too large", b"0123456789\r\n" * 1000), "552 5.3.4 Message is too big to be scanned")


class Sizes(DecidingTest):
    def test_what_smtpd_cuts_off_is_not_scanned(self):
        self.configure(smtpd='smtp max-message-size "64K"\n')
        line = b"0123456789012345678901234567890123456789012345678901234567890123456789\r\n"
        before = len(self.stack.rspamd_log())
        self.refused(message("cut off", line * 2000), "552 5.3.4 Message is larger than this server takes")
        self.our_line("scan=cut-off")
        # Without EHLO the limit is not told, but it was, to somebody else.
        with self.stack.session(helo=None) as session:
            session.command("HELO client.example.net")
            session.envelope("sender@client.example.net", ["alice@example.org"])
            session.content(message("cut off", line * 2000))
            self.assertEqual(session.dot().code, 552)
        self.assertEqual([entry for entry in self.stack.rspamd_log()[before:] if "rspamd_task_write_log" in entry], [])
        self.accepted(message("whole", line * 800))
        self.stored("whole")

    def test_an_empty_message_is_not_scanned(self):
        self.configure()
        with self.stack.session() as session:
            session.envelope("sender@client.example.net", ["alice@example.org"])
            self.assertEqual(session.dot().code, 250)
        self.assertNotIn("action=", self.our_line("scan=empty"))


class Classes(DecidingTest):
    def test_skipped_network(self):
        TOML.with_name("networks").write_text(f"# the office\n{CLIENT4}/32  # one host\n")
        self.configure("--networks /etc/networks --networks 2001:db8:1::/48 --skip networks")
        forged = (b"X-Spam: Yes", b"Authentication-Results: mail.example.org; dkim=pass")
        mail = message("[spam] from the office", extra=b"".join(line + b"\r\n" for line in forged))
        self.accepted(mail)
        stored = self.stored("[spam] from the office")
        self.assert_delivered(stored, mail, removed=forged)
        self.assertEqual(header(stored, b"X-Spamd-Result"), [])
        self.our_line("scan=skipped class=networks")
        self.refused(message("[spam] from elsewhere"), "554 5.7.1 Spam message rejected", source=SINK)

    def test_skipped_recipients(self):
        self.configure("--recipients Bob@Example.Org --skip recipients")
        self.accepted(message("[spam] for bob"), to="bob@example.org")
        self.stored("[spam] for bob", to="bob@example.org")
        self.our_line("scan=skipped class=recipients")
        self.refused(message("[spam] for both"), "554 5.7.1 Spam message rejected", to=["bob@example.org", "alice@example.org"])

    def test_skipped_local(self):
        self.configure("--skip local --networks 127.0.0.0/8")
        self.stack.sendmail("alice@example.org", b"From: root@example.org\nSubject: [spam] from cron\n\ncron\n")
        self.stored("[spam] from cron")
        self.our_line("scan=skipped class=local")
        self.refused(message("[spam] not local"), "554 5.7.1 Spam message rejected")

    def test_settings_of_a_class_reach_rspamd(self):
        self.configure(f"--settings-id networks=lenient --networks {CLIENT4}")
        self.accepted(message("[junk] lenient"))
        self.assertEqual(header(self.stored("[junk] lenient"), b"X-Spam"), [])
        self.accepted(message("[junk] strict"), source=SINK)
        self.assertEqual(header(self.stored("[junk] strict", "Junk"), b"X-Spam"), [b"Yes"])

    def test_softened(self):
        self.configure(f"--soften networks --networks {CLIENT4}")
        self.accepted(message("[spam] softened"))
        stored = self.stored("[spam] softened", "Junk")
        self.assertEqual(header(stored, b"X-Spam"), [b"Yes"])
        self.assertEqual(header(stored, b"X-Spam-Answer"), [b"554 5.7.1 Spam message rejected"])
        self.our_line('action=reject .*instead_of="554 5.7.1 Spam message rejected" answer=proceed')
        self.refused(message("[later] softened"), "451 4.7.1 Come back in ten minutes")
        self.refused(message("[spam] softened"), "554 5.7.1 Spam message rejected", source=SINK)


class Actions(DecidingTest):
    def test_map(self):
        self.configure(toml="""action = ["reject=reject 550 5.7.0", "hold=tempfail Held for a while",
          "add header=subject [%d] %s", "discard=header X-Discard: wanted"]\n""")
        self.refused(message("[spam] mapped"), "550 5.7.0 Spam message rejected")
        self.refused(message("[hold] mapped"), "451 4.7.1 Held for a while")
        self.accepted(message("[junk] mapped"))
        stored = self.stack.wait_mail("alice@example.org", b"[junk] mapped")
        self.assertRegex(header(stored, b"Subject")[0], rb"^\[\d+\.\d\d\] \[junk\] mapped$")
        self.assertEqual(header(stored, b"X-Spam"), [])
        self.accepted(message("=?utf-8?B?R3LDvMOfZSBh?=\r\n =?utf-8?B?dXMgS8O2bG4g8J+YgA==?=\r\n\t=?iso-8859-1?Q?_caf=E9_[junk]?="))
        stored = self.stack.wait_mail("alice@example.org", b"R3LDvMOfZSBh")
        self.assertRegex(stored, rb"\nSubject: \[\d+\.\d\d\] =\?utf-8\?B\?R3LDvMOfZSBh\?=\n =\?utf-8\?B\?dXMgS8O2bG4g8J\+YgA==\?=\n"
                                 rb"\t=\?iso-8859-1\?Q\?_caf=E9_\[junk\]\?=\n")
        self.accepted(message("[discard] mapped", extra=b"X-Discard: forged\r\n"))
        stored = self.stored("[discard] mapped")
        self.assertEqual(header(stored, b"X-Discard"), [b"wanted"])
        self.assertEqual(header(stored, b"X-Rspamd-Action"), [])

    def test_a_wrong_map_is_told_with_its_line(self):
        self.configure(toml='\naction = ["reject=explode"]\n')
        self.refused(message("with a wrong map"), "451 4.3.0 Mail scanning is out of order, try again later")
        self.stack.wait_log(r"filter-mailbridge\.toml:2: action: reject: one of accept, .*, not explode", self.since)

    def test_monitor(self):
        self.configure("--monitor")
        for tag, action, answer in (("spam", b"reject", [b"554 5.7.1 Spam message rejected"]),
                                    ("later", b"soft reject", [b"451 4.7.1 Come back in ten minutes"]),
                                    ("junk", b"add header", []), ("subject", b"rewrite subject", [])):
            with self.subTest(tag):
                self.accepted(message(f"[{tag}] monitored"))
                stored = self.stored(f"[{tag}] monitored")
                self.assertEqual(header(stored, b"X-Rspamd-Action"), [action])
                self.assertEqual(header(stored, b"X-Spam-Answer"), answer)
                self.assertEqual(header(stored, b"X-Spam"), [])
        self.stack.rspamd.stop()
        self.accepted(message("monitored without rspamd"))
        stored = self.stored("monitored without rspamd")
        self.assertRegex(header(stored, b"X-Spam-Error")[0], rb"^unreachable: ")
        self.assertRegex(header(stored, b"X-Spam-Answer")[0], rb"^451 4\.3\.0 ")

    def test_smtpds_own_trace_stays_and_what_is_not_done_is_told(self):
        self.configure()
        mail = message("[untrace] hello", extra=b"Received: from a.example by b.example; Thu, 1 Jan 1970 00:00:00 +0000\r\n")
        self.accepted(mail)
        traces = header(self.stored("[untrace] hello"), b"Received")
        self.assertTrue([trace for trace in traces if b"by mail.example.org (OpenSMTPD)" in trace], traces)
        self.assertEqual([trace for trace in traces if b"b.example;" in trace], [])
        self.our_line("not_applied=change_from")
        os.kill(self.filter_pid(), signal.SIGUSR1)
        self.stack.wait_log(r"filter-mailbridge.*counters action\.no_action=1 .*mails=1 not_applied\.change_from=1", self.since)

    def filter_pid(self):
        return eventually(lambda: running(self.stack.smtpd.process.pid, "filter-mailbridge"), "smtpd runs filter-mailbridge")[0]


if __name__ == "__main__":
    main(rspamd={"local.d/settings.conf": SETTINGS})
