"""mailhosts_test.py: a Dovecot that is an LMTP proxy in front of two with the mailboxes: smtpd-conf/mailhosts, on top of three-hosts.
mailhosts_test.py in-session: the same, and the filter verifies recipients and delivers through the proxy."""

import collections
import re
import secrets
import shutil
import sys
import threading
import unittest
from pathlib import Path

from smtp import message, submit
from stack import CLIENT4, DOVECOT_FOLDER, ROOT, Server, StackTest, _banner, add_host, eventually, header, main

CONF = ROOT / "smtpd-conf/mailhosts"
HOSTS = {"mail1": "10.0.25.31", "mail2": "10.0.25.32"}
USERS = {"alice@example.org": "mail1", "bob@example.org": "mail2"}
CLIENTS = 8
MAILS = 200
KEY = Path("/run/mark.key")
IN_SESSION = sys.argv[1:2] == ["in-session"] and bool(sys.argv.pop(1))
OPTIONS = f"--lmtp dovecot.internal:24 --verify example.org --deliver --mark-key {KEY}" if IN_SESSION else ""


class MailHost(Server):
    """A host with a Dovecot of its own; its /etc/dovecot, /run/dovecot and mailboxes lie below /run/NAME."""

    def __init__(self, name, address):
        self.folder = Path("/run", name)
        shutil.copytree("/etc/dovecot", self.folder / "etc")
        shutil.copy(CONF / DOVECOT_FOLDER / "mailhost/local.conf", self.folder / "etc/local.conf")
        places = {"etc": "/etc/dovecot", "run": "/run/dovecot", "state": "/var/lib/dovecot", "mail": "/var/mail/vhosts"}
        for place in ("run", "state", "mail"):
            (self.folder / place).mkdir()
        shutil.chown(self.folder / "mail", "vmail", "vmail")
        mounts = " && ".join(f"mount --bind {self.folder / place} {target}" for place, target in places.items())
        super().__init__(name, ["unshare", "--mount", "sh", "-c", f"{mounts} && exec dovecot -F"],
                         lambda: _banner((address, 24)), host=name)

    def mailbox(self, recipient):
        user, _, domain = recipient.partition("@")
        folder = self.folder / "mail" / domain / user / "new"
        return [file.read_bytes() for file in folder.iterdir()] if folder.is_dir() else []


def smtpd_conf(text):
    return re.sub(r"(lda2lmtp -l [^ \"]+)", rf"\1 --mark-key {KEY}", text) if IN_SESSION else text


def prepare(stack):
    KEY.write_text(secrets.token_hex(32))
    for name, address in HOSTS.items():
        add_host(name, address)
    stack.mailhosts = {name: MailHost(name, address) for name, address in HOSTS.items()}
    stack.servers += stack.mailhosts.values()
    # What they copied was three-hosts'. Now this host becomes the proxy.
    dovecot = Path("/etc/dovecot")
    shutil.copy(CONF / DOVECOT_FOLDER / "proxy/99-mailbridge.conf", dovecot / "conf.d/99-mailbridge.conf")
    shutil.copy(CONF / "proxy-users", dovecot / "users")
    auth = dovecot / "conf.d/10-auth.conf"
    auth.write_text(re.sub("^!include auth-system", "#!include auth-system", auth.read_text(), flags=re.MULTILINE))


class Load:
    """Clients that send as many mails as they are told to, to both users in turn, each mail with a sender of its own."""

    def __init__(self, stack):
        self.stack = stack
        self.sent = {}  # Message-ID: (sender, recipient)
        self.replies = []
        self.allowed = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._client) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def go_on(self, mails):
        self.allowed.release(mails)

    def finish(self):
        for _ in self.threads:
            self.allowed.release()
        for thread in self.threads:
            thread.join(60)

    def _client(self):
        while self.allowed.acquire():
            with self.lock:
                number = len(self.sent)
                if number == MAILS:
                    return
                sender, recipient = f"sender{number}@client.example.net", list(USERS)[number % len(USERS)]
                mail = message(f"load {number}.", to=recipient, sender=sender)
                self.sent[header(mail, b"Message-ID")[0]] = sender, recipient
            self.replies.append(submit(self.stack.smtp_address, sender, recipient, mail, source=CLIENT4).final.text)

    def missing(self, recipient):
        """Those accepted so far and not in the mailbox."""
        return {key for key, (_, to) in list(self.sent.items()) if to == recipient} - self.copies(recipient).keys()

    def copies(self, recipient):
        """{Message-ID: how often it is there}"""
        mails = self.stack.mailhosts[USERS[recipient]].mailbox(recipient)
        return collections.Counter(key for mail in mails if (key := header(mail, b"Message-ID")[0]) in self.sent)


