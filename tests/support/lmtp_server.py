"""An LMTP server that misbehaves as it is told and remembers which mail it has taken.

    Server("/run/test/lmtp", {"dot": [COMMIT, CLOSE]})

A script names stages and what is done there instead of the usual reply: a list of bytes to say, and of functions that are given
the Talk. The stages, in the order of a transaction:

    banner lhlo mail rcpt data body dot quit        also starttls, xclient, rset, noop, bdat (each chunk but the last)

"rcpt <bob@example.org>" is for one recipient alone, "probe rcpt" and the like for transactions with the null sender that a server with
`probes` is to treat apart. "body" comes before the mail is read, right after 354 or BDAT. Where the script says
nothing the server does what Dovecot 2.3 does: it answers what has come in with one write, ends a mail at any LF "." LF, whatever the
line ends, delivers, and says so once for each recipient.
"""

import os
import re
import select
import socket
import threading
import time
from dataclasses import dataclass

CAPABILITIES = ("8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "PIPELINING")
REPLIES = {"banner": b"220 dovecot ready.", "mail": b"250 2.1.0 OK", "rcpt": b"250 2.1.5 OK", "data": b"354 OK", "quit": b"221 2.0.0 Bye",
           "rset": b"250 2.0.0 OK", "noop": b"250 2.0.0 OK", "bdat": b"250 2.0.0 OK", "starttls": b"220 2.0.0 Begin TLS negotiation now.",
           "xclient": b"220 dovecot ready."}
DOT = re.compile(rb"\n\.\r?\n")


class Closed(Exception):
    """The talk is over."""


@dataclass
class Mail:
    sender: str
    recipient: str
    bytes: bytes  # as it lies in a mailbox: lines end with LF


# ---- what scripts are made of, besides bytes ---------------------------------------------------------------------------------


def COMMIT(talk):
    """The mail is in every mailbox."""
    talk.commit(talk.recipients)


def SAVED(talk):
    """The usual answer to the dot: committed, and one reply for each recipient."""
    COMMIT(talk)
    talk.say(b"".join(b"250 2.0.0 <%s> 8MhqC1 Saved\r\n" % name.encode() for name in talk.recipients))


def CLOSE(_):
    raise Closed


def HALF_CLOSE(talk):
    """Takes no more from here on: what the client writes now fails at once, and not only when it is late."""
    talk.socket.shutdown(socket.SHUT_RD)


def UNREAD(talk):
    """Waits until there is something that will never be read, so that a close is a reset."""
    talk.socket.recv(1, socket.MSG_PEEK)


def words(text):
    """These bytes and no line end."""
    return lambda talk: talk.say(text)


def SILENT(talk):
    """Hears everything, says nothing more."""
    talk.stuck = True
    while talk.fill():
        pass
    raise Closed


def DEAF(talk):
    """Does not even read."""
    talk.stuck = True
    watch = select.poll()
    watch.register(talk.socket, select.POLLRDHUP)
    watch.poll()
    raise Closed


# ------------------------------------------------------------------------------------------------------------------------------


class Server:
    """endpoint      a /path, or (address, port)
    script           for every connection, or a list: for the first, the second, …, the last one for all that follow
    capabilities     what LHLO lists
    byte_by_byte     each byte of what is said leaves alone
    tls              an ssl.SSLContext: for STARTTLS, and with `implicit` from the beginning
    probes           transactions with the null sender do what the script has for "probe STAGE", or the usual
    nobody           local parts that begin so are unknown
    """

    def __init__(self, endpoint, script=None, *, capabilities=CAPABILITIES, byte_by_byte=False, tls=None, implicit=False,
                 probes=False, nobody=None):
        self.scripts = script if isinstance(script, list) else [script or {}]
        self.capabilities, self.byte_by_byte, self.tls, self.implicit = capabilities, byte_by_byte, tls, implicit
        self.probes, self.nobody = probes, nobody
        self.mails = []
        self.talks = []
        self.path = endpoint if isinstance(endpoint, str) else None
        if self.path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(self.path)
            os.chmod(self.path, 0o666)
        else:
            self.listener = socket.create_server(endpoint)
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """No more connections; those that are there go on until they end or nothing more comes of them."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if self.path:
            os.unlink(self.path)
        deadline = time.monotonic() + 10
        while any(talk.thread.is_alive() and not talk.stuck for talk in self.talks) and time.monotonic() < deadline:
            time.sleep(0.01)
        for talk in self.talks:
            talk.leave()

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.talks.append(Talk(self, peer, self.scripts[min(len(self.talks), len(self.scripts) - 1)]))

    def rewrite(self, script):
        """From now on; who is connected is sent away."""
        self.scripts = [script]
        self.mails = []
        for talk in self.talks:
            talk.leave()
        self.talks = []


class Talk:
    """One connection. `said` and `heard` are its bytes, the mail's own left out."""

    def __init__(self, server, peer, script):
        self.server, self.socket, self.script = server, peer, script
        self.input = bytearray()
        self.output = b""
        self.heard = b""
        self.said = b""
        self.sender, self.recipients, self.mail = None, [], bytearray(b"\n")
        self.stuck = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def leave(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended
        self.thread.join(10)

    def _run(self):
        try:
            if self.server.implicit:
                self._handshake()
            self.act("banner", REPLIES["banner"])
            while True:
                self._command(self._line())
        except (Closed, OSError):
            pass
        finally:
            self.socket.close()

    # -- bytes

    def fill(self):
        """More input; false at its end. Whoever waits for the other side has said everything."""
        self.flush()
        piece = self.socket.recv(1 << 20)
        self.input += piece
        return len(piece) > 0

    def flush(self):
        output, self.output = self.output, b""
        self.said += output
        for piece in ([output[i:i + 1] for i in range(len(output))] if self.server.byte_by_byte else [output]):
            self.socket.sendall(piece)
            if self.server.byte_by_byte:
                time.sleep(0.001)  # so that it is read alone

    def say(self, text):
        self.output += text

    def _line(self):
        while (end := self.input.find(b"\n")) < 0:
            if not self.fill():
                raise Closed
        line = bytes(self.input[:end + 1])
        del self.input[:end + 1]
        self.heard += line
        return line.rstrip(b"\r\n")

    # -- the protocol

    def act(self, stage, usual):
        """What the script wants at this stage, or the usual; returns the first digit said."""
        first = b""
        if self.server.probes and self.sender == "":
            stage = f"probe {stage}"
        for step in self.script.get(stage, [usual]):
            if callable(step):
                if step is not SAVED and step is not COMMIT:
                    self.flush()
                step(self)
            else:
                first = first or step[:1]
                self.say(step if step.endswith(b"\n") or not step else step + b"\r\n")
        return first

    def _command(self, line):
        verb, _, rest = line.decode("utf-8", "surrogateescape").partition(" ")
        verb = verb.upper()
        if verb == "LHLO":
            lines = [b"dovecot", *(word.encode() for word in self.server.capabilities)]
            self.act("lhlo", b"".join(b"250%s%s\r\n" % (b"-" if i + 1 < len(lines) else b" ", text) for i, text in enumerate(lines)))
        elif verb == "MAIL":
            self.sender = rest.partition("<")[2].rpartition(">")[0]
            if self.act("mail", REPLIES["mail"]) != b"2":
                self.sender = None
        elif verb == "RCPT":
            self._rcpt(rest.partition("<")[2].rpartition(">")[0])
        elif verb == "DATA":
            self._data()
        elif verb == "BDAT":
            self._bdat(rest)
        elif verb == "RSET":
            self._forget()
            self.act("rset", REPLIES["rset"])
        elif verb == "STARTTLS" and self.server.tls:
            self.act("starttls", REPLIES["starttls"])
            self.flush()
            self._handshake()
        elif verb == "QUIT":
            self.act("quit", REPLIES["quit"])
            self.flush()
            raise Closed
        elif verb.lower() in REPLIES:
            self.act(verb.lower(), REPLIES[verb.lower()])
        else:
            self.say(b"500 5.5.1 Unknown command\r\n")

    def _rcpt(self, recipient):
        stage = f"rcpt <{recipient}>"
        if self.sender is None and "rcpt" not in self.script:
            self.say(b"503 5.5.0 MAIL needed first\r\n")
        elif self.server.nobody and recipient.startswith(self.server.nobody):
            self.say(b"550 5.1.1 no such user\r\n")
        elif self.act(stage if stage in self.script else "rcpt", REPLIES["rcpt"]) == b"2":
            self.recipients.append(recipient)

    def _data(self):
        if not self.recipients and "data" not in self.script:
            self.say(b"503 5.5.0 No valid recipients\r\n")
        elif self.act("data", REPLIES["data"]) == b"3":
            self.act("body", b"")
            self._read_mail()
            self._dot()

    def _read_mail(self):
        """Up to the dot, which begins a line."""
        self.mail, rest = bytearray(b"\n") + self.input, b""
        self.input = bytearray()
        searched = 0
        while not (end := DOT.search(self.mail, searched)):
            searched = max(0, len(self.mail) - 4)
            if not self.fill():
                raise Closed
            self.mail += self.input
            self.input = bytearray()
        rest = self.mail[end.end():]
        del self.mail[end.start() + 1:]
        self.input = rest
        self.mail = self.mail.replace(b"\n.", b"\n")

    def _bdat(self, rest):
        size, _, last = rest.partition(" ")
        self.act("body", b"")
        while len(self.input) < int(size):
            if not self.fill():
                raise Closed
        self.mail += self.input[:int(size)]
        del self.input[:int(size)]
        if not self.recipients:
            self.say(b"503 5.5.0 No valid recipients\r\n")
        elif last.upper() == "LAST":
            self._dot()
        else:
            self.act("bdat", REPLIES["bdat"])

    def _dot(self):
        self.act("dot", SAVED)
        self._forget()

    def _forget(self):
        self.sender, self.recipients, self.mail = None, [], bytearray(b"\n")

    def commit(self, recipients):
        content = bytes(self.mail[1:]).replace(b"\r\n", b"\n")
        self.server.mails += [Mail(self.sender, recipient, content) for recipient in recipients]

    def _handshake(self):
        self.socket = self.server.tls.wrap_socket(self.socket, server_side=True)
