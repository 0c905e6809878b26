"""Two rspamds: what becomes of mail when one of them, or both, or the way to them fails."""

import os
import re
import shutil
import threading
from pathlib import Path

from smtp import message
from stack import SERVER4, Server, StackTest, enter, eventually, http, main, run, running

FIRST = "unix:/run/rspamd/scan.sock"  # the stack's own
SECOND = f"{SERVER4}:11335"
OPTIONS = "--connect-timeout 2 --scan-timeout 8"
UNSCANNED = "451 4.3.0 Message could not be scanned, try again later"
NOWHERE = "198.51.100.1"  # what is sent there is lost without a word
LIMIT = {"local.d/options.inc": "max_message = 100k;\n"}  # of both


def second_rspamd():
    """A copy of the stack's configuration with one worker, on an address of its own, and directories of its own."""
    home = Path("/run/second")
    for name in ("db", "log", "run"):
        (home / name).mkdir(parents=True)
    for compiled in Path("/var/lib/rspamd").glob("*.hs*"):
        shutil.copy(compiled, home / "db")
    shutil.copytree("/etc/rspamd", home / "etc", symlinks=True)
    overrides = home / "etc/override.d"
    (overrides / "worker-normal.inc").write_text(f'bind_socket = "{SECOND}";\n')
    for worker in ("controller", "proxy"):
        (overrides / f"worker-{worker}.inc").write_text("enabled = false;\n")
    run("chown", "-R", "_rspamd:_rspamd", home)
    directories = {"CONFDIR": "etc", "LOCAL_CONFDIR": "etc", "DBDIR": "db", "LOGDIR": "log", "RUNDIR": "run"}
    return Server("second", ["rspamd", "-c", f"{home}/etc/rspamd.conf", "-f",
                             *(f"--var={name}={home / folder}" for name, folder in directories.items())],
                  lambda: http((SERVER4, 11335), "GET /ping")[0] == 200, user="_rspamd")


def a_way_that_leads_nowhere():
    """At the other end of the wire nobody has the address that the frames carry."""
    run("ip", "link", "add", "nowhere", "type", "veth", "peer", "name", "its-end")
    for device in ("nowhere", "its-end"):
        run("ip", "link", "set", device, "up")
    run("ip", "route", "add", NOWHERE, "dev", "nowhere")
    run("ip", "neighbour", "add", NOWHERE, "lladdr", "02:00:00:00:00:01", "dev", "nowhere", "nud", "permanent")


def hosts(*lines):
    file = Path("/etc/hosts")
    kept = [line for line in file.read_text().splitlines() if "scan.example.org" not in line]
    file.write_text("\n".join([*kept, *lines]) + "\n")


class TwoServers(StackTest):
    second = None
    servers = ()

    @classmethod
    def setUpClass(cls):
        TwoServers.second = TwoServers.second or second_rspamd()

    def setUp(self):
        for server in (self.stack.rspamd, self.second):
            if not server.alive():
                server.start()
        # Each test begins with servers that nothing is known of.
        options = " ".join(f"--rspamd {server}" for server in self.servers)
        self.stack.set_smtpd_conf(lambda text: text.replace(f"--rspamd {FIRST}", options), OPTIONS)
        self.stack.restart_smtpd()
        super().setUp()

    def server_of(self, subject):
        """Which one gave the verdict on a mail that is accepted."""
        since = self.stack.mark()
        self.accepted(message(subject))
        line = self.stack.wait_log(r"filter-mailbridge.*\bsession=.* result=committed", since)
        return re.search(r" server=(\S+) ", line).group(1)

    def states(self):
        return [re.search(r" rspamd=(\S+) state=(\w+)", line).groups() for line in self.stack.log_since(self.since, " state=")]


