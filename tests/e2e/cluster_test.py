"""Three hosts with rspamd and one Redis behind two hosts with smtpd: smtpd-conf/cluster, added to virtual-users."""

import json
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

from smtp import message, submit
from stack import CLIENT4, ROOT, Server, StackTest, add_host, connect, eventually, http, main, run

CONF = ROOT / "smtpd-conf/cluster"
SCANNERS = {"scan1": "10.0.25.11", "scan2": "10.0.25.12", "scan3": "10.0.25.13"}
REDIS = "10.0.25.20"
SECOND = "10.0.25.2"  # the second host with smtpd; the first is mail.example.org itself
CLIENTS = 8
FEW = 10  # scans: enough to tell that a host has work


class Scanner(Server):
    """A host with an rspamd of its own; configuration, state and log lie below /run/NAME."""

    def __init__(self, name, address):
        self.folder = Path("/run", name)
        shutil.copytree(CONF / "rspamd/local.d", self.folder / "etc/local.d")
        shutil.copy(ROOT / "tests/e2e/rspamd/rules.lua", self.folder / "etc/rspamd.local.lua")
        override = self.folder / "etc/override.d"
        override.mkdir()
        (override / "options.inc").write_text('dns { nameserver = ["10.0.25.254"]; }\nhs_cache_dir = "/var/lib/rspamd";\n')
        (override / "greylist.conf").write_text("timeout = 1;\n")
        (override / "worker-normal.inc").write_text("count = 1;\n")
        for worker in ("proxy", "fuzzy"):  # not needed here
            (override / f"worker-{worker}.inc").write_text("enabled = false;\n")
        for directory in ("db", "run", "log"):
            (self.folder / directory).mkdir()
            shutil.chown(self.folder / directory, "_rspamd", "_rspamd")
        variables = {"LOCAL_CONFDIR": "etc", "DBDIR": "db", "RUNDIR": "run", "LOGDIR": "log"}
        super().__init__(name, ["rspamd", "-c", "/etc/rspamd/rspamd.conf", "-f",
                                *(f"--var={name}={self.folder / folder}" for name, folder in variables.items())],
                         lambda: http((address, 11333), "GET /ping")[0] == 200, user="_rspamd", host=name)

    def holds(self):
        """How many connections stand."""
        tables = (Path(f"/proc/{self.process.pid}/net/{table}").read_text() for table in ("tcp", "tcp6"))
        return sum(len(re.findall(rf":{11333:04X} [0-9A-F]+:[0-9A-F]{{4}} 01 ", table)) for table in tables)

    def scans(self):
        """How many mails it has judged, by its own log."""
        return (self.folder / "log/rspamd.log").read_text(errors="replace").count("rspamd_task_write_log: id: ")


class SecondSmtpd(Server):
    """The same files as the first, and a spool and a control socket of its own."""

    def __init__(self):
        script = ("mount -t tmpfs tmpfs /var/spool && mkdir -p /var/spool/run/dovecot && "
                  "mount --bind /run/dovecot /var/spool/run/dovecot && mount --rbind /var/spool/run /run && exec smtpd -F")
        super().__init__("smtpd2", ["unshare", "--mount", "sh", "-c", script],
                         lambda: connect((SECOND, 25)).recv(100).startswith(b"220"), host="mail2")

    def queue(self):
        return run("nsenter", "--mount", "--root", "--target", str(self.process.pid), "smtpctl", "show", "queue").splitlines()


def prepare(stack):
    hosts = {**SCANNERS, "mail2": SECOND, "redis": REDIS}
    for name, address in hosts.items():
        add_host(name, address)
    with open("/etc/hosts", "a") as file:
        file.writelines(f"{address} {name}.internal\n" for name, address in hosts.items())
    stack.redis = Server("redis", ["redis-server", "--bind", REDIS, "--save", "", "--protected-mode", "no"],
                         lambda: connect((REDIS, 6379)).close() or True, host="redis")
    stack.scanners = [Scanner(name, address) for name, address in SCANNERS.items()]
    stack.smtpd2 = SecondSmtpd()
    stack.servers.remove(stack.rspamd)
    stack.servers += [stack.redis, *stack.scanners, stack.smtpd2]


def smtpd_conf(text):
    ours = re.search(r'^filter .*', (CONF / "smtpd.conf").read_text(), re.MULTILINE)[0]
    return re.sub(r'^filter "mailbridge" .*', lambda _: ours, text, flags=re.MULTILINE)


