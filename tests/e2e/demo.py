#!/usr/bin/python3
"""What ./demo shows once everything is built: seven mails through the real servers. Fails when one goes another way."""

import contextlib
import os
import re
import signal
import socket
import sys
import threading
import time

from smtp import message
from stack import CLIENT4, Stack, StackError, enter, header

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
KEEP_PORT = 2525
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"
PICTURE = """
   SMTP client --> OpenSMTPD <--> filter-mailbridge <--> rspamd
                       |                  |
                     queue                |
                       |                  v
                    lda2lmtp ------> Dovecot (quota, LMTP, Sieve) --> mailbox
"""


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def bold(text):
    return paint("1", text)


def dim(text):
    return paint("2", text)


def green(text):
    return paint("32", text)


class Demo:
    def __init__(self, stack):
        self.stack = stack
        self.number = 0
        self.surprises = []

    def expect(self, condition, what):
        if not condition:
            self.surprises.append(what)
            print(paint("31", f"   This is not what should happen: {what}"))

    def mail(self, title, recipients, mail, code):
        """Sends it and prints the dialogue and our log lines."""
        self.number += 1
        print(f"\n{bold(f'{self.number}. {title}')}")
        since = self.stack.mark()
        outcome = self.stack.submit("sender@client.example.net", recipients, mail)
        envelope = next(n for n, (_, text) in enumerate(outcome.said) if text.startswith("MAIL"))
        for who, text in outcome.said[envelope:]:
            if who == "C" and text == ".":
                print(dim(f"      ... {mail.count(bytes([10]))} lines of mail ..."))
            print(f"   {'-->' if who == 'C' else '<--'} {text if who == 'C' else bold(text)}")
        self.expect(outcome.final.code == code, f"the reply is not {code}")
        if any(text == "." for _, text in outcome.said):
            self.log(self.stack.wait_log("filter-mailbridge.*result=", since))
        return since

    def log(self, line):
        program, _, text = line.partition(": ")
        print(f"   {dim('log')} {dim(re.sub(chr(92) + '[.*', '', program))}")
        # One line in the log; folded here.
        row = ""
        for word in re.findall(r'\S+="[^"]*"|\S+', text):
            if row and len(row) + len(word) > 100:
                print(dim(f"       {row}"))
                row = ""
            row += ("" if not row else " ") + word
        print(dim(f"       {row}"))

    def delivered(self, recipient, folder, mark, sent):
        """Now, without waiting: the client has its answer."""
        found = [mail for mail in self.stack.mailbox(recipient, folder) if mark in mail]
        if len(found) != 1:
            raise StackError(f"{folder} of {recipient} holds the mail {len(found)} times instead of once")
        [stored] = found
        print(f"   {bold(f'{folder} of {recipient}')}   ({green('+')} added by filter-mailbridge)")
        head, _, body = stored.decode(errors="replace").partition("\n\n")
        for field in re.split(r"\n(?![ \t])", head):
            name = field.partition(":")[0].lower().encode()
            ours = name not in (b"return-path", b"delivered-to", b"received") and not header(sent, name)
            lines = [text.expandtabs(4) for text in field.split("\n")]
            if len(lines) > 6:
                lines[4:] = [f"    ... and {len(lines) - 4} more lines"]
            for text in lines:
                print(green(f"     + {text}") if ours else f"       {text}")
        print("")
        for text in body.rstrip("\n").split("\n"):
            print(f"       {text}")
        return stored

    def run(self):
        mail = message("Lunch on Friday?", b"Hello Alice,\r\n\r\nshall we meet at noon?\r\n")
        since = self.mail("An ordinary mail: in the mailbox before the client reads 250", ["alice@example.org"], mail, 250)
        stored = self.delivered("alice@example.org", "INBOX", b"Lunch on Friday?", mail)
        self.expect(stored.endswith(b"\n\nHello Alice,\n\nshall we meet at noon?\n"), "the body was changed")
        print("   smtpd queues a copy, and lda2lmtp sees by its seal that it is delivered:")
        self.log(self.stack.wait_log("lda2lmtp.*alice@example.org", since))

        mail = message("[junk] You have won", b"Claim your prize today.\r\n")
        self.mail("A mail for Junk (a rule of this demo gives 8 points for [junk] in the Subject)", ["alice@example.org"], mail, 250)
        stored = self.delivered("alice@example.org", "Junk", b"You have won", mail)
        self.expect(header(stored, b"X-Spam") == [b"Yes"], "X-Spam: Yes is missing")

        self.mail("GTUBE, the test pattern that every spam filter refuses: refused while the client waits, so no bounce",
                  ["alice@example.org"], message("Offer", GTUBE), 554)

        self.mail("A user who does not exist: Dovecot is asked at RCPT", ["nosuch@example.org"], message("Hello?"), 550)

        self.mail("More than carol's mailbox holds (her quota is 4 kB): no bounce either", ["carol@example.org"],
                  message("Photos", b"Not really, but large.\r\n" * 300), 452)

        mail = message("Minutes", b"To both of you.\r\n", to="alice@example.org, bob@example.org")
        self.mail("Two recipients: one scan, one delivery", ["alice@example.org", "bob@example.org"], mail, 250)
        for recipient in ("alice@example.org", "bob@example.org"):
            self.expect(any(b"Subject: Minutes" in stored for stored in self.stack.mailbox(recipient)), "the mail is not there")
            print(f"   {bold(f'INBOX of {recipient}')} holds it")

        self.stack.dovecot.stop()
        since = self.mail("Dovecot is down: smtpd's queue takes the mail", ["bob@example.org"], message("Patience"), 250)
        self.log(self.stack.wait_log("lda2lmtp.*bob@example.org.*status=75", since))
        self.stack.dovecot.start()
        self.stack.retry_now()
        since = self.stack.mark()
        self.stack.wait_mail("bob@example.org", b"Subject: Patience")
        print(f"   Dovecot is up again. {bold('INBOX of bob@example.org')} holds it")
        self.log(self.stack.wait_log("lda2lmtp.*bob@example.org.*status=0", since))

        self.stack.wait_queue_empty()
        self.stack.assert_smtpd_alive()


