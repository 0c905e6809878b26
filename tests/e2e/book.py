"""README.md and smtpd-conf/*/README.md as commands, and fresh Debian hosts to run them on.

Indented blocks are commands, or a file when the text before ends with its path: (`/etc/smtpd.conf`):. They are run on the host that the
text named last, as in "On scan.internal (10.0.25.2)", and in the folder of the README. A command that fails ends the test. Under "See
that it works" people wait a moment and try again: so a command is repeated until it succeeds, and the last one until it shows what the
text promises.

A host is the root that `./test --debian` makes, with nothing installed, in namespaces of its own. What the book does not say and a real
host has: a clock, a /dev/log, a network, DNS (which knows the hosts and nothing else), and the packages of Debian, downloaded before.
"""

import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from stack import ROOT, Server, StackError, Syslog, _dns, _mount, add_host, descendants, eventually, mount_dev, run

SMTPD = ("smtpd.internal", "10.0.25.1")  # where the text names no host
OUTSIDE = "10.0.25.254"
RELEASE = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)[1]
ROOTS = ROOT / "build/roots" / RELEASE
SOURCE = "/root/mailbridge"
SETS = "/usr/share/doc/mailbridge/smtpd-conf"
HELLO = "\nSubject: Hello\n"
# `service opensmtpd restart` without systemd: Debian's script starts nothing while the old smtpd is still ending, and stops nothing while
# the new one has not written who it is.
RESTART = ("old=$(cat /run/smtpd.pid || echo none); service opensmtpd stop; while kill -0 $old; do sleep 0.1; done; service opensmtpd restart; "
           "timeout 60 sh -c 'until kill -0 $(cat /run/smtpd.pid) && smtpctl show status; do sleep 0.1; done'")


# ---- the text --------------------------------------------------------------------------------------------------------------


@dataclass
class Block:
    section: str
    hosts: list  # (name, address)
    file: str  # its path, or empty
    text: str

    def commands(self):
        return re.sub(r"\\\n *", "", self.text).splitlines()


def blocks(document):
    section, hosts = "", [SMTPD]
    for prose, block in re.findall(r"((?:(?!    ).*\n)+)((?:    .*\n|\n(?=    ))*)", document.read_text()):
        section = (["", section] + re.findall(r"^#+ (.*)", prose, re.MULTILINE))[-1]
        named = re.findall(r"\b[Oo]n ((?:[\w.]+ \([\d.]+\)(?:, | and )?)+)", prose.replace("\n", " "))
        hosts = re.findall(r"([\w.]+) \(([\d.]+)\)", named[-1]) if named else hosts
        file = re.search(r"\(`(/\S+)`\):\n\n$", prose)
        if block:
            yield Block(section, hosts, file[1] if file else "", re.sub("^    ", "", block, flags=re.MULTILINE))


README = {block.section: [] for block in blocks(ROOT / "README.md")}
for block in blocks(ROOT / "README.md"):
    README[block.section].append(block)
BOOK = {folder.parent.name: list(blocks(folder)) for folder in sorted((ROOT / "smtpd-conf").glob("*/README.md"))}


# ---- hosts -----------------------------------------------------------------------------------------------------------------


