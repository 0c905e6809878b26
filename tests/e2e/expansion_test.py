"""What smtpd makes of a recipient, aliases, .forward files, virtual users, lists: everybody gets the mail once, whether it is
delivered by the queue or in the session."""

import os
import re
import shutil
import signal
from pathlib import Path

from smtp import Sink, message
from stack import LMTP_FOR_FILTER, SINK, StackTest, by_dovecot, enter, eventually, main, running

KEY = "/etc/mailbridge.key"
CONFIG = Path("/etc/filter-mailbridge.toml")
MARK = b"X-Mailbridge-Delivered"
LIST = [f"u{number}" for number in range(1, 51)]
USERS = ["plain", "second", "third", "pair", "ann", "beth", "away", "fwd", "gone", "old", "catch", *LIST]
FORWARD = {"fwd": "\\fwd, second, x@else.test", "gone": "x@else.test"}
OUTSIDE = "x@else.test"

TABLES = {
    "accounts": {user: f"5000:5000:/run/users/{user}" for user in USERS},
    "names": {"pair": "pair, second", "team": "second, third", "away": OUTSIDE, "old": "plain", "ann": "beth", "list": ", ".join(LIST)},
    "addresses": {"one@example.net": "plain", "two@example.net": "second, third", "known@example.net": "second, third",
                  "far@example.net": "second@example.org", "@example.net": "catch"},
    "everybody": {"@example.com": "vmail"},
}
AGENT = f"exec /usr/libexec/opensmtpd/lda2lmtp -l /run/dovecot/lmtp --mark-key {KEY}"
SMTPD_CONF = "".join(f"table {name} file:/etc/{name}\n" for name in TABLES) + f"""
filter "mailbridge" proc-exec "filter-mailbridge --config {CONFIG}"
listen on 0.0.0.0 filter "mailbridge"
action "users" mda "{AGENT} -r %{{user.username}}" userbase <accounts> alias <names>
action "virtual" mda "{AGENT} -r %{{user.username}}" userbase <accounts> virtual <addresses>
action "all" mda "{AGENT}" virtual <everybody> user vmail
action "outside" relay host "smtp://{SINK}:2525"
match from any for domain "example.org" action "users"
match from any for domain "example.net" action "virtual"
match from any for domain "example.com" action "all"
match from any for any action "outside"
"""

# To whom it is sent, and who has how many of it then. Of what is not as smtpd alone would have it, the second is delivery in the
# session: filter-mailbridge(8) says when that is.
ROWS = {
    "a user": ("plain@example.org", {"plain": 1}),
    "an address without aliases": ("any@example.com", {"any@example.com": 1}),
    "a detail": ("plain+tag@example.org", {"plain": 1}),
    "capitals": ("PLAIN@Example.ORG", {"plain": 1}),
    "capitals of an address": ("Any+Tag@Example.COM", {"any@example.com": 1}),
    "an alias of itself and another": ("pair@example.org", {"pair": 1, "second": 1}),
    "the same with a detail": ("pair+tag@example.org", {"pair": 1, "second": 1}),
    "an alias of two others": ("team@example.org", {"second": 1, "third": 1}),
    "an alias of another, whom alone Dovecot knows": ("old@example.org", {"plain": 1}),
    "an alias of another, where Dovecot knows both": ("ann@example.org", {"beth": 1}, {"ann": 1, "beth": 1}),
    "an alias of another domain": ("away@example.org", {OUTSIDE: 1}, {"away": 1, OUTSIDE: 1}),
    "a list of 50": ("list@example.org", {user: 1 for user in LIST}),
    ".forward to itself and others": ("fwd@example.org", {"fwd": 1, "second": 1, OUTSIDE: 1}),
    ".forward to another domain": ("gone@example.org", {OUTSIDE: 1}, {"gone": 1, OUTSIDE: 1}),
    "a virtual user": ("one@example.net", {"plain": 1}),
    "a virtual user who is an address": ("far@example.net", {"second": 1}),
    "a virtual user who is several": ("two@example.net", {"second": 1, "third": 1}),
    "a virtual user who is several, and known to Dovecot": ("known@example.net", {"second": 1, "third": 1}),
    "a catch-all of smtpd's": ("whoever@example.net", {"catch": 1}),
    "several, one of them expanded": ("plain@example.org pair@example.org", {"plain": 1, "pair": 1, "second": 1}),
    "several, one of them outside": (f"plain@example.org {OUTSIDE}", {"plain": 1, OUTSIDE: 1}),
    "a user and his alias": ("plain@example.org old@example.org", {"plain": 2}),
    "a user with and without detail": ("plain@example.org plain+tag@example.org", {"plain": 2}),
    "a user in two spellings": ("plain@example.org Plain@example.org", {"plain": 2}),
    "a user twice": ("plain@example.org plain@example.org", {"plain": 2}, {"plain": 1}),
}