class Load:
    """Clients that send ordinary mail to both hosts until they are told to stop."""

    count = 0

    def __init__(self, stack):
        Load.count += 1
        self.name = f"load {Load.count}"
        self.stack = stack
        self.replies = {}  # subject: the reply to its dot
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self._client, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join(60)

    def _client(self, number):
        address = [self.stack.smtp_address, (SECOND, 25)][number % 2]
        count = 0
        while not self.stopped.is_set():
            count += 1
            subject = f"{self.name} {number}.{count}."
            outcome = submit(address, "sender@client.example.net", "alice@example.org", message(subject), source=CLIENT4)
            self.replies[subject] = outcome.final.text
            time.sleep(0.02)


class ClusterTest(StackTest):
    def tearDown(self):
        for scanner in self.stack.scanners:
            if not scanner.alive():
                scanner.start()
        super().tearDown()
        eventually(lambda: not self.stack.smtpd2.queue(), "the second queue is empty")

    def scans(self):
        return [scanner.scans() for scanner in self.stack.scanners]

    def more_scans(self, hosts):
        """Waits until each of these has judged a few more."""
        before = self.scans()
        eventually(lambda: all(self.scans()[host] >= before[host] + FEW for host in hosts),
                   lambda: f"{hosts} get mail: {before}, now {self.scans()}", 60)

    def all_arrived(self, load):
        """Each accepted, and each once."""
        self.assertEqual([reply for reply in load.replies.values() if not reply.startswith("250 ")], [])

        def arrived():
            subject = re.compile(rb"^Subject: (%s .*)$" % load.name.encode(), re.MULTILINE)
            return [found[1].decode() for mail in self.stack.mailbox("alice@example.org") if (found := subject.search(mail))]

        eventually(lambda: len(arrived()) >= len(load.replies), lambda: f"{len(arrived())} of {len(load.replies)} arrive", 60)
        self.assertEqual(sorted(arrived()), sorted(load.replies))

    def test_a_host_dies_and_returns(self):
        with Load(self.stack) as load:
            self.more_scans([0, 1, 2])
            dying = self.stack.scanners[1]
            dying.pause()
            eventually(lambda: dying.holds() >= 2, "mails wait for the one that dies")
            dying.kill()
            dead = self.scans()[1]
            self.more_scans([0, 2])
            self.assertEqual(self.scans()[1], dead)
            dying.start()
            self.more_scans([0, 1, 2])
        self.all_arrived(load)
        print(f"{len(load.replies)} mails, judged by each host: {self.scans()}", end=" ", flush=True)

    def test_a_host_falls_silent_and_returns(self):
        """Nothing comes back from it, no refusal either."""
        silence = ("ip", "-n", "scan3", "rule", "{}", "blackhole", "priority", "10")
        run(*(word.format("add") for word in silence))
        try:
            with Load(self.stack) as load:
                self.more_scans([0, 1])
                run(*(word.format("del") for word in silence))
                self.more_scans([0, 1, 2])
        finally:
            subprocess.run([word.format("del") for word in silence], stderr=subprocess.DEVNULL, check=False)
        self.all_arrived(load)

    def test_what_one_knows_all_know(self):
        """Greylisted for one filter by one host, the mail is no news to any host, and passes the other filter in time."""
        mail = message("[grey] hello")
        self.refused(mail, "451 4.7.1 Try again later")
        envelope = f"IP: {CLIENT4}\r\nFrom: <sender@client.example.net>\r\nRcpt: <alice@example.org>\r\n"
        for address in SCANNERS.values():
            verdict = json.loads(http((address, 11333), "POST /checkv2", envelope, mail)[1])
            self.assertNotIn("new record", verdict["symbols"]["GREYLIST"]["options"])

        def again():
            return self.stack.submit("sender@client.example.net", "alice@example.org", mail, (SECOND, 25)).final.code == 250

        eventually(again, "the mail passes")
        self.stack.wait_mail("alice@example.org", b"Subject: [grey] hello\n")

    def test_without_redis(self):
        self.stack.redis.stop()
        try:
            self.accepted(message("without redis"))
        finally:
            self.stack.redis.start()
        self.stack.wait_mail("alice@example.org", b"Subject: without redis\n")


if __name__ == "__main__":
    main(smtpd_conf=smtpd_conf, prepare=prepare)
