"""Dovecot stopped, paused, killed and cut off at each stage of a delivery, under load: every mail that was accepted is in its mailbox
or in the queue at any time, in its mailbox in the end, and there once. What is there twice was announced in the log.

    outage_test.py queued | session      delivered by lda2lmtp, or by the filter while the client waits
"""

import collections
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from smtp import message
from stack import StackError, StackTest, eventually, header, main, running

MAILS, CLIENTS = 200, 8
USERS = [f"user{number}@example.org" for number in range(8)]
SENDER = "bounces@example.org"  # a mailbox, too: whatever comes back is seen
DOVECOT, PROXY = "/run/dovecot/lmtp", "/run/lmtp-proxy"
KEY = "/etc/mailbridge.key"
SPOOL = Path("/var/spool/smtpd/queue")
TWICE = "may be delivered twice"


class Cut(Exception):
    """The connection ends here."""


def hang_up(*sockets):
    for each in sockets:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended


class LmtpProxy:
    """Between the agents and Dovecot. disturb(stage) is called for each of the stages in `wanted`, when a connection has come that far, and
    what it returns is called while everything goes on."""

    STAGES = ("connect", "banner", "lhlo", "rcpt", "data", "body", "dot", "reply")
    GAP = 4  # connections and transactions between two disasters

    def __init__(self):
        self.wanted = []
        self.disturb = None
        self.lock = threading.Lock()
        self.busy = self.GAP  # how much has come since the last disaster
        self.relays = set()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(PROXY)
        os.chmod(PROXY, 0o666)
        self.listener.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            peer, _ = self.listener.accept()
            self.busy += 1
            threading.Thread(target=self._relay, args=(peer,), daemon=True).start()

    def _at(self, stage):
        if self.busy < self.GAP or self.wanted[:1] != [stage] or not self.lock.acquire(blocking=False):
            return  # no disaster within another
        del self.wanted[:1]
        repair = None
        try:
            repair = self.disturb(stage)
        finally:
            threading.Thread(target=self._repair, args=(repair,), daemon=True).start()

    def _repair(self, repair):
        if repair:
            repair()
        self.busy = 0
        self.lock.release()

    def _relay(self, peer):
        with peer, socket.socket(socket.AF_UNIX) as dovecot:
            self.relays.add(peer)
            try:
                self._at("connect")
                self._connect(dovecot)
                answers = threading.Thread(target=self._answers, args=(dovecot, peer), daemon=True)
                answers.start()
                self._questions(peer, dovecot)
                answers.join()
            except (OSError, Cut):
                pass
            finally:
                self.relays.discard(peer)
                hang_up(peer, dovecot)

    def send_away(self):
        """Whoever keeps a connection."""
        hang_up(*self.relays)

    @staticmethod
    def _connect(dovecot):
        try:
            dovecot.connect(DOVECOT)
        except OSError:
            time.sleep(0.3)  # or the whole queue would have tried before Dovecot is there again
            raise

    def _answers(self, dovecot, peer):
        try:
            banner = True
            while piece := dovecot.recv(65536):
                if banner:
                    self._at("banner")
                elif b" Saved" in piece:
                    self._at("reply")
                banner = False
                peer.sendall(piece)
        except (OSError, Cut):
            pass
        hang_up(peer, dovecot)

    def _questions(self, peer, dovecot):
        with peer.makefile("rb") as reader:
            while line := reader.readline():
                verb = line.split()[0].upper()
                dovecot.sendall(line)
                self.busy += verb == b"MAIL"
                if verb in (b"LHLO", b"RCPT"):
                    self._at(verb.decode().lower())
                elif verb == b"DATA":
                    self._at("data")
                    lines = [reader.readline()]
                    while lines[-1] not in (b".\r\n", b""):
                        lines.append(reader.readline())
                    self._body(b"".join(lines), dovecot)
                elif verb == b"BDAT":
                    self._at("data")
                    self._body(reader.read(int(line.split()[1])), dovecot)

    def _body(self, body, dovecot):
        half = len(body) // 2
        dovecot.sendall(body[:half])
        self._at("body")
        dovecot.sendall(body[half:])
        self._at("dot")


def spooled():
    """What the queue holds: {(Message-ID, recipient)}."""
    def envelopes():
        for file in SPOOL.glob("*/*/*"):
            try:
                if file.name != "message":
                    identity = header((file.parent / "message").read_bytes(), b"Message-ID")[0].decode()
                    yield identity, re.search(r"(?m)^rcpt: (.*)$", file.read_text())[1]
            except FileNotFoundError:
                pass  # it has been delivered while we looked

    return set(envelopes())