class Host:
    """`layers` lie over the fresh root, the first one on top. What is written goes to `upper`, or where `mounts` says: {path: directory}."""

    def __init__(self, name, address, layers=(), mounts={}):
        self.name = name
        self.place = Path(tempfile.mkdtemp(dir="/run"))
        self.upper, self.root = self.place / "upper", self.place / "root"
        for directory in (self.upper, self.place / "work", self.root):
            directory.mkdir()
        lower = ":".join(map(str, [*layers, ROOTS / "fresh"]))
        _mount("-t", "overlay", "-o", f"lowerdir={lower},upperdir={self.upper},workdir={self.place / 'work'}", "overlay", self.root)
        mount_dev(self.place / "dev", self.root / "dev")
        _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", self.root / "run")
        for path, directory in {"/var/cache/apt/archives": ROOTS / "packages", **mounts}.items():
            _mount("--bind", directory, f"{self.root}{path}")
        (self.root / "etc/resolv.conf").write_text(f"nameserver {OUTSIDE}\n")
        self.syslog = Syslog(str(self.place / "dev/log"))
        namespace = name.partition(".")[0]
        add_host(namespace, address)
        self.init = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{namespace}", "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child",
             "sh", "-euc", 'hostname "$1" && mount -t proc proc "$2/proc" && exec chroot "$2" bash -c "touch /run/up; cat; :"', "-",
             name, self.root], stdin=subprocess.PIPE)
        eventually((self.root / "run/up").exists, f"{name} is up")
        first = str(descendants(self.init.pid)[1])
        self.shell = subprocess.Popen(
            ["nsenter", "--target", first, "--root", "--wd", "--mount", "--net", "--pid", "--uts", "--ipc",
             "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "bash"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def say(self, command):
        """One line to the shell: (exit status, output)."""
        self.shell.stdin.write(f"{{ {command}\n}} </dev/null 2>&1; printf '\\0%d\\n' $?\n".encode())
        self.shell.stdin.flush()
        output = b""
        while not (end := re.search(rb"\0(\d+)\n\Z", output)):
            line = self.shell.stdout.readline()
            if not line:
                raise StackError(f"the shell of {self.name} ended\n{output.decode(errors='replace')}")
            output += line
        return int(end[1]), output[:end.start()].decode(errors="replace")

    def run(self, command):
        status, output = self.say(command)
        if status:
            raise StackError(self.story(command, output, f"exit {status}"))
        return output

    def run_until(self, command, done):
        """`done` is asked about (exit status, output)."""
        last = []

        def attempt():
            last[:] = self.say(command)
            return done(*last)

        eventually(attempt, lambda: self.story(command, last[1], f"exit {last[0]}"), 60)
        return last[1]

    def story(self, command, output, how):
        log = "\n".join(self.syslog.lines[-25:])
        return f"on {self.name}: {command}\n{output}{how}; the log ends\n{log}"

    def stop(self):
        self.init.communicate()  # the end of its input ends it, and that every process of the host
        self.shell.communicate()
        namespace = self.name.partition(".")[0]
        run("ip", "link", "delete", f"to-{namespace}")  # without this it is there for some time after its namespace
        run("ip", "netns", "delete", namespace)
        run("umount", "--recursive", self.root)


class World:
    """The hosts of one test, made when they are first named. `installed`: the layers of the one where the text names none."""

    def __init__(self, installed):
        self.hosts, self.installed = {}, installed
        self.seen = collections.Counter()  # by the command that shows it

    def host(self, name, address):
        if name not in self.hosts:
            self.hosts[name] = Host(name, address, self.installed if (name, address) == SMTPD else [])
            if name != SMTPD[0]:
                shutil.copytree(ROOT / "smtpd-conf", Path(f"{self.hosts[name].root}{SETS}"))
        return self.hosts[name]

    def follow(self, block, folder):
        for host in (self.host(*host) for host in block.hosts):
            host.run(f"cd {folder}")
            for command in block.commands():
                host.run(RESTART if command == "service opensmtpd restart" else command)

    def set_up(self, name):
        for block in BOOK[name]:
            if block.section != "See that it works":
                self.follow(block, f"{SETS}/{name}")

    def see(self, name, shown):
        """The last command shows this, once for each time; and filter-mailbridge has logged rspamd's verdict."""
        steps = [(self.host(*block.hosts[0]), command) for block in BOOK[name] if block.section == "See that it works"
                 for command in block.commands()]
        for host, command in steps[:-1]:
            host.run_until(command, lambda status, _: status == 0)
        host, command = steps[-1]
        self.seen[command] += 1
        output = host.run_until(command, lambda _, output: output.count(shown) >= self.seen[command])
        assert output.count(shown) == self.seen[command], output
        log = self.hosts[SMTPD[0]].syslog.lines
        eventually(lambda: any(re.search(r"filter-mailbridge.* msgid=.* score=", line) for line in log), lambda: f"a verdict: {log}")

    def stop(self):
        for host in self.hosts.values():
            host.stop()
            shutil.rmtree(host.upper)


# ---- all of it ---------------------------------------------------------------------------------------------------------------


def enter(*downloads):
    """Returns in namespaces where hosts can be made. Before, with the network of this machine, which the hosts do not have, apt-get
    downloads the packages for each of these lists of arguments."""
    if "--inside" not in sys.argv:
        script = """. .ci/common.sh
            . .ci/debian.sh
            debian_root "$1"
            get() { in_root "$roots/fresh" apt-get -q --download-only "${@:2}"; }
            step "downloading packages for the hosts" get "$@" """
        for arguments in downloads:
            subprocess.run(["bash", "-c", script, "-", RELEASE, *arguments], cwd=ROOT, check=True)
        os.execvp("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv,
                              "--inside"])
    sys.argv.remove("--inside")
    _mount("-t", "tmpfs", "-o", "mode=755,size=4G", "tmpfs", "/run")
    hosts = {host for blocks in BOOK.values() for block in blocks for host in block.hosts}
    Path("/run/dnsmasq.conf").write_text("port=53\nno-resolv\nno-hosts\nlocal=/#/\nuser=root\npid-file=\n" + "".join(
        f"address=/{name}/{address}\n" for name, address in hosts))
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{OUTSIDE}/32", "dev", "lo")
    dns = Server("dnsmasq", ["dnsmasq", "-k", "-C", "/run/dnsmasq.conf"], lambda: _dns(OUTSIDE))
    dns.start()


def installs(blocks):
    """For enter(): what each `apt install` of these blocks takes on a host that has nothing. On another one it takes less."""
    return sorted({("install", *command.split()[2:]) for block in blocks for command in block.commands()
                   if command.startswith("apt install ") and "/" not in command})


def builder():
    """A host with what was cloned, or unpacked, in SOURCE. ccache keeps the compiler's work for the next time."""
    layer, compiled = Path("/run/source"), ROOTS / "ccache"
    shutil.copytree(ROOT, Path(f"{layer}{SOURCE}"), ignore=shutil.ignore_patterns("build", ".git", "__pycache__"))
    for directory in (layer / "var/cache/ccache", compiled):
        directory.mkdir(parents=True, exist_ok=True)
    host = Host("build.internal", "10.0.25.200", [layer], {"/var/cache/ccache": compiled})
    host.run("apt install ccache && export PATH=/usr/lib/ccache:$PATH CCACHE_DIR=/var/cache/ccache")
    return host


def package_flags():
    """The compiler's as dpkg-buildpackage sets them, and the locale, so that the book and the package share what is compiled."""
    env = {**os.environ, "DEB_BUILD_PATH": SOURCE, "DEB_BUILD_MAINT_OPTIONS": "hardening=+all"}
    flags = {name: run("dpkg-buildflags", "--get", name, env=env).strip() for name in ("CXXFLAGS", "CPPFLAGS")}
    return f"export LC_ALL=C.UTF-8 CXXFLAGS='{flags['CXXFLAGS']} {flags['CPPFLAGS']}'"
