"""Submitted mail, signed at the filter and then completed by smtpd: with --submission every signature still verifies where the
mail arrives, for dkimpy and for rspamd, with Date, Message-ID and Bcc signed and oversigned.

The header styles go through a loopback listener, a listener on port 587, and sendmail(8) on the local socket. Without the option
the same set of headers breaks: the proof that this can fail.
"""

import json
import re

import dkim

from outbound_test import key, published
from smtp import Session, Sink
from stack import CLIENT4, SERVER4, SINK, SMTPD, StackTest, enter, eventually, header, main, run

PORT = 2525
OPTIONS = "--submission"
SINK_RECIPIENT = "someone@sink.example.com"
LISTENERS = {"loopback": (("127.0.0.1", 2526), "127.0.0.1"), "587": ((SERVER4, 587), SERVER4)}
# rspamd's default, with Date, Message-ID and Bcc oversigned: nobody can add one later, smtpd included.
SIGNED = ("(o)from:(x)sender:(o)reply-to:(o)subject:(o)date:(o)message-id:(o)to:(o)cc:(o)bcc:(x)mime-version:(x)content-type:"
          "(x)content-transfer-encoding:resent-to:resent-cc:resent-from:resent-sender:resent-message-id:(x)in-reply-to:"
          "(x)references:list-id:list-help:list-owner:list-unsubscribe:list-subscribe:list-post:(x)openpgp:(x)autocrypt")

FROM, TO, SUBJECT = "From: Alice <alice@example.org>\r\n", f"To: {SINK_RECIPIENT}\r\n", "Subject: a style\r\n"
DATE, ID = "Date: Sun, 01 Nov 2026 10:00:00 +0000\r\n", "Message-ID: <1@example.org>\r\n"
REST = SUBJECT + DATE + ID
MANY = ",\r\n ".join(f"Number {i} <number{i}@sink.example.com>" for i in range(40))

STYLES = {
    "plain": FROM + TO + REST,
    "no-blank-after-colon": FROM + f"To:{SINK_RECIPIENT}\r\n" + REST,
    "lower-case-names": (FROM + TO + REST).replace("From:", "from:").replace("To:", "TO:").replace("Date:", "date:"),
    "trailing-blanks": FROM + f"To: {SINK_RECIPIENT} \t \r\nCc: carol@sink.example.com  \r\n" + REST,
    "folded": FROM + f"To: {SINK_RECIPIENT},\r\n\tbob@sink.example.com,\r\n   carol@sink.example.com\r\n" + REST,
    "folded-in-an-address": FROM + f"To: Some\r\n One\r\n\t<{SINK_RECIPIENT}>\r\n" + REST,
    "forty-recipients": FROM + f"To: {MANY}\r\n" + REST,
    "one-long-line": FROM + f"To: {MANY}\r\n".replace(",\r\n ", ",")[:900].rpartition(",")[0] + "\r\n" + REST,
    "quoted": FROM + f'To: "One, Some" <{SINK_RECIPIENT}>\r\n' + REST,
    "quotes-in-quotes": FROM + f'To: "\\"One, Some\\"" <{SINK_RECIPIENT}>\r\n' + REST,
    "comment": FROM + f"To: {SINK_RECIPIENT} (some, one)\r\n" + REST,
    "encoded-word": FROM + f"To: =?utf-8?q?S=C3=B6me=2C_One?= <{SINK_RECIPIENT}>\r\n" + REST,
    "raw-8-bit": FROM + f"To: Söme Öne <{SINK_RECIPIENT}>\r\nCc: Jörg <joerg@sink.example.com>\r\n" + REST,
    "raw-8-bit-from": "From: Älice <alice@example.org>\r\n" + TO + REST,
    "group": FROM + f"To: friends: {SINK_RECIPIENT}, bob@sink.example.com;\r\n" + REST,
    "empty-group": FROM + "To: undisclosed-recipients:;\r\n" + REST,
    "empty-to": FROM + "To:\r\n" + REST,
    "trailing-comma": FROM + f"To: {SINK_RECIPIENT},\r\n" + REST,
    "bare-to": FROM + "To: bob\r\n" + REST,
    "bare-cc": FROM + TO + "Cc: bob, Carol <carol>,\r\n\tdave (the other)\r\n" + REST,
    "bare-in-a-group": FROM + "To: friends: bob, carol;\r\n" + REST,
    "bare-from": "From: alice\r\n" + TO + REST,
    "bcc": FROM + TO + "Bcc: secret@sink.example.com\r\n" + REST,
    "bcc-folded-twice": FROM + "Bcc: secret@sink.example.com,\r\n\tother@sink.example.com\r\n" + TO + "bcc: third\r\n" + REST,
    "no-date": FROM + TO + SUBJECT + ID,
    "no-message-id": FROM + TO + SUBJECT + DATE,
    "neither": FROM + TO + SUBJECT,
    "from-alone": FROM,
    "all-at-once": "From: alice\r\nTo: bob,\r\n\tCarol <carol>\r\nCc: dave\r\nBcc: eve\r\n" + SUBJECT,
}
# What smtpd breaks without the option, on these two listeners. On port 587 it means to add Date and Message-ID, but before 7.4 it
# compares the port in the wrong byte order.
ALWAYS_BROKEN = {"bare-to", "bare-cc", "bare-in-a-group", "bcc", "bcc-folded-twice", "all-at-once"}
INCOMPLETE = {"no-date", "no-message-id", "neither", "from-alone"}
if SMTPD < (7, 5):
    ALWAYS_BROKEN.add("quotes-in-quotes")
