#!/usr/bin/python3
"""An SMTP client that sends exactly the bytes it is given.

As a program: smtp.py HOST:PORT RECIPIENT SUBJECT sends a small mail and shows the dialogue.
"""

import os
import re
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate


@dataclass
class Reply:
    code: int
    text: str  # all lines, as received

    def __str__(self):
        return self.text


class Session:
    """One connection. `said` keeps the dialogue: ("C" or "S", text)."""

    def __init__(self, address, *, source=None, helo="client.example.net", timeout=60.0):
        self.socket = socket.create_connection(address, timeout, (source, 0) if source else None)
        self.socket.settimeout(timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or the dot waits 40 ms for the ACK of what is before it
        self.reader = self.socket.makefile("rb")
        self.said = []
        self.banner = self.reply()
        self.hello = self.command(f"EHLO {helo}") if helo else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.reader.close()
        self.socket.close()

    def reply(self):
        lines = []
        while True:
            line = self.reader.readline(4096).decode(errors="replace").rstrip("\r\n")
            if not line:
                raise ConnectionError(f"the server closed the connection after {self.said[-3:]}")
            lines.append(line)
            if line[3:4] != "-":
                break
        self.said.append(("S", "\n".join(lines)))
        return Reply(int(lines[-1][:3]), "\n".join(lines))

    def command(self, line):
        self.said.append(("C", line if isinstance(line, str) else repr(line)))
        self.raw((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self.reply()

    def raw(self, data):
        self.socket.sendall(data)

    def envelope(self, sender, recipients):
        """MAIL, every RCPT, DATA: the replies to RCPT, and the reply to DATA or None when nobody was accepted."""
        mail = self.command(f"MAIL FROM:<{sender}>")
        if mail.code != 250:
            return [mail], None
        replies = [self.command(f"RCPT TO:<{recipient}>") for recipient in recipients]
        return replies, self.command("DATA") if any(reply.code == 250 for reply in replies) else None

    def content(self, mail):
        """Everything but the final dot. `mail` is what the receiver should get, lines ending in CRLF."""
        self.raw(wire(mail))

    def dot(self):
        self.said.append(("C", "."))
        self.raw(b".\r\n")
        return self.reply()


def wire(mail):
    """Dots stuffed and the last line ended."""
    stuffed = re.sub(rb"(\A|\n)\.", rb"\1..", mail)
    return stuffed if not stuffed or stuffed.endswith(b"\n") else stuffed + b"\r\n"


@dataclass
class Outcome:
    recipients: list
    final: Reply  # the reply to the dot, or to the last command before it
    said: list = field(default_factory=list)


def submit(address, sender, recipients, mail, **options):
    """One mail in one session."""
    recipients = [recipients] if isinstance(recipients, str) else recipients
    with Session(address, **options) as session:
        replies, data = session.envelope(sender, recipients)
        if data is None or data.code != 354:
            return Outcome(replies, data or replies[-1], session.said)
        session.content(mail)
        return Outcome(replies, session.dot(), session.said)


def message(subject, body=b"Hello,\r\nthis is a mail.\r\n", *, sender="sender@client.example.net", to="alice@example.org",
            extra=b"", number=[0]):
    """A complete mail. Its Message-ID is unlike any other's."""
    number[0] += 1
    unique = f"{number[0]}.{os.getpid()}.{time.time_ns()}"
    head = (f"From: A Sender <{sender}>\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {formatdate(localtime=False)}\r\n"
            f"Message-ID: <{unique}@client.example.net>\r\n"
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n")
    return extra + head.encode() + b"\r\n" + body


class Sink:
    """A server that takes every mail relayed to it."""

    def __init__(self, address):
        self.mails = []
        self.listener = socket.create_server(address)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            peer, _ = self.listener.accept()
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer):
        with peer, peer.makefile("rb") as reader:
            peer.sendall(b"220 sink.example.com ESMTP\r\n")
            while line := reader.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    peer.sendall(b"354 go on\r\n")
                    lines = []
                    while (line := reader.readline()) not in (b".\r\n", b""):
                        lines.append(line[1:] if line.startswith(b".") else line)
                    self.mails.append(b"".join(lines))
                peer.sendall(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    host, _, port = sys.argv[1].rpartition(":")
    outcome = submit((host, int(port)), "you@client.example.net", sys.argv[2],
                     message(sys.argv[3], sender="you@client.example.net", to=sys.argv[2]))
    for who, text in outcome.said:
        print(f"{'-->' if who == 'C' else '<--'} {text}")
    sys.exit(outcome.final.code != 250)


if __name__ == "__main__":
    main()