class Failover(TwoServers):
    servers = (FIRST, f"http://{SECOND}")

    def test_both_get_mail(self):
        self.assertEqual({self.server_of(f"mail {n}") for n in range(4)}, {FIRST, SECOND})
        self.assertEqual(self.states(), [])

    def test_one_stops_and_comes_back(self):
        self.second.stop()
        self.assertEqual([self.server_of(f"mail {n}") for n in range(4)], [FIRST] * 4)
        self.assertEqual(self.states(), [(SECOND, "down")])
        self.second.start()
        self.stack.wait_log(rf" rspamd={SECOND} state=up", self.since)
        self.assertEqual({self.server_of(f"mail {n} again") for n in range(4)}, {FIRST, SECOND})
        self.assertEqual(self.states(), [(SECOND, "down"), (SECOND, "up")])

    def test_one_dies_in_the_middle_of_a_scan(self):
        self.stack.rspamd.pause()
        before = self.connections()
        scans = []
        sender = threading.Thread(target=lambda: scans.extend(self.server_of(f"mail {n} while one dies") for n in range(2)))
        sender.start()
        eventually(lambda: self.connections() > before, "one mail waits for the first")
        self.stack.rspamd.kill()
        sender.join()
        self.assertEqual(scans, [SECOND] * 2)

    @staticmethod
    def connections():
        """To the first one, its listeners included."""
        return sum(line.endswith(" /run/rspamd/scan.sock") for line in Path("/proc/net/unix").read_text().splitlines())

    def test_both_stopped_and_one_back(self):
        self.stack.rspamd.stop()
        self.second.stop()
        for n in range(2):
            self.refused(message(f"nobody scans mail {n}"), UNSCANNED)
        self.assertRegex(self.our_line(), r" error=unreachable ")
        self.assertEqual(sorted(self.states()), [(SECOND, "down"), (FIRST, "down")])
        self.second.start()
        self.assertEqual(self.server_of("at once"), SECOND)

    def test_a_mail_over_max_message_is_its_own_fault(self):
        large = message("too large for rspamd", b"0123456789abcdef\r\n" * 10000)
        for n in range(3):
            self.refused(large, UNSCANNED)
        self.assertRegex(self.our_line(), r' error=http reason="refused: connection lost twice, last: ')
        self.assertEqual({self.server_of(f"small {n}") for n in range(4)}, {FIRST, SECOND})
        self.assertEqual(self.states(), [])


class OneByName(TwoServers):
    """The second alone, by a name."""

    servers = ("http://scan.example.org:11335",)

    def name_is(self, *addresses):
        """From the start, which is when it is looked up first."""
        hosts(*(f"{address} scan.example.org" for address in addresses))
        self.stack.restart_smtpd()

    def test_the_first_address_leads_nowhere(self):
        self.name_is(NOWHERE, SERVER4)
        for n in range(3):
            self.accepted(message(f"by name {n}"))

    def test_a_name_that_moves(self):
        self.name_is("192.0.2.25")
        self.refused(message("nobody listens there"), UNSCANNED)
        hosts(f"{SERVER4} scan.example.org")
        eventually(lambda: self.send(message("it has moved")).final.code == 250, "the name is looked up again")

    def test_no_such_name(self):
        self.name_is()
        self.refused(message("no such name"), UNSCANNED)
        self.assertRegex(self.our_line(), r' error=unreachable reason="Host not found" ')
        hosts(f"{SERVER4} scan.example.org")
        self.accepted(message("the name is known now"))


class ResolverThatHangs(TwoServers):
    servers = ("http://elsewhere.example.com:11335,priority=1", "http://scan.example.org:11335")

    def setUp(self):
        super().setUp()
        Path("/etc/resolv.conf").write_text(f"lookup file\nnameserver {NOWHERE}\n")
        hosts(f"{SERVER4} scan.example.org")
        self.stack.restart_smtpd()

    def tearDown(self):
        super().tearDown()
        Path("/etc/resolv.conf").write_text("lookup file\n")

    def test_one_name_does_not_wait_for_the_other(self):
        self.assertEqual(self.server_of("one resolver hangs"), "scan.example.org:11335")
        self.assertEqual(self.states(), [("elsewhere.example.com:11335", "down")])
        for n in range(3):
            self.assertEqual(self.server_of(f"and again {n}"), "scan.example.org:11335")
        self.assertLessEqual(self.threads(), 2, "itself and one look-up, however often it was wanted")

    def threads(self):
        filters = running(self.stack.smtpd.process.pid, "filter-mailbridge")
        self.assertEqual(len(filters), 1)
        return len(os.listdir(f"/proc/{filters[0]}/task"))


if __name__ == "__main__":
    enter()
    a_way_that_leads_nowhere()
    main(rspamd=LIMIT)
