#!/usr/bin/python3
"""The Debian package, built and installed on fresh hosts by README.md's own words: its first mail, and its life under load until nothing
of it is left. lintian finds nothing in it, and built in another place it is the same file.
"""

import collections
import os
import re
import shutil
import sys
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from book import HELLO, README, RESTART, SMTPD, SOURCE, Host, World, builder, enter, installs
from smtp import message, submit
from stack import ROOT, eventually, run

sys.path.insert(0, str(ROOT / "tests/support"))
from lmtp_server import Server  # noqa: E402

*BUILD, INSTALL = [command for block in README["Or as a Debian package"] for command in block.commands()]
SERVERS = [command for block in README["Configure"] for command in block.commands() if command.startswith("apt install ")]
CONFIG = "/etc/filter-mailbridge.toml"
AGENT = "/usr/libexec/opensmtpd/lda2lmtp"
BATCH = 1000  # smtpd's limit for the recipients of a mail
UPGRADES = 6
USERS = ("alice", "bob", "carol")
SMTPD_CONF = f"""listen on 0.0.0.0
action "local" mda "exec {AGENT} -l /run/sink"
match from any for domain "example.org" action "local"
"""


def build():
    """The host on which README.md's words have made the package, and its file."""
    host = builder()
    host.run(f"cp -a {SOURCE} /root/unbuilt && cd {SOURCE}")
    for command in BUILD:
        print(f"-- {command}", flush=True)
        host.run(command)
    [deb] = (host.root / "root").glob("mailbridge_*.deb")
    return host, deb