class MailhostsTest(StackTest):
    def tearDown(self):
        for host in self.stack.mailhosts.values():
            if not host.alive():
                host.start()
        super().tearDown()

    def arrived(self, recipient, host, subject):
        return [mail for mail in self.stack.mailhosts[host].mailbox(recipient) if b"Subject: %s\n" % subject in mail]

    def by_hand(self, recipient, body=b"Hello,\r\n"):
        return self.stack.run_agent(message("by hand", body), "-l", "10.0.25.3:24", sender="sender@client.example.net",
                                    recipient=recipient)

    def test_each_on_its_host(self):
        for recipient, host in USERS.items():
            mail = message("to its host", to=recipient)
            self.accepted(mail, to=recipient)
            [stored] = eventually(lambda: self.arrived(recipient, host, b"to its host"), f"{recipient} has mail on {host}")
            self.assert_delivered(stored, mail)
            for other in HOSTS.keys() - {host}:
                self.assertEqual(self.stack.mailhosts[other].mailbox(recipient), [])

    def test_answers_pass_through(self):
        """A mail host's refusals are the proxy's, and a mail host that is away is no refusal."""
        for unknown in ("nosuch@example.org", "root"):
            status, said = self.by_hand(unknown)
            self.assertEqual((status, said[:9]), (67, b"550 5.1.1"), said)
        status, said = self.by_hand("carol@example.org", b"More than her quota.\r\n" * 1000)
        self.assertEqual((status, said[:9]), (69, b"552 5.2.2"), said)
        self.stack.mailhosts["mail1"].kill()
        status, said = self.by_hand("alice@example.org")
        self.assertEqual((status, said[:9]), (75, b"451 4.4.0"), said)
        self.assertEqual(self.by_hand("bob@example.org"), (0, b""))

    def test_a_host_dies_and_returns(self):
        """Under load. All mail is accepted and each ends in its mailbox; the other host's mail does not wait; nothing bounces;
        and a mail that is there twice had its answer cut off."""
        alice, bob = USERS
        dying = self.stack.mailhosts[USERS[bob]]
        load = Load(self.stack)
        load.go_on(80)
        eventually(lambda: sum(load.copies(bob).values()) > 20, "bob gets mail")
        dying.kill()
        load.go_on(70)
        eventually(lambda: len(load.replies) == 150, lambda: f"150 mails are accepted, not {len(load.replies)}", 60)
        eventually(lambda: not load.missing(alice), lambda: f"mail for alice waits: {load.missing(alice)}", 60)
        self.assertTrue(load.missing(bob))
        dying.start(wait=False)
        load.go_on(50)
        dying.wait()
        load.finish()
        self.assertEqual(len(load.sent), MAILS)
        self.assertEqual([reply for reply in load.replies if not reply.startswith("250 ")], [])

        def all_there():
            self.stack.retry_now()
            return not self.stack.queue()

        eventually(all_there, lambda: f"the queue still holds {self.stack.queue()}", 60)
        self.assertEqual([load.missing(alice), load.missing(bob)], [set(), set()])
        self.assertEqual(self.stack.log_since(self.since, "result=PermFail|from=<>"), [])

        twice = {load.sent[key][0] for recipient in USERS for key, count in load.copies(recipient).items() if count > 1}
        cut_off = {found[1] or found[2] for line in self.stack.log_since(self.since)
                   if (found := re.search(r"lda2lmtp.* from=<(\S+)> .*stage=dot status=75 "
                                          r"|filter-mailbridge.* from=(\S+) .*lmtp_stage=dot ", line))}
        self.assertEqual(twice - cut_off, set())
        deferred = len(self.stack.log_since(self.since, "lda2lmtp.*status=75"))
        print(f"{MAILS} mails, {deferred} deliveries deferred, {len(cut_off)} without an answer, {len(twice)} mails twice", end=" ",
              flush=True)

    @unittest.skipUnless(IN_SESSION, "what the filter asks through the proxy")
    def test_recipients_of_a_dead_host(self):
        """Only the proxy's own word about a recipient counts: there is nobody on the dead host who does not exist."""
        def rcpt(recipient):
            with self.stack.session() as session:
                session.command("MAIL FROM:<sender@client.example.net>")
                return session.command(f"RCPT TO:<{recipient}>").text[:10]

        self.stack.mailhosts["mail1"].kill()
        self.assertEqual(rcpt("carol@example.org")[:4], "250 ")
        self.assertEqual(rcpt("bob@example.org")[:4], "250 ")
        self.assertEqual(rcpt("nosuch@example.org"), "550 5.1.1 ")
        mail = message("two hosts", to="carol@example.org, bob@example.org")
        self.accepted(mail, to=["carol@example.org", "bob@example.org"])
        eventually(lambda: self.arrived("bob@example.org", "mail2", b"two hosts"), "bob has the mail")
        self.stack.wait_log("lda2lmtp.*carol@example.org.*status=75", self.since)
        self.stack.mailhosts["mail1"].start()
        self.stack.retry_now()
        eventually(lambda: self.arrived("carol@example.org", "mail1", b"two hosts"), "carol has the mail")
        self.stack.wait_queue_empty()
        self.assertEqual(len(self.arrived("bob@example.org", "mail2", b"two hosts")), 1)


if __name__ == "__main__":
    main(conf="three-hosts", smtpd_conf=smtpd_conf, filter_options=OPTIONS, prepare=prepare)
