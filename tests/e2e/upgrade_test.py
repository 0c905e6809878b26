#!/usr/bin/python3
"""`cmake --install` while smtpd delivers: no agent is missing, or half there, for a moment.

smtpd takes an agent that cannot be started (exit 126 and 127) for a permanent failure, and the mail bounces. So mail is queued first,
and while smtpd starts one agent after the other the same version is installed again and again.
"""

import collections
import os
import re
import subprocess
import sys
import time
import unittest
from pathlib import Path

from smtp import message
from stack import ACCOUNTS, PROGRAMS, ROOT, Stack, enter, eventually, run

sys.path.insert(0, str(ROOT / "tests/support"))
from lmtp_server import Server  # noqa: E402

BUILD = PROGRAMS.parent
DESTDIR = Path("/run/destdir")
AGENT = DESTDIR / "usr/libexec/opensmtpd/lda2lmtp"
UPGRADES = 20
BATCH = 1000  # smtpd's limit for the recipients of a mail
SMTPD_CONF = f"""listen on 192.0.2.1
mda wrapper "lda2lmtp" "exec {AGENT} -l /run/sink"
action "deliver" mda "lda2lmtp" wrapper "lda2lmtp"
match from any for domain "example.org" action "deliver"
"""


def install(destdir, *options):
    """What is there already is made older than what comes: otherwise CMake's own install() leaves it alone."""
    for file in destdir.rglob("*"):
        os.utime(file, (0, 0))
    return subprocess.run(["cmake", "--install", BUILD, "--prefix", "/usr", *options], env={**os.environ, "DESTDIR": str(destdir)},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def installed(directory):
    """{path: mode}"""
    return {str(file.relative_to(directory)): file.stat().st_mode & 0o7777 for file in directory.rglob("*") if file.is_file()}


class UpgradeTest(unittest.TestCase):
    def results(self):
        return collections.Counter(re.search(r"\bresult=(\w+)", line)[1] for line in self.stack.log_since(0, "mda delivery"))

    def queue_a_batch(self):
        """The users take turns: smtpd runs seven agents for each at a time."""
        users = list(ACCOUNTS)
        recipients = [f"{users[number % len(users)]}+{self.queued + number}@example.org" for number in range(BATCH)]
        self.queued += BATCH
        run("smtpctl", "pause", "mda")
        outcome = self.stack.submit("sender@client.example.net", recipients, message("an upgrade"))
        self.assertEqual(outcome.final.code, 250, outcome.final)
        run("smtpctl", "resume", "mda")

    def test_mail_is_delivered_during_upgrades(self):
        self.queued, during, seconds = 0, 0, 0.0
        with Server("/run/sink") as sink:
            for _ in range(UPGRADES):
                if self.queued - len(sink.mails) < BATCH // 2:
                    self.queue_a_batch()
                before, begun = len(sink.mails), time.monotonic()
                done = install(DESTDIR)
                during, seconds = during + len(sink.mails) - before, seconds + time.monotonic() - begun
                self.assertEqual(done.returncode, 0, done.stdout)
                # It was delivering, and goes on.
                eventually(lambda: len(sink.mails) > before, lambda: f"an agent is started; so far {self.results()}")
            eventually(lambda: self.results().total() >= self.queued, lambda: f"{self.results()} of {self.queued}", 120)
        print(f"{UPGRADES} upgrades, {during} agents in the {seconds:.1f} s that they took; in the end {self.results()}")
        self.assertEqual(self.results(), {"Ok": self.queued})
        self.assertEqual(len({mail.recipient for mail in sink.mails}), self.queued)
        self.assertEqual(len(sink.mails), self.queued)
        self.assertEqual(self.stack.queue(), [])  # no bounce either


class InstallTest(unittest.TestCase):
    def test_what_is_where(self):
        """With --strip and without: the same files. They are those of the manifest, and nothing else."""
        for options in ([], ["--strip"]):
            place = Path("/run/fresh", *options)
            done = install(place, *options)
            self.assertEqual(done.returncode, 0, done.stdout)
            files = installed(place)
            programs = {"usr/libexec/opensmtpd/filter-mailbridge", "usr/libexec/opensmtpd/lda2lmtp"}
            self.assertEqual({file for file, mode in files.items() if mode == 0o755}, programs)
            self.assertEqual(set(files.values()), {0o755, 0o644})
            self.assertEqual(sorted(f"/{file}" for file in files), sorted((BUILD / "install_manifest.txt").read_text().split()))
            others = {"usr/share/man/man8/lda2lmtp.8", "usr/share/doc/mailbridge/smtpd-conf/in-session/smtpd.conf",
                      "usr/share/bash-completion/completions/lda2lmtp", "usr/share/zsh/site-functions/_lda2lmtp"}
            self.assertLessEqual(others, set(files))
            for program in programs:
                symbols = run("readelf", "--section-headers", place / program).count(".symtab")
                self.assertEqual(symbols, 0 if options else 1, program)
                said = subprocess.run([place / program, "--version"], stdout=subprocess.PIPE, text=True).stdout
                self.assertEqual(said.split()[:1], [Path(program).name])

    def test_a_full_disk(self):
        """What was there is as it was, and no part of the copy stays."""
        place = Path("/run/small")
        place.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", place)
        before = place / "usr/libexec/opensmtpd/lda2lmtp"
        before.parent.mkdir(parents=True)
        before.write_text("what was there")
        done = install(place)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"{before} was not installed", done.stdout)
        self.assertEqual(before.read_text(), "what was there")
        self.assertEqual(list(installed(place)), ["usr/libexec/opensmtpd/lda2lmtp"])


if __name__ == "__main__":
    enter()
    UpgradeTest.stack = stack = Stack("system-users", smtpd_conf=lambda _: SMTPD_CONF)
    stack.servers = [stack.smtpd]
    assert install(DESTDIR).returncode == 0
    stack.start()
    try:
        unittest.main(verbosity=2)
    finally:
        stack.stop()