BROKEN = {"loopback": ALWAYS_BROKEN | INCOMPLETE, "587": ALWAYS_BROKEN | (INCOMPLETE if SMTPD >= (7, 4) else set())}
UNSIGNED_WITHOUT = {"bare-from", "all-at-once"}  # rspamd finds no domain to sign for


def body(marker):
    return f"This is {marker}.\r\n\r\n.dots  \t\r\n\r\n".encode()


class SubmissionTest(StackTest):
    def arrived(self, markers):
        """What the sink got: {marker: mail}."""
        def found():
            got = {re.search(rb"This is (\S+)\.\r\n", mail)[1].decode(): mail for mail in sink.mails if b"This is " in mail}
            return got if markers <= got.keys() else None

        def story():
            recent = "\n".join(self.stack.syslog.lines[-15:])
            return f"{len(sink.mails)} of {len(markers)} mails are relayed; the log ends\n{recent}"

        return eventually(found, story, 60)

    def through(self, listener, prefix):
        """Every style in one session: {style: mail as it arrived}."""
        address, source = LISTENERS[listener]
        markers = {f"{prefix}-{style}": style for style in STYLES}
        with Session(address, source=source) as session:
            for marker, style in markers.items():
                _, data = session.envelope("alice@example.org", [SINK_RECIPIENT])
                self.assertEqual(data.code, 354, marker)
                session.content(STYLES[style].encode() + b"\r\n" + body(marker))
                self.assertEqual(session.dot().code, 250, marker)
        arrived = self.arrived(markers.keys())
        return {style: arrived[marker] for marker, style in markers.items()}

    def symbols(self, mail):
        status, reply = self.stack.scan(mail, f"IP: {CLIENT4}\r\nFrom: alice@example.org\r\nRcpt: {SINK_RECIPIENT}\r\n")
        self.assertEqual(status, 200)
        return json.loads(reply)["symbols"]

    def verifies(self, mail):
        """dkimpy and rspamd must agree."""
        for_dkimpy = dkim.verify(mail, dnsfunc=lambda *_, **__: public)
        symbols = self.symbols(mail)
        self.assertEqual(for_dkimpy, "R_DKIM_ALLOW" in symbols, mail)
        self.assertEqual(not for_dkimpy, "R_DKIM_REJECT" in symbols, mail)
        return for_dkimpy

    def all_verify(self, mails):
        for style, mail in mails.items():
            with self.subTest(style):
                self.assertEqual(len(header(mail, b"DKIM-Signature")), 1, mail)
                self.assertEqual([len(header(mail, name)) for name in (b"Date", b"Message-ID", b"Bcc")], [1, 1, 0], mail)
                self.assertTrue(self.verifies(mail), mail)

    def test_loopback_listener(self):
        mails = self.through("loopback", "loopback")
        self.all_verify(mails)
        # What was added is in smtpd's own words.
        received = header(mails["neither"], b"Received")[0]
        self.assertEqual(header(mails["neither"], b"Date"), [received.rpartition(b";")[2].strip()])
        self.assertRegex(header(mails["neither"], b"Message-ID")[0], rb"^<[0-9a-f]{8}\.[0-9a-f]{16}@mail\.example\.org>$")
        self.assertEqual(header(mails["all-at-once"], b"To"), [b"bob@mail.example.org, Carol <carol@mail.example.org>"])

    def test_port_587(self):
        self.all_verify(self.through("587", "587"))

    def test_local_socket(self):
        markers = {f"socket-{style}": style for style in STYLES}
        for marker, style in markers.items():
            mail = (STYLES[style].encode() + b"\r\n" + body(marker)).replace(b"\r\n", b"\n")
            run("sendmail", "-f", "alice@example.org", SINK_RECIPIENT, input=mail)
        arrived = self.arrived(markers.keys())
        self.all_verify({style: arrived[marker] for marker, style in markers.items()})

    def test_two_from_fields_are_not_signed(self):
        address, source = LISTENERS["loopback"]
        mail = (FROM + FROM + TO + REST).encode() + b"\r\n" + body("two-from")
        self.accepted(mail, sender="alice@example.org", to=SINK_RECIPIENT, address=address, source=source)
        self.assertEqual(header(self.arrived({"two-from"})["two-from"], b"DKIM-Signature"), [])

    def test_a_body_line_of_3000_bytes(self):
        """Before 7.4 smtpd cuts it, whatever we do."""
        address, source = LISTENERS["loopback"]
        mail = (FROM + TO + REST).encode() + b"\r\n" + body("long-line") + b"x" * 3000 + b"\r\n"
        self.accepted(mail, sender="alice@example.org", to=SINK_RECIPIENT, address=address, source=source)
        self.assertEqual(self.verifies(self.arrived({"long-line"})["long-line"]), SMTPD >= (7, 4))

    def test_what_others_send_is_not_touched(self):
        """smtpd completes the addresses of all mail; rspamd must see them as they came."""
        self.accepted((FROM + "To: bob\r\nBcc: eve\r\n" + SUBJECT).encode() + b"\r\n" + body("inbound"))
        stored = self.stack.wait_mail("alice@example.org", b"This is inbound.", folder="Junk")
        self.assertEqual([header(stored, b"Date"), header(stored, b"Message-ID"), header(stored, b"To")],
                         [[], [], [b"bob@mail.example.org"]])
        self.our_line(r"symbols=.*\bMISSING_MID\b.*\bMISSING_DATE\b")

    def use_options(self, options):
        self.stack.set_smtpd_conf(smtpd_conf, options)
        self.stack.restart_smtpd()

    def test_without_the_option_it_breaks(self):
        self.use_options("")
        self.addCleanup(self.use_options, OPTIONS)
        for listener, broken in BROKEN.items():
            for style, mail in self.through(listener, f"{listener}-without").items():
                with self.subTest(f"{listener} {style}"):
                    signed = len(header(mail, b"DKIM-Signature"))
                    self.assertEqual(signed, 0 if style in UNSIGNED_WITHOUT else 1, mail)
                    if signed:
                        self.assertEqual(self.verifies(mail), style not in broken, mail)


def smtpd_conf(text):
    assert 'action "outbound" relay\n' in text
    listeners = "".join(f'listen on {address} port {port} filter "mailbridge"\n' for (address, port), _ in LISTENERS.values())
    text = text.replace("\nlisten on socket", "\n" + listeners + "listen on socket")
    text = text.replace('action "outbound" relay\n', f'action "outbound" relay host smtp+notls://{SINK}:{PORT}\n')
    return text + 'match from any for domain "sink.example.com" action "outbound"\n'


if __name__ == "__main__":
    private, record = key()
    public = record.encode()
    enter()
    sink = Sink((SINK, PORT))
    main(smtpd_conf=smtpd_conf, filter_options=OPTIONS, dns=published(record), rspamd={
        "dkim/test.key": private,
        "local.d/dkim_signing.conf": f'sign_networks = ["{SERVER4}/32"];\nsign_headers = "{SIGNED}";\n'
                                     'domain { example.org { path = "/etc/rspamd/dkim/test.key"; selector = "test"; } }\n'})