# ---- --keep ----------------------------------------------------------------------------------------------------------------


def pump(source, sink):
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def forward(listener, address):
    """The listener was opened on the host, before this process left it."""
    while True:
        outside, _ = listener.accept()
        try:
            inside = socket.create_connection(address, source_address=(CLIENT4, 0))
        except OSError:
            outside.close()
            continue
        for pair in ((outside, inside), (inside, outside)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


def keep(stack, listener, first_process):
    port = listener.getsockname()[1]
    threading.Thread(target=forward, args=(listener, stack.smtp_address), daemon=True).start()
    print(f"""
{bold('It goes on running.')} Port {port} of this machine's 127.0.0.1 leads to its smtpd, for any client. From another terminal:

   tests/e2e/smtp.py 127.0.0.1:{port} alice@example.org "Hello"
   tests/e2e/smtp.py 127.0.0.1:{port} bob@example.org "[junk] Hello"

Recipients: alice@example.org, bob@example.org, carol@example.org (her quota is 4 kB), alice@example.net.
Their mailboxes: /proc/{first_process}/root/var/mail/vhosts/DOMAIN/USER, and .Junk in it.
In the Subject [junk], [spam], [later] and [subject] force a verdict. What happens is shown below.
{bold('Ctrl-C')} here or {bold(f'kill {first_process}')} elsewhere stops everything and leaves nothing behind.
""", flush=True)
    seen = stack.mark()
    while True:
        lines = stack.log_since(seen)
        seen += len(lines)
        for line in lines:
            if re.search("filter-mailbridge|lda2lmtp|mda delivery|stored mail", line):
                print(f"{line}\n", flush=True)
        for server in stack.servers:
            if not server.alive():
                raise StackError(f"{server.name} ended with status {server.process.returncode}\n{server.said()}")
        time.sleep(0.2)


def plainly(what, stack):
    """In red: what went wrong, or the beginning and the end of it, and where the log ends."""
    lines = str(what).splitlines()
    if len(lines) > 20:
        lines[5:-15] = ["..."]
    if stack and "the log ends" not in str(what):
        lines += ["The log ends", *stack.syslog.lines[-10:]]
    return paint("31", "\n" + "\n".join(lines))


def main():
    listener, first_process = None, os.getpid()
    if "--keep" in sys.argv[1:]:
        try:
            listener = socket.create_server(("127.0.0.1", KEEP_PORT))
        except OSError:
            listener = socket.create_server(("127.0.0.1", 0))
    stack, shown = None, False
    try:
        enter()
        sys.stdout.reconfigure(line_buffering=True)
        print(bold("mailbridge: real OpenSMTPD, rspamd and Dovecot, alone with each other in a private throw-away"))
        print(PICTURE)
        stack = Stack("in-session", progress=lambda text: print(dim(f"-- {text}")))
        stack.start()
        demo = Demo(stack)
        demo.run()
        if demo.surprises:
            sys.exit(plainly(f"{len(demo.surprises)} of these went another way than they should.", stack))
        shown = True
        if listener:
            keep(stack, listener, first_process)
        print(f"\n{bold('All seven went where they should.')} Nothing of this is left running; "
              "the configuration is smtpd-conf/in-session.")
    except KeyboardInterrupt:
        print("\nStopped.")
        if not shown:
            sys.exit(128 + signal.SIGINT)
    except (StackError, OSError, AssertionError) as error:
        sys.exit(plainly(f"The demo ends here: {error}", stack))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if stack:
            with contextlib.suppress(StackError, OSError):
                stack.stop()


if __name__ == "__main__":
    main()
