"""Clients that come in TLS and authenticate, on 587 (STARTTLS) and 465, with a certificate of our own; what rspamd is told of them,
what is signed for them, and what becomes of what rspamd would refuse. OpenSMTPD of Debian 12 (6.8) can do neither TLS nor AUTH."""

import re
import smtplib
import ssl
import sys
from pathlib import Path

import dkim

from outbound_test import key, published
from smtp import Sink, message
from stack import SERVER4, SINK, SMTPD, StackTest, enter, eventually, header, main, run
from tap import Tap

CERTIFICATE, KEY = Path("/etc/mail.crt"), Path("/etc/mail.key")
PASSWORD = "correct horse"
RECIPIENT = "someone@sink.example.com"
TAP = "/run/tap.sock"
PORT = 2525
LISTENERS = f"""
pki mail cert "{CERTIFICATE}"
pki mail key "{KEY}"
table credentials file:/etc/credentials
listen on {SERVER4} port 587 tls-require pki mail auth <credentials> filter "mailbridge"
listen on {SERVER4} port 465 smtps pki mail auth <credentials> filter "mailbridge"
"""


def smtpd_conf(text):
    text = text.replace("\nlisten on socket", LISTENERS + "listen on socket").replace("unix:/run/rspamd/scan.sock", f"unix:{TAP}")
    text = text.replace('action "outbound" relay\n', f'action "outbound" relay host smtp+notls://{SINK}:{PORT}\n')
    return text + 'match auth from any for any action "outbound"\n'


def prepare(stack):
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", KEY,
        "-out", CERTIFICATE, "-subj", "/CN=mail.example.org", "-addext", f"subjectAltName=DNS:mail.example.org,IP:{SERVER4}")
    KEY.chmod(0o600)
    Path("/etc/credentials").write_text(f"alice {run('smtpctl', 'encrypt', PASSWORD).strip()}\n")
    stack.tap = Tap(TAP, "/run/rspamd/scan.sock")


