#!/usr/bin/python3
"""The book, word for word: nothing but what README.md and smtpd-conf/*/README.md print, on fresh Debian hosts, until a mail is in its
mailbox. book.py says how it is read.

    book_test.py                      every set
    book_test.py Book.test_readme     one

freshclam has no network: a signature of our own stands in for those of ClamAV.
"""

import unittest
from pathlib import Path

from antivirus_test import SIGNATURES
from book import BOOK, HELLO, README, RESTART, SMTPD, SOURCE, World, builder, enter, installs, package_flags


class Book(unittest.TestCase):
    def setUp(self):
        self.world = World([INSTALLED])
        self.addCleanup(self.world.stop)

    def check(self, name, shown=HELLO):
        self.world.set_up(name)
        self.world.see(name, shown)

    def test_system_users(self):
        self.check("system-users")

    def test_readme(self):
        """Its smtpd.conf, and the rest of system-users."""
        self.world.set_up("system-users")
        [block] = [block for block in README["Configure"] if block.file]
        host = self.world.host(*SMTPD)
        Path(f"{host.root}{block.file}").write_text(block.text)
        host.run(RESTART)
        self.world.see("system-users", HELLO)

    def test_in_session(self):
        self.check("in-session")

    def test_three_hosts_then_mailhosts(self):
        self.check("three-hosts")
        self.check("mailhosts")

    def test_virtual_users_then_cluster(self):
        self.check("virtual-users")
        self.check("cluster")

    def test_antivirus(self):
        self.world.set_up("virtual-users")
        signatures = Path(f"{self.world.host(*SMTPD).root}/var/lib/clamav")
        for directory in (signatures, signatures / "main.inc", signatures / "daily.inc"):  # the script of clamav-daemon looks for them
            directory.mkdir()
        for name, text in SIGNATURES.items():
            (signatures / name).write_text(text)
        self.check("antivirus", "554 5.7.1")


def install():
    """A host with what README.md has installed: the layer of what was written."""
    host = builder()
    host.run(f"{package_flags()} && cd {SOURCE}")
    for block in [*README["Install"], *README["Configure"]]:
        for command in block.commands() if not block.file else []:
            print(f"-- {command}", flush=True)
            host.run(command)
    host.stop()
    return host.upper


if __name__ == "__main__":
    enter(["install", "ccache"], *installs(block for blocks in [*README.values(), *BOOK.values()] for block in blocks))
    INSTALLED = install()
    unittest.main(verbosity=2)