class Build(unittest.TestCase):
    def test_lintian(self):
        HOST.run("apt install lintian")
        said = HOST.run(f"lintian --display-info --show-overrides --fail-on none /root/{DEB.name}")
        print(said)
        self.assertIn("O: mailbridge: statically-linked-binary", said)
        # lintian of Debian 12 wants a script in /etc/init.d for each unit, and takes opensmtpd.service.d for one. That of 13 ends at an
        # override which names a tag that it does not know.
        found = re.findall(r"^[EWI]: .*", said, re.MULTILINE)
        self.assertEqual([tag for tag in found if "package-supports-alternative-init-but-no-init.d-script" not in tag], [])

    @unittest.skipIf(os.environ.get("MAILBRIDGE_PACKAGE_ONCE"), "MAILBRIDGE_PACKAGE_ONCE: another Debian builds it twice")
    def test_reproducible(self):
        HOST.run("mkdir /srv/elsewhere && mv /root/unbuilt /srv/elsewhere/source && cd /srv/elsewhere/source")
        HOST.run(f"umask 027 && export TZ=Pacific/Kiritimati LC_ALL=C.UTF-8 && {BUILD[-1]} && cmp ../{DEB.name} /root/{DEB.name}")


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """A host on which it was installed, by README.md's words."""
        cls.version = DEB.name.split("_")[1]
        versions = Path("/run/package/root/versions")
        versions.mkdir(parents=True)
        for place in (versions.parent, versions):
            shutil.copy(DEB, place)
        for number in range(UPGRADES):
            cls.make_another(versions, f"{cls.version}.{number}", "")
        cls.make_another(versions, f"{cls.version}.{UPGRADES}", "# more\n")
        host = Host("install.internal", "10.0.25.201", ["/run/package"])
        host.run(f"mkdir {SOURCE} && cd {SOURCE}")
        for command in (INSTALL, *SERVERS):
            print(f"-- {command}", flush=True)
            host.run(command)
        host.stop()
        cls.installed = [host.upper, "/run/package"]

    @staticmethod
    def make_another(place, version, config):
        tree = Path("/run/another")
        run("dpkg-deb", "--raw-extract", DEB, tree)
        run("sed", "-i", f"s/^Version: .*/Version: {version}/", tree / "DEBIAN/control")
        with open(f"{tree}{CONFIG}", "a") as file:
            file.write(config)
        run("dpkg-deb", "-Znone", "--build", tree, place / f"mailbridge_{version}_other.deb")
        shutil.rmtree(tree)

    def setUp(self):
        self.world = World(self.installed)
        self.addCleanup(self.world.stop)
        self.host = self.world.host(*SMTPD)

    def test_first_mail(self):
        """With the package's own file of options, which says how it is used; and it suits Debian's rspamd before anything is set up."""
        line, check, reload = re.findall(r"^#   (.*)", (ROOT / "debian/filter-mailbridge.toml").read_text(), re.MULTILINE)
        self.host.run("service rspamd start")
        self.host.run_until(check, lambda status, _: status == 0)
        self.world.set_up("system-users")
        self.host.run(f"sed -i 's|^filter .*|{line}|' /etc/smtpd.conf && {RESTART}")
        self.world.see("system-users", HELLO)
        self.host.run(f"apt install procps && {reload}")
        eventually(lambda: any("the settings were read again" in line for line in self.host.syslog.lines), "the file is read again")

    def test_another_mail_server(self):
        """It stays, and opensmtpd does not come."""
        other = Host("other.internal", "10.0.25.2", ["/run/package"])
        self.addCleanup(other.stop)
        other.run(f"apt install postfix && mkdir {SOURCE} && cd {SOURCE}")
        plan = other.run(INSTALL.replace("apt ", "apt-get --simulate "))
        self.assertIn("\nInst mailbridge ", plan)
        self.assertNotRegex(plan, "(?m)^Remv")
        other.run(INSTALL)
        self.assertEqual(other.run("dpkg-query -W -f '${db:Status-Status}' postfix"), "installed")
        self.assertNotEqual(other.say("dpkg-query -s opensmtpd")[0], 0)
        other.run(f"apt remove mailbridge && test ! -e {AGENT}")

    # ---- under load

    def results(self):
        return collections.Counter(re.search(r"\bresult=(\w+)", line)[1] for line in self.host.syslog.lines if "mda delivery" in line)

    def queue_mail(self):
        """Enough for a while. The users take turns: smtpd runs seven agents for each at a time."""
        if self.queued - len(self.sink.mails) > BATCH // 2:
            return
        recipients = [f"{USERS[number % len(USERS)]}+{self.queued + number}@example.org" for number in range(BATCH)]
        self.queued += BATCH
        outcome = submit((SMTPD[1], 25), "sender@client.example.net", recipients, message("an upgrade"))
        self.assertEqual(outcome.final.code, 250, outcome.final)

    def while_delivering(self, command):
        before = len(self.sink.mails)
        self.queue_mail()
        eventually(lambda: len(self.sink.mails) > before, lambda: f"agents are started; so far {self.results()}")
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(self.host.run, command)
            while not running.done():
                self.queue_mail()
                time.sleep(0.02)
        return running.result()

    def install(self, version, *options):
        self.while_delivering(f"dpkg -i {' '.join(options)} /root/versions/mailbridge_{version}_*.deb")
        self.assertEqual(self.host.run("dpkg-query -W -f '${Version}' mailbridge"), version)
        self.host.run(f"cmp {CONFIG} /root/config")

    def test_life(self):
        """Upgrades, a downgrade and the removal under load, without a bounce. Then smtpd is restarted, the package comes back, and is purged."""
        self.queued = 0
        self.sink = Server(f"{self.host.root}/run/sink")
        self.addCleanup(self.sink.close)
        Path(f"{self.host.root}/etc/smtpd.conf").write_text(SMTPD_CONF)
        for user in USERS:
            self.host.run(f"useradd --create-home {user}")
        self.host.run(f"echo 'monitor = true' >>{CONFIG} && cp {CONFIG} /root/config && {RESTART}")

        for number in range(UPGRADES):
            self.install(f"{self.version}.{number}")
        self.install(f"{self.version}.{UPGRADES}", "--force-confold")
        self.host.run(f"test -e {CONFIG}.dpkg-dist")
        self.install(self.version, "--force-confold")
        self.assertEqual(self.results().keys(), {"Ok"})

        self.while_delivering("dpkg --remove mailbridge")
        print(f"Upgrades, a downgrade and the removal; then {self.results()} of {self.queued}", flush=True)

        def waiting():
            return [line for line in self.host.syslog.lines if "result=TempFail" in line]

        eventually(waiting, lambda: f"mail waits: {self.results()}")
        self.assertIn("mailbridge was removed", waiting()[0])
        before = len(waiting())
        self.host.run(RESTART)
        eventually(lambda: len(waiting()) > before, lambda: f"mail waits: {self.results()}")
        self.host.run(f"apt install /root/mailbridge_*.deb && cmp {CONFIG} /root/config")
        eventually(lambda: self.results()["Ok"] == self.queued, lambda: f"{self.results()} of {self.queued}", 120,
                   lambda: self.host.run("smtpctl schedule all"))
        self.assertEqual(self.results().keys(), {"Ok", "TempFail"})
        self.assertEqual(len({mail.recipient for mail in self.sink.mails}), self.queued)
        self.assertEqual(len(self.sink.mails), self.queued)
        self.assertEqual(self.host.run("smtpctl show queue"), "")  # no bounce either

        self.assertIn("smtpd.conf still names lda2lmtp", self.host.run("apt purge mailbridge"))
        self.assertIn("MDA paused", self.host.run("smtpctl show status"))
        self.assertEqual(self.host.run(r"find / -xdev \( -path /root -o -path /usr/src -o -path /etc/apt \) -prune -o \( -name '*mailbridge*' -o -name '*lda2lmtp*' \) -print"), "")


if __name__ == "__main__":
    enter(["build-dep", "."], ["install", "ccache", "lintian", "procps"], ["install", "postfix"], *installs(README["Configure"]))
    HOST, DEB = build()
    unittest.main(verbosity=2)