class TlsTest(StackTest):
    def connect(self, port):
        context = ssl.create_default_context(cafile=CERTIFICATE)
        if port == 465:
            client = smtplib.SMTP_SSL(SERVER4, port, "laptop.example.org", timeout=20, context=context)
        else:
            client = smtplib.SMTP(SERVER4, port, "laptop.example.org", timeout=20)
            client.starttls(context=context)
        self.addCleanup(client.close)
        client.ehlo()
        return client

    def submitted(self, port, subject, to=RECIPIENT, mail=None):
        """As alice, who has authenticated: the reply to the dot."""
        client = self.connect(port)
        client.login("alice", PASSWORD)
        self.assertEqual(client.mail("alice@example.org")[0], 250)
        self.assertEqual(client.rcpt(to)[0], 250)
        code, text = client.data(mail or message(subject, sender="alice@example.org", to=to))
        client.quit()
        return code, text.decode()

    def relayed(self, subject):
        return eventually(lambda: [mail for mail in sink.mails if f"Subject: {subject}\r\n".encode() in mail], f"{subject} is relayed")[0]

    def test_without_tls_and_without_a_password(self):
        with smtplib.SMTP(SERVER4, 587, "laptop.example.org", timeout=20) as client:
            client.ehlo()
            self.assertNotIn("auth", client.esmtp_features)
            code, text = client.mail("alice@example.org")
            self.assertNotEqual(code // 100, 2, text)
        for port in (587, 465):
            client = self.connect(port)
            self.assertEqual(client.mail("alice@example.org")[0], 530)
            with self.assertRaises(smtplib.SMTPAuthenticationError) as refused:
                client.login("alice", "wrong")
            self.assertEqual(refused.exception.smtp_code, 535)

    def test_rspamd_is_told_of_tls_and_user(self):
        for port in (587, 465):
            with self.subTest(port):
                self.assertEqual(self.submitted(port, f"told on {port}")[0], 250)
                request = self.stack.tap.requests[-1]
                self.assertEqual(request.values(b"User"), [b"alice"])
                self.assertEqual(request.values(b"Helo"), [b"laptop.example.org"])
                self.assertRegex(request.values(b"TLS-Version")[0], rb"^TLSv1\.[23]$")
                self.assertRegex(request.values(b"TLS-Cipher")[0], rb"^(TLS_|ECDHE)")
                self.assertNotIn(PASSWORD.encode(), request.head + request.message)
                self.relayed(f"told on {port}")
                self.our_line("result=committed")

    def test_what_is_submitted_is_completed_and_signed(self):
        """--submission: smtpd adds Date and Message-ID on 587, and after authentication completes addresses and drops Bcc."""
        for port in (587, 465):
            for name, fields in {"whole": "Date: Sun, 01 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n",
                                 "bcc": "Date: Sun, 01 Nov 2026 10:00:00 +0000\r\nMessage-ID: <2@example.org>\r\nBcc: secret@example.org\r\n",
                                 "bare": "Date: Sun, 01 Nov 2026 10:00:00 +0000\r\nMessage-ID: <3@example.org>\r\nCc: bob\r\n",
                                 "long": "Date: Sun, 01 Nov 2026 10:00:00 +0000\r\nMessage-ID: <4@example.org>\r\nX-Long: " + "y" * 900 + "\r\n",
                                 **({"neither": ""} if port == 587 else {})}.items():
                with self.subTest(port=port, mail=name):
                    subject = f"submitted {name} {port}"
                    head = f"From: Alice <alice@example.org>\r\nTo: {RECIPIENT}\r\nSubject: {subject}\r\n{fields}"
                    mail = head.encode() + b"\r\nHello.\r\n" + b"z" * 3000 + b"\r\n"
                    self.assertEqual(self.submitted(port, subject, mail=mail)[0], 250)
                    arrived = self.relayed(subject)
                    self.assertEqual([len(header(arrived, field)) for field in (b"Date", b"Message-ID", b"Bcc", b"DKIM-Signature")],
                                     [1, 1, 0, 1], arrived)
                    self.assertTrue(dkim.verify(arrived, dnsfunc=lambda *_, **__: public), arrived)
                    self.assertIn(b"\r\n" + b"z" * 3000 + b"\r\n", arrived)

    def test_what_rspamd_refuses(self):
        self.assertEqual(self.submitted(587, "[spam] of our own"), (554, "5.7.1 Spam message rejected"))
        self.assertEqual(self.submitted(465, "[junk] of our own", "alice@example.org")[0], 250)
        self.stack.wait_mail("alice@example.org", b"Subject: [junk] of our own\n", "Junk")

    def test_starttls_begins_anew(self):
        """What was said in the clear counts no more."""
        client = smtplib.SMTP(SERVER4, 587, "in.the.clear.example", timeout=20)
        self.addCleanup(client.close)
        client.ehlo()
        client.starttls(context=ssl.create_default_context(cafile=CERTIFICATE))
        client.ehlo("in.tls.example")
        client.login("alice", PASSWORD)
        client.sendmail("alice@example.org", [RECIPIENT], message("anew", sender="alice@example.org", to=RECIPIENT))
        self.relayed("anew")
        self.assertEqual(self.stack.tap.requests[-1].values(b"Helo"), [b"in.tls.example"])

    def test_lda2lmtp_reads_it_from_smtpds_field(self):
        """A mail for alice, scanned at delivery: smtpd's Received field tells of TLS and of the user."""
        self.assertEqual(self.submitted(587, "for alice", "alice@example.org")[0], 250)
        stored = self.stack.wait_mail("alice@example.org", b"Subject: for alice\n")
        received = re.search(rb"(?m)^Received: from laptop\.example\.org .*\n(?:[ \t].*\n)*", stored)[0]
        before = len(self.stack.tap.requests)
        status, said = self.stack.run_agent(received + b"Subject: scanned again\n\nHello.\n", "-l", "/run/dovecot/lmtp", "--rspamd",
                                            f"unix:{TAP}", sender="alice@example.org", recipient="bob@example.org")
        self.assertEqual((status, said), (0, b""))
        request = self.stack.tap.requests[before]
        self.assertRegex(request.values(b"TLS-Version")[0], rb"^TLSv1\.[23]$")
        self.assertEqual(request.values(b"User"), [b"authenticated"])


if __name__ == "__main__":
    if SMTPD < (7, 0):
        print(f"OpenSMTPD {'.'.join(map(str, SMTPD))} has no TLS that a client of today accepts: nothing to see here")
        sys.exit(77)
    private, record = key()
    public = record.encode()
    enter()
    sink = Sink((SINK, PORT))
    main(smtpd_conf=smtpd_conf, filter_options="--submission", prepare=prepare, dns=published(record), rspamd={
        "dkim/test.key": private,
        "local.d/dkim_signing.conf": 'allow_username_mismatch = true;\nuse_domain = "header";\nuse_esld = false;\n'
                                     'domain { example.org { path = "/etc/rspamd/dkim/test.key"; selector = "test"; } }\n'})