def options(deliver):
    return (f"rspamd = 'unix:/run/rspamd/scan.sock'\nlmtp = '/run/dovecot/lmtp-filter'\nmark-key = '{KEY}'\nunknown = 'smtpd'\n"
            f"verify = ['example.org', 'example.net', 'example.com']\ndeliver = {str(deliver).lower()}\n")


def prepare(stack):
    Path(KEY).write_text("5f2b1c0de94a7d3386aa01c45be97f12\n")
    shutil.chown(KEY, "opensmtpd", "vmail")
    os.chmod(KEY, 0o440)
    CONFIG.write_text(options(False))
    for name, rows in TABLES.items():
        separator = " " if name == "accounts" or name == "everybody" else ": "
        Path("/etc", name).write_text("".join(f"{key}{separator}{value}\n" for key, value in rows.items()))
    for user in USERS:
        home = Path("/run/users", user)
        home.mkdir(parents=True)
        if user in FORWARD:
            (home / ".forward").write_text(FORWARD[user] + "\n")
        shutil.chown(home, "vmail", "vmail")
        if user != "old":
            stack.add_user(f"{user}@example.org")
    for file in Path("/run/users").glob("*/.forward"):
        shutil.chown(file, "vmail", "vmail")
    stack.add_user("any@example.com")
    stack.add_user("known@example.net")


class ExpansionTest(StackTest):
    def set_delivery(self, deliver):
        since = self.stack.mark()
        CONFIG.write_text(options(deliver))
        for pid in running(self.stack.smtpd.process.pid, "filter-mailbridge"):
            os.kill(pid, signal.SIGHUP)
        self.stack.wait_log("the settings were read again", since)

    def copies(self, of):
        """{mailbox: how many of this mail}"""
        found = {}
        for user in [*USERS, "any@example.com", "known@example.net"]:
            address = user if "@" in user else f"{user}@example.org"
            mails = [mail for mail in self.stack.mailbox(address) if of in mail]
            for mail in mails:
                self.assertNotIn(MARK, mail.partition(b"\n\n")[0])
                self.assertTrue(mail.endswith(b"this is a mail.\n"), mail)
            if mails:
                found[user] = len(mails)
        if relayed := [mail for mail in sink.mails if of in mail]:
            found[OUTSIDE] = len(relayed)
        return found

    def everybody_has(self, story, recipients, expected):
        mail = message(f"row {story}")
        of = re.search(rb"Message-ID: <[^>]+>", mail).group()
        self.accepted(mail, to=recipients.split())
        self.stack.wait_queue_empty()
        if OUTSIDE in expected:
            eventually(lambda: any(of in mail for mail in sink.mails), f"{story}: a mail relayed")
        self.assertEqual(self.copies(of), expected, story)

    def test_by_the_queue(self):
        self.set_delivery(False)
        for story, (recipients, expected, *_) in ROWS.items():
            with self.subTest(story):
                self.everybody_has(story, recipients, expected)

    def test_in_the_session(self):
        self.set_delivery(True)
        for story, (recipients, *expected) in ROWS.items():
            with self.subTest(story):
                self.everybody_has(story, recipients, expected[-1])
        self.stack.wait_log("delivered=1/1 ", self.since)

    def test_what_leaves_names_nobody(self):
        """A mark goes with what smtpd relays of a recipient to whom the filter has delivered."""
        self.set_delivery(True)
        mail = message("row relayed with a mark")
        self.accepted(mail, to="away@example.org")
        of = re.search(rb"Message-ID: <[^>]+>", mail).group()
        relayed = eventually(lambda: [mail for mail in sink.mails if of in mail], "a mail relayed")[0]
        mark = re.search(rb"^X-Mailbridge-Delivered: id=[0-9a-f]{8};\r\n((?:\t.*\r\n)+)", relayed, re.MULTILINE)
        self.assertRegex(mark.group(1), rb"\A\tto=(?:[A-Za-z0-9+/]{22},\r\n\t){3}[A-Za-z0-9+/]{22};\r\n\tseal=[A-Za-z0-9+/]{43}\r\n\Z")
        head = relayed.partition(b"\r\n\r\n")[0]
        self.assertNotIn(b"away@", head.replace(b"for <away@example.org>", b"").replace(b"To: alice@", b""))


enter()
sink = Sink((SINK, 2525))

if __name__ == "__main__":
    main(conf="virtual-users", smtpd_conf=lambda _: SMTPD_CONF, prepare=prepare,
         dovecot=LMTP_FOR_FILTER + by_dovecot("auth_default_realm", "auth_default_domain") + " = example.org\n")