class Outage(StackTest):
    def setUp(self):
        super().setUp()
        self.proxy.send_away()
        self.accepted_mails = set()
        self.disasters = collections.Counter()
        self.problems = []

    def tearDown(self):
        self.proxy.wanted = []
        self.stack.dovecot.resume()
        if not self.stack.dovecot.alive():
            self.stack.dovecot.start()
        super().tearDown()

    @property
    def proxy(self):
        return self.stack.lmtp_proxy

    def stored(self, known={}):
        """How often each mail lies in each mailbox."""
        files = [(user, file) for user in USERS for folder in ("INBOX", "Junk") for part in ("new", "cur")
                 for file in (self.stack.maildir(user, folder) / part).glob("*")]
        for user, file in files:
            if file not in known:
                known[file] = (header(file.read_bytes(), b"Message-ID")[0].decode(), user)
        return collections.Counter(known[file] for _, file in files)

    def client(self, number):
        with self.stack.session() as session:
            for turn in range(MAILS // CLIENTS):
                mark = "[junk] " if turn % 5 == 0 else ""
                recipients = [USERS[(number + turn) % len(USERS)], *([USERS[(number + turn + 3) % len(USERS)]] if turn % 3 == 0 else [])]
                mail = message(f"{mark}{self.id()} {number}.{turn}", b"A line of a mail of no great length.\r\n" * (10 + turn * 4))
                session.envelope(SENDER, recipients)
                session.content(mail)
                reply = session.dot()
                if reply.code == 250:
                    identity = header(mail, b"Message-ID")[0].decode()
                    self.accepted_mails |= {(identity, recipient) for recipient in recipients}
                else:
                    self.problems.append(f"{number}.{turn}: {reply}")

    def nowhere(self):
        """Accepted, and neither queued nor delivered. A mail is in its mailbox before it leaves the queue, so the queue is asked first."""
        accepted = set(self.accepted_mails)
        return accepted - spooled() - set(self.stored())

    def under_load(self, disturb, rounds=1):
        """Every stage is disturbed `rounds` times while the mails are sent and delivered. Returns how many copies there are too many."""
        def counted(stage):
            self.disasters[stage] += 1
            return disturb()

        self.proxy.disturb = counted
        self.proxy.wanted = list(LmtpProxy.STAGES) * rounds
        clients = [threading.Thread(target=self.client, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            self.assertEqual(self.nowhere(), set())
            self.stack.retry_now()
            time.sleep(0.5)
        self.assertEqual(self.problems, [])

        def drained():
            self.stack.retry_now()
            time.sleep(0.5)
            return not self.stack.queue()

        eventually(drained, lambda: f"the queue still holds {self.stack.queue()[:5]}", 60)
        self.assertEqual(set(self.disasters), set(LmtpProxy.STAGES), "every stage had its disaster")
        return self.counted()

    def counted(self):
        stored = self.stored()
        self.assertEqual(self.accepted_mails - set(stored), set(), "nothing is lost")
        self.assertEqual(self.stack.mailbox(SENDER), [], "nothing bounces")
        self.assertEqual(self.stack.log_since(self.since, r"result=\"?PermFail"), [])
        doubled = sum(copies - 1 for delivery, copies in stored.items() if delivery in self.accepted_mails)
        announced = self.announced()
        print(f"{len(self.accepted_mails)} deliveries, {doubled} doubled, {announced} announced", flush=True)
        self.assertLessEqual(doubled, announced, "no mail is there twice without a word in the log")
        return doubled

    def announced(self):
        """How many deliveries may have been made twice, by the log."""
        found = 0
        for line in self.stack.log_since(self.since, TWICE):
            if "lda2lmtp[" in line:
                found += 1
            if "filter-mailbridge[" in line:
                delivered, recipients = re.search(r" delivered=(\d+)/(\d+) ", line).groups()
                found += int(recipients) - int(delivered)
        return found

    # -- the tests

    def restart(self):
        try:
            try:
                self.stack.dovecot.process.wait(0.7)
            except subprocess.TimeoutExpired:
                pass  # it has 5 s for those who are connected, which is too long for a test
            eventually(self.nothing_is_left, "Dovecot's processes end")
            self.stack.dovecot.start()
        except StackError as error:
            self.problems.append(error)

    def nothing_is_left(self):
        """While one of its processes lives, its sockets do, and another Dovecot does not start."""
        try:
            os.killpg(self.stack.dovecot.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return True
        self.stack.dovecot.process.poll()
        return False

    def test_stopped(self):
        def disturb():
            self.stack.dovecot.process.terminate()
            return self.restart

        self.under_load(disturb)

    def test_paused(self):
        """For longer than the agents have patience."""
        def disturb():
            self.stack.dovecot.pause()
            return resume

        def resume():
            time.sleep(2)
            self.stack.dovecot.resume()

        self.under_load(disturb)

    def test_killed(self):
        def disturb():
            self.stack.dovecot.kill()
            return self.restart

        self.under_load(disturb)

    def test_master_killed(self):
        """Its processes go on by themselves, until whoever starts Dovecot anew ends them."""
        def disturb():
            self.stack.dovecot.process.kill()
            return orphans

        def orphans():
            time.sleep(0.5)
            self.restart()

        self.under_load(disturb)

    def test_workers_killed(self):
        """Dovecot starts no others for a while then: somebody starts it anew."""
        def disturb():
            for pid in running(self.stack.dovecot.process.pid, "lmtp"):
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass  # it has ended
            self.stack.dovecot.process.terminate()
            return self.restart

        self.under_load(disturb)

    def test_cut_off(self):
        """What Dovecot had delivered and could not say is doubled."""
        def disturb():
            raise Cut

        self.assertGreaterEqual(self.under_load(disturb, rounds=2), self.disasters["reply"])


def prepare(stack):
    with open("/etc/dovecot/users", "a") as users:
        users.writelines(f"{name}:{{PLAIN}}x:5000:5000::/var/mail/vhosts/example.org/{name.partition('@')[0]}::\n"
                         for name in [*USERS, SENDER])
    with open("/etc/smtpd-addresses", "a") as addresses:
        addresses.writelines(f"{name} vmail\n" for name in [*USERS, SENDER])
    Path(KEY).write_text("a key for tests that is long enough for any")
    stack.lmtp_proxy = LmtpProxy()


QUEUED = f"-l {PROXY} --timeout 1.5"
IN_SESSION = f"--lmtp unix:{PROXY} --verify example.org --verify-timeout 1 --deliver --deliver-timeout 3 --mark-key {KEY}"

if __name__ == "__main__":
    mode = sys.argv.pop(1)
    agent = QUEUED if mode == "queued" else f"{QUEUED} --mark-key {KEY}"
    main(smtpd_conf=lambda text: text.replace("-l /run/dovecot/lmtp", agent), filter_options=IN_SESSION if mode == "session" else "",
         prepare=prepare)
