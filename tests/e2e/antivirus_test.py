"""Viruses: smtpd-conf/antivirus on Debian's clamd, whose signatures are our own."""

import base64
import contextlib
import hashlib
import os
import re
import shutil
from pathlib import Path

from smtp import message
from stack import ROOT, Server, StackTest, connect, header, main, run

CONF = ROOT / "smtpd-conf/antivirus"
CLAMD_CONF = "/etc/clamav/clamd.conf"
ANTIVIRUS = "/etc/rspamd/local.d/antivirus.conf"
SOCKET = "/run/clamav/clamd.ctl"

# In pieces: scanners would eat this file. https://www.eicar.org/download-anti-malware-testfile/
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}" + b"$EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!" + b"$H+H*"
MARKER = b"MAILBRIDGE-STANDARD-ANTIVIRUS-TEST-MARKER"
SIGNATURES = {
    # MD5:size:name of a whole file, and name:any type:any offset:hex of what a file contains.
    "mailbridge.hdb": f"{hashlib.md5(EICAR).hexdigest()}:{len(EICAR)}:Mailbridge.Test.EICAR\n",
    "mailbridge.ndb": f"Mailbridge.Test.Marker:0:*:{MARKER.hex()}\n",
}
UNAVAILABLE = "451 4.7.1 virus scanner unavailable, try again later"


def refusal(name):
    return f"554 5.7.1 clamav: virus found: '{name}.UNOFFICIAL'"  # smtpd logs it between double quotes


def with_attachment(subject, content, text=b"See the attachment.\r\n", name=b"invoice.com"):
    body = (b"--=_=\r\nContent-Type: text/plain\r\n\r\n" + text +
            b"--=_=\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
            b"Content-Disposition: attachment; filename=" + name + b"\r\n\r\n" +
            base64.encodebytes(content).replace(b"\n", b"\r\n") + b"--=_=--\r\n")
    return message(subject, body).replace(b"text/plain; charset=utf-8", b'multipart/mixed; boundary="=_="', 1)


def clamd_conf():
    """Debian's own with the lines of the set in their place, as an administrator would change it."""
    text = Path(CLAMD_CONF).read_text()
    for key, value in re.findall(r"^(\w+) (.*)", (CONF / "clamav/clamd.conf").read_text(), re.MULTILINE):
        text, count = re.subn(rf"^{key} .*", f"{key} {value}", text, flags=re.MULTILINE)
        assert count == 1, f"Debian's clamd.conf has {count} lines {key}"
    return text


def rspamd_files():
    return {f"local.d/{file.name}": file.read_text() for file in (CONF / "rspamd/local.d").iterdir()}


class AntivirusTest(StackTest):
    @classmethod
    def setUpClass(cls):
        run("mount", "-t", "tmpfs", "tmpfs", "/var/lib/clamav")
        for name, text in SIGNATURES.items():
            Path("/var/lib/clamav", name).write_text(text)
        for directory in ("/run/clamav", "/var/log/clamav"):
            os.mkdir(directory)
            shutil.chown(directory, "clamav", "clamav")
        Path(CLAMD_CONF).write_text(clamd_conf())
        cls.clamd = Server("clamd", ["clamd", "--foreground"], lambda: connect(SOCKET).close() or True)
        cls.clamd.start()

    @classmethod
    def tearDownClass(cls):
        cls.clamd.stop()

    @contextlib.contextmanager
    def changed(self, server, path, old, new):
        """The server runs with one line of its configuration changed."""
        text = Path(path).read_text()
        assert text.count(old) == 1, f"{old!r} in {path}"
        server.stop()
        Path(path).write_text(text.replace(old, new))
        server.start()
        try:
            yield
        finally:
            server.stop()
            Path(path).write_text(text)
            server.start()

    def test_attachment(self):
        self.refused(with_attachment("attached", EICAR), refusal("Mailbridge.Test.EICAR"))
        line = self.our_line("action=reject")
        score, required = map(float, re.search(r"score=(\S+)/(\S+)", line).groups())
        self.assertLess(score, required)  # it is the action that counts

    def test_text(self):
        self.refused(message("in the text", b"before " + MARKER + b" after\r\n"), refusal("Mailbridge.Test.Marker"))

    def test_a_hash_is_of_a_whole_file(self):
        self.accepted(message("pasted", b"before\r\n" + EICAR + b"\r\nafter\r\n"))
        self.stack.wait_mail("alice@example.org", b"Subject: pasted\n")

    def test_clean(self):
        mail = with_attachment("clean", b"nothing to see", name=b"notes.bin")
        self.accepted(mail)
        stored = self.stack.wait_mail("alice@example.org", b"Subject: clean\n")
        self.assert_delivered(stored, mail)
        self.assertNotIn(b"CLAM", header(stored, b"X-Spamd-Result")[0])

    def test_the_largest_mail_is_looked_at(self):
        """smtpd takes 35M."""
        mail = with_attachment("large", EICAR, b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab\r\n" * 530_000)
        self.refused(mail, refusal("Mailbridge.Test.EICAR"))

    def test_clamd_stops_and_returns(self):
        self.clamd.stop()
        try:
            self.refused(with_attachment("clamd is down", EICAR), UNAVAILABLE)
            self.refused(message("clean while clamd is down"), UNAVAILABLE)
        finally:
            self.clamd.start()
        self.refused(with_attachment("clamd is back", EICAR), refusal("Mailbridge.Test.EICAR"))

    def test_clamd_hangs(self):
        with self.changed(self.stack.rspamd, ANTIVIRUS, "timeout = 8.0", "timeout = 1.0"):
            self.refused_while_clamd_hangs(UNAVAILABLE)

    def test_not_looked_at_in_time(self):
        with self.changed(self.stack.rspamd, "/etc/rspamd/local.d/options.inc", "task_timeout = 20s", "task_timeout = 1s"):
            self.refused_while_clamd_hangs("451 4.7.1 timeout processing message")

    def refused_while_clamd_hangs(self, reply):
        self.clamd.pause()
        try:
            self.refused(message("clamd hangs"), reply)
        finally:
            self.clamd.resume()

    # What the settings are for: each test leaves one out.

    def test_without_force_actions_a_stopped_clamd_lets_viruses_through(self):
        with self.changed(self.stack.rspamd, "/etc/rspamd/local.d/force_actions.conf", '"soft reject"', '"no action"'):
            self.clamd.stop()
            try:
                self.accepted(with_attachment("through", EICAR))
            finally:
                self.clamd.start()
        stored = self.stack.wait_mail("alice@example.org", b"Subject: through\n")
        self.assertIn(b"CLAM_VIRUS_FAIL(0.00)", header(stored, b"X-Spamd-Result")[0])

    def test_by_parts_texts_are_not_looked_at(self):
        with self.changed(self.stack.rspamd, ANTIVIRUS, "scan_mime_parts = false", ""):
            self.accepted(message("by parts", b"before " + MARKER + b" after\r\n"))
            self.refused(with_attachment("a part", EICAR), refusal("Mailbridge.Test.EICAR"))
        self.stack.wait_mail("alice@example.org", b"Subject: by parts\n")

    def test_more_than_clamd_takes_is_never_accepted(self):
        with self.changed(self.clamd, CLAMD_CONF, "StreamMaxLength 40M", "StreamMaxLength 1M"):
            self.refused(message("above StreamMaxLength", b"0123456789abcdef0123456789abcdef\r\n" * 100_000), UNAVAILABLE)


if __name__ == "__main__":
    main(rspamd=rspamd_files())
