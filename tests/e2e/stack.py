"""The real servers in a private throw-away.

enter() moves this process into namespaces of its own (mount, network, process, host name): tmpfs lies over every directory
that servers write to, /etc is a copy, lo has the addresses below, and nothing survives the process. Stack starts OpenSMTPD,
rspamd, Dovecot and dnsmasq in there from one set of smtpd-conf/, whose files are put where an administrator would put them.

What differs from a real host is written here and nowhere else:
  /etc/resolv.conf           `lookup file`: smtpd's resolver never leaves /etc/hosts (sessions stall for seconds otherwise)
  /etc/passwd, /etc/group    the accounts alice, bob, carol and vmail
  /etc/dovecot/conf.d/10-ssl.conf   `ssl = no`: a fresh package has no certificate
  /etc/rspamd/override.d     dnsmasq as the only resolver, which knows nothing but what it is told; the actions discard and hold
  /etc/rspamd/rspamd.local.lua   tests/e2e/rspamd/rules.lua: verdicts that depend on the Subject, not on luck
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from smtp import Session, submit  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(os.environ.get("MAILBRIDGE_PROGRAMS", ROOT / "build/release/bin"))
LIBEXEC = Path("/usr/libexec/opensmtpd")
WARM = ROOT / "build/rspamd-cache"  # rspamd compiles its expressions for 10 to 15 s when this is empty

SERVER4, SERVER6 = "192.0.2.1", "2001:db8::1"  # mail.example.org
CLIENT4, CLIENT6 = "192.0.2.99", "2001:db8::99"  # client.example.net, far away for rspamd (not a local network)
SINK = "192.0.2.25"  # where outbound mail goes when a test relays it
HOSTS = f"""127.0.0.1 localhost
::1 localhost
{SERVER4} mail.example.org
{SERVER6} mail.example.org
{CLIENT4} client.example.net
{CLIENT6} client.example.net
{SINK} sink.example.com
10.0.25.1 smtpd.internal
10.0.25.2 scan.internal
10.0.25.3 dovecot.internal
"""
ACCOUNTS = {"alice": 5001, "bob": 5002, "carol": 5003, "vmail": 5000}

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG = 1


class StackError(Exception):
    """A server that does not do what it must; the text says which and what it logged."""


def run(*command, **options):
    options.setdefault("input", b"")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if done.returncode:
        raise StackError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout.decode(errors='replace')}")
    return done.stdout.decode(errors="replace")


# ---- namespaces ------------------------------------------------------------------------------------------------------------


inside = False


def enter():
    """Returns in a grandchild that lives in the namespaces. The first process only waits, the second is their init: when
    either is gone the kernel kills every server. A second call does nothing."""
    global inside
    if inside:
        return
    inside = True
    if os.geteuid() != 0:
        sys.exit("The real servers run in namespaces of their own, and that needs root: run this again as root (sudo).")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET):
        error = os.strerror(ctypes.get_errno())
        sys.exit(f"This machine does not let root make namespaces ({error}). A container needs --privileged for it.")
    sys.stdout.flush()
    init = os.fork()
    if init:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the stack as well, which cleans up
        for fatal in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(fatal, lambda number, _: (os.kill(init, signal.SIGKILL), os._exit(128 + number)))
        status = os.waitpid(init, 0)[1]
        os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    main = os.fork()
    if main:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:  # an init reaps the orphans of all servers
            pid, status = os.wait()
            if pid == main:
                os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)
    try:
        _furnish()
    except (StackError, OSError) as error:
        sys.exit(str(error))


def _mount(*arguments):
    run("mount", *map(str, arguments))


def _furnish():
    try:
        _mount("--make-rprivate", "/")
    except StackError as error:
        raise StackError(f"{error}In a chroot? Its directory must be a mount point: mount --bind DIR DIR, then chroot DIR.") from None
    _mount("-t", "proc", "proc", "/proc")
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for directory in ("/var/spool", "/var/log", "/var/mail", "/var/lib/dovecot", "/var/lib/rspamd"):
        if not os.path.isdir(directory):
            raise StackError(f"{directory} is missing: is every package of .ci/common.sh installed?")
        _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", directory)

    mount_dev(Path("/run/dev"), "/dev")

    etc = Path("/run/etc")
    shutil.copytree("/etc", etc, symlinks=True)
    for name in ("resolv.conf", "hosts", "mailname"):
        (etc / name).unlink(missing_ok=True)
    (etc / "resolv.conf").write_text("lookup file\n")
    (etc / "hosts").write_text(HOSTS)
    (etc / "mailname").write_text("mail.example.org\n")
    _accounts(etc)
    _mount("--bind", etc, "/etc")

    socket.sethostname("mail.example.org")
    # smtpd's backlog is 5: with syncookies a burst of connects leaves clients without a banner for ever.
    Path("/proc/sys/net/ipv4/tcp_syncookies").write_text("0")
    run("ip", "link", "set", "lo", "up")
    for address in (SERVER4, CLIENT4, SINK):
        run("ip", "address", "add", f"{address}/32", "dev", "lo")
    for address in (SERVER6, CLIENT6):
        run("ip", "-6", "address", "add", f"{address}/128", "dev", "lo", "nodad")


def mount_dev(dev, target):
    """A /dev of its own, because /dev/log is ours there and the host's devtmpfs is shared. `dev` is made."""
    dev.mkdir()
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (dev / name).touch()
        _mount("--bind", f"/dev/{name}", dev / name)
    for name, link in {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
        (dev / name).symlink_to(link)
    (dev / "shm").mkdir()
    _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", dev / "shm")
    _mount("--rbind", dev, target)


def add_host(name, address):
    """A network namespace with one veth to this one, which routes and plays the outside world."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    run("ip", "netns", "add", name)
    run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
    run("ip", "address", "add", "10.0.25.254/32", "dev", f"to-{name}")
    run("ip", "link", "set", f"to-{name}", "up")
    run("ip", "route", "add", address, "dev", f"to-{name}")
    inside_it = ("ip", "-n", name)
    run(*inside_it, "link", "set", "lo", "up")
    run(*inside_it, "address", "add", f"{address}/32", "dev", "eth0")
    run(*inside_it, "link", "set", "eth0", "up")
    run(*inside_it, "route", "add", "10.0.25.254", "dev", "eth0")
    run(*inside_it, "route", "add", "default", "via", "10.0.25.254")


def _accounts(etc):
    def without_ours(name):
        return [line for line in (etc / name).read_text().splitlines() if line.split(":")[0] not in ACCOUNTS]

    passwd, group = without_ours("passwd"), without_ours("group")
    for name, number in ACCOUNTS.items():
        passwd.append(f"{name}:x:{number}:{number}::/run/home/{name}:/bin/sh")
        group.append(f"{name}:x:{number}:")
        home = Path("/run/home", name)
        home.mkdir(parents=True)
        os.chown(home, number, number)
        home.chmod(0o700)
    (etc / "passwd").write_text("\n".join(passwd) + "\n")
    (etc / "group").write_text("\n".join(group) + "\n")


# ---- waiting and processes -------------------------------------------------------------------------------------------------


def eventually(question, what, seconds=20.0, meanwhile=lambda: None):
    """Asks until the answer is true and returns it; an OSError is a no. `what` may be a function: it is asked at the end.
    `meanwhile` is called every 3 s."""
    deadline = time.monotonic() + seconds
    next_word = time.monotonic() + 3
    while True:
        try:
            answer = question()
        except OSError:
            answer = None
        if answer:
            return answer
        if time.monotonic() > next_word:
            next_word += 3
            meanwhile()
        if time.monotonic() > deadline:
            raise StackError(f"waited {seconds:g} s in vain: {what() if callable(what) else what}")
        time.sleep(0.02)


def descendants(pid):
    """pid and everything below it, parents first."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def command_line(pid):
    """As the process itself has written it; empty when it has ended."""
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return b""


def running(pid, program):
    """Those of pid and everything below it that run the program of this file name. Any of them may end at any time."""
    found = []
    for one in descendants(pid):
        try:
            if os.readlink(f"/proc/{one}/exe").endswith("/" + program):
                found.append(one)
        except OSError:
            pass  # it has ended
    return found


class Server:
    """One daemon in the foreground."""

    def __init__(self, name, command, ready, *, user=None, host=None):
        self.name, self.command, self.ready, self.user, self.host = name, command, ready, user, host
        self.process = None

    def start(self, wait=True):
        command = self.command
        if self.user:
            command = ["setpriv", "--reuid", self.user, "--regid", self.user, "--clear-groups", *command]
        if self.host:
            command = ["nsenter", f"--net=/run/netns/{self.host}", *command]
        self.output = Path("/run", f"{self.name}.out")
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/",
                                            env={"PATH": os.environ["PATH"], "HOME": "/"}, start_new_session=True)
        if wait:
            self.wait()

    def wait(self, seconds=120.0, meanwhile=lambda: None):
        eventually(self._answers, lambda: f"{self.name} does not answer\n{self.said()}", seconds, meanwhile)

    def _answers(self):
        if self.process.poll() is not None:
            raise StackError(f"{self.name} ended with status {self.process.returncode}\n{self.said()}")
        return self.ready()

    def said(self):
        return self.output.read_text(errors="replace")

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        for pid in descendants(self.process.pid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def pause(self):
        """Its sockets stay open and the kernel still accepts; nobody answers."""
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()
        eventually(self._nothing_is_left, f"the processes of {self.name} end")

    def _nothing_is_left(self):
        """What was started in the meantime: while one process of Dovecot lives, its sockets do, and another Dovecot does not start."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return True
        return False

    def stop(self):
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


class Syslog:
    """/dev/log: every line the servers and our programs write to syslog."""

    def __init__(self, path="/dev/log"):
        self.path, self.lines, self.reading = path, [], threading.Lock()
        self._open()
        threading.Thread(target=self._read, daemon=True).start()

    def _open(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.settimeout(0.05)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o666)

    def _read(self):
        while True:
            with self.reading:
                try:
                    line = self.socket.recv(65536).decode(errors="replace").rstrip("\n\0")
                except TimeoutError:
                    line = None
            if line is None:
                time.sleep(0.001)  # or whoever wants the lock never gets it
            else:
                # <priority>Mmm dd hh:mm:ss program[pid]: text
                self.lines.append(re.sub(r"^<\d+>(?:\w{3} [ \d]\d \d\d:\d\d:\d\d )?", "", line))

    @contextlib.contextmanager
    def stuck(self):
        """Nobody reads: who uses syslog(3) waits."""
        with self.reading:
            yield

    @contextlib.contextmanager
    def away(self):
        """Restarted, which takes a while: there is no socket meanwhile, and another one then."""
        with self.reading:
            self.socket.close()
            os.unlink(self.path)
            yield
            self._open()


# ---- questions to servers --------------------------------------------------------------------------------------------------


def connect(address, timeout=5.0):
    """A /path, or (host, port)."""
    if isinstance(address, str):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(timeout)
        try:
            peer.connect(address)
        except OSError:
            peer.close()
            raise
        return peer
    return socket.create_connection(address, timeout)


def http(address, request_line, headers="", body=b""):
    """One HTTP/1.1 exchange with rspamd, read to the end of the connection: (status, body)."""
    with connect(address, 30) as peer:
        head = f"{request_line} HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        peer.sendall(head.encode() + body)
        reply = b""
        while piece := peer.recv(65536):
            reply += piece
    head, _, content = reply.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, content


def _banner(address):
    with connect(address, 2) as peer:
        return peer.recv(512).startswith(b"220")


def _dns(address):
    query = struct.pack(">6H", 1, 0x100, 1, 0, 0, 0) + b"\x05ready\x04test\0" + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(0.2)
        peer.connect((address, 53))
        peer.send(query)
        return peer.recv(512)


# ---- the stack -------------------------------------------------------------------------------------------------------------

# Where the sets put things. Addresses are those written in their files.
SETS = {
    "system-users": {"rspamd": ("127.0.0.1", 11333), "lmtp": "/run/dovecot/lmtp", "smtp": (SERVER4, 25),
                     "maildir": "/run/home/{user}/Maildir"},
    "virtual-users": {"rspamd": "/run/rspamd/scan.sock", "lmtp": "/run/dovecot/lmtp", "smtp": (SERVER4, 25),
                      "maildir": "/var/mail/vhosts/{domain}/{user}"},
    "in-session": {"rspamd": "/run/rspamd/scan.sock", "lmtp": "/run/dovecot/lmtp", "smtp": (SERVER4, 25),
                   "maildir": "/var/mail/vhosts/{domain}/{user}"},
    "three-hosts": {"rspamd": ("10.0.25.2", 11333), "lmtp": ("10.0.25.3", 24), "smtp": ("10.0.25.1", 25),
                    "maildir": "/var/mail/vhosts/{domain}/{user}"},
}


def version(*command):
    """The first version that a program tells: (2, 3, 19)."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return tuple(map(int, re.search(r"\d+(?:\.\d+)+", done.stdout)[0].split(".")))


SMTPD = version("smtpd", "-h")
DOVECOT = version("dovecot", "--version")
DOVECOT_FOLDER = f"dovecot-{DOVECOT[0]}.{DOVECOT[1]}"  # of a set


def by_dovecot(old, new):
    """The text, the word in the syntax of Dovecot 2.3, or in that of 2.4."""
    return new if DOVECOT >= (2, 4) else old


QUOTA = by_dovecot("userdb_quota_rule=*:storage=", "userdb_quota_storage_size=")  # in the users file, before 8K

# For Stack(dovecot=...), also added up: what the filter asks about recipients, on sockets of its own.
LMTP_FOR_FILTER = """service lmtp {
  unix_listener lmtp-filter {
    mode = 0600
    user = opensmtpd
  }
}
protocol lmtp {
  lmtp_rcpt_check_quota = yes
}
"""
QUOTA_STATUS = """service quota-status {
  executable = quota-status -p postfix
  unix_listener quota-status {
    mode = 0600
    user = opensmtpd
  }
}
""" + by_dovecot("""# Without it everybody has room for everything; in a protocol block it does nothing.
mail_plugins = $mail_plugins quota
plugin {
""", """mail_plugins {
  quota = yes
}
""") + """  quota_status_success = DUNNO
  quota_status_nouser = 550 5.1.1 Dovecot knows no such user
  quota_status_overquota = 552 5.2.2 Dovecot has no room
""" + by_dovecot("}\n", "  quota_status_toolarge = 552 5.2.2 Dovecot has no room\n")


class Stack:
    """conf        a folder of smtpd-conf/
    smtpd_conf     a function from the text of smtpd.conf to the text used: for tests that need another option
    filter_options added to filter-mailbridge's own
    rspamd         {path below /etc/rspamd: text} besides the set's files
    dovecot        text added to /etc/dovecot/local.conf
    dns            dnsmasq options, one a line: what the world's DNS knows
    prepare        a function that is given the stack before anything starts, and may change its list of servers
    progress       a function that is told what is being waited for
    """

    def __init__(self, conf="virtual-users", *, smtpd_conf=None, filter_options="", rspamd=None, dovecot="", dns="",
                 prepare=lambda stack: None, progress=lambda text: None):
        self.conf, self.where, self.progress = conf, SETS[conf], progress
        self.folder = ROOT / "smtpd-conf" / conf
        self.smtp_address = self.where["smtp"]
        if conf == "three-hosts":
            for name, address in (("smtpd", "10.0.25.1"), ("scan", "10.0.25.2"), ("dovecot", "10.0.25.3")):
                add_host(name, address)
        self._programs()
        self.set_smtpd_conf(smtpd_conf, filter_options)
        self._dovecot(dovecot)
        self._rspamd(rspamd or {})
        Path("/etc/dnsmasq-test.conf").write_text(
            "port=53\nno-resolv\nno-hosts\nlocal=/#/\nbind-interfaces\nuser=root\npid-file=\n" + dns)
        self.syslog = Syslog()
        self._servers()
        prepare(self)

    # -- configuration

    def _programs(self):
        """The two programs stand in Debian's libexec directory beside smtpd's own."""
        overlay = Path("/run/libexec")
        shutil.copytree(LIBEXEC, overlay, symlinks=True)
        for name in ("filter-mailbridge", "lda2lmtp"):
            program = PROGRAMS / name
            if not program.exists():
                raise StackError(f"{program} is not built: cmake --preset release && cmake --build build/release")
            shutil.copy(program, overlay / name)
            (overlay / name).chmod(0o755)
        _mount("--bind", overlay, LIBEXEC)

    def set_smtpd_conf(self, change=None, filter_options=""):
        """Takes effect when smtpd starts."""
        text = (self.folder / "smtpd.conf").read_text()
        if filter_options:
            text, count = re.subn(r'(proc-exec "filter-mailbridge[^"]*)"', rf'\1 {filter_options}"', text)
            assert count == 1
        text = change(text) if change else text
        Path("/etc/smtpd.conf").write_text(text)
        for file in (*self.folder.glob("smtpd-*"), *self.folder.glob("filter-mailbridge.toml")):
            shutil.copy(file, Path("/etc", file.name))
        for command in re.findall(r"^    (openssl .*)$", (self.folder / "README.md").read_text(), re.MULTILINE):
            run("sh", "-c", command)  # makes the key

    def _dovecot(self, extra):
        target = Path("/etc/dovecot")
        for file in (self.folder / "junk.sieve", *(self.folder / DOVECOT_FOLDER).iterdir()):
            shutil.copy(file, target / "conf.d" / file.name if file.suffix == ".conf" else target / file.name)
        run("sievec", target / "junk.sieve")
        (target / "conf.d/10-ssl.conf").write_text("ssl = no\n")
        (target / "local.conf").write_text(extra)
        Path("/var/mail/vhosts").mkdir()
        shutil.chown("/var/mail/vhosts", "vmail", "vmail")
        Path("/run/dovecot").mkdir(exist_ok=True)

    def _rspamd(self, extra):
        target = Path("/etc/rspamd")
        shutil.copytree(self.folder / "rspamd" / "local.d", target / "local.d", dirs_exist_ok=True)
        shutil.copy(ROOT / "tests/e2e/rspamd/rules.lua", target / "rspamd.local.lua")
        nameserver = "10.0.25.254" if self.conf == "three-hosts" else "127.0.0.1"
        files = {"override.d/options.inc": f'dns {{ nameserver = ["{nameserver}"]; }}\n',
                 "override.d/actions.conf": 'discard { flags = ["no_threshold"]; }\nhold { flags = ["no_threshold"]; }\n',
                 **extra}
        for name, text in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_text(text)
        for directory in ("/run/rspamd", "/var/log/rspamd"):
            Path(directory).mkdir()
            shutil.chown(directory, "_rspamd", "_rspamd")
        if WARM.is_dir():
            shutil.copytree(WARM, "/var/lib/rspamd", dirs_exist_ok=True)
        run("chown", "-R", "_rspamd:_rspamd", "/var/lib/rspamd")

    def _keep_warm(self):
        """Compiled expressions are content-addressed: any run may add to them."""
        WARM.mkdir(parents=True, exist_ok=True)
        for file in Path("/var/lib/rspamd").glob("*.hs*"):
            if file.suffix in (".hs", ".hsmc", ".hsmp") and not (WARM / file.name).exists():
                shutil.copy(file, WARM / (file.name + ".new"))
                os.replace(WARM / (file.name + ".new"), WARM / file.name)

    # -- servers

    def _servers(self):
        hosts = {name: name if self.conf == "three-hosts" else None for name in ("smtpd", "scan", "dovecot")}
        self.rspamd = Server("rspamd", ["rspamd", "-c", "/etc/rspamd/rspamd.conf", "-f"],
                             lambda: http(self.where["rspamd"], "GET /ping")[0] == 200, user="_rspamd", host=hosts["scan"])
        self.dovecot = Server("dovecot", ["dovecot", "-F"], lambda: _banner(self.where["lmtp"]), host=hosts["dovecot"])
        self.smtpd = Server("smtpd", ["smtpd", "-F"], lambda: _banner(self.smtp_address), host=hosts["smtpd"])
        address = "10.0.25.254" if self.conf == "three-hosts" else "127.0.0.1"
        self.dnsmasq = Server("dnsmasq", ["dnsmasq", "-k", "-C", "/etc/dnsmasq-test.conf"], lambda: _dns(address))
        self.servers = [self.dnsmasq, self.rspamd, self.dovecot, self.smtpd]

    def start(self):
        begun = time.monotonic()
        cold = not any(WARM.glob("*.hs*"))
        self.progress("starting rspamd (its first start compiles expressions: 10 to 15 s), Dovecot and smtpd" if cold
                      else "starting rspamd, Dovecot and smtpd")
        for server in self.servers:
            server.start(wait=False)
        for server in self.servers:
            server.wait(meanwhile=lambda: self.progress(f"... {time.monotonic() - begun:.0f} s"))
        self.progress(f"all servers answer after {time.monotonic() - begun:.1f} s")
        self.smtpd_pid = self.smtpd.process.pid
        return self

    def stop(self):
        for server in reversed(self.servers):
            server.stop()
        self._keep_warm()

    def add_user(self, address, fields=""):
        """To Dovecot's virtual users, at any time: it looks at the file once a second. `fields` for instance:
        QUOTA + "4K"."""
        user, _, domain = address.partition("@")
        with open("/etc/dovecot/users", "a") as users:
            users.write(f"{address}:{{PLAIN}}change-me:5000:5000::/var/mail/vhosts/{domain}/{user}::{fields}\n")

    def restart_smtpd(self):
        self.smtpd.stop()
        self.smtpd.start()
        self.smtpd_pid = self.smtpd.process.pid

    # -- what happened

    def session(self, address=None, source=CLIENT4, **options):
        return Session(address or self.smtp_address, source=source, **options)

    def submit(self, sender, recipients, mail, address=None, source=CLIENT4, **options):
        return submit(address or self.smtp_address, sender, recipients, mail, source=source, **options)

    def scan(self, mail, headers):
        """What rspamd says when asked directly: (status, JSON bytes)."""
        return http(self.where["rspamd"], "POST /checkv2", headers, mail)

    def maildir(self, recipient, folder="INBOX"):
        user, _, domain = recipient.partition("@")
        path = Path(self.where["maildir"].format(user=user, domain=domain or "example.org"))
        return path if folder == "INBOX" else path / f".{folder}"

    def mailbox(self, recipient, folder="INBOX"):
        """The bytes of every mail, oldest first."""
        path = self.maildir(recipient, folder)
        files = [file for part in ("new", "cur") if (path / part).is_dir() for file in (path / part).iterdir()]
        return [file.read_bytes() for file in sorted(files, key=lambda file: file.name)]

    def wait_mail(self, recipient, containing, folder="INBOX", seconds=20.0):
        """The one mail that contains these bytes."""
        def found():
            return [mail for mail in self.mailbox(recipient, folder) if containing in mail]

        def story():
            recent = "\n".join(self.syslog.lines[-25:])
            return f"no mail with {containing!r} in {folder} of {recipient}; the log ends\n{recent}"

        mails = eventually(found, story, seconds)
        assert len(mails) == 1, f"{len(mails)} copies of {containing!r} in {folder} of {recipient}"
        return mails[0]

    def sendmail(self, recipient, mail):
        run("sendmail", recipient, input=mail)

    def run_agent(self, stdin, *arguments, sender, recipient):
        """lda2lmtp as smtpd 6.8 runs it for `user vmail`: (exit status, what it said)."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": "/run/home/vmail", "SHELL": "/bin/sh", "USER": "vmail",
                       "LOGNAME": "vmail", "SENDER": sender, "RECIPIENT": recipient, "LOCAL": recipient.partition("@")[0],
                       "DOMAIN": recipient.partition("@")[2]}
        done = subprocess.run(["setpriv", "--reuid", "vmail", "--regid", "vmail", "--clear-groups", LIBEXEC / "lda2lmtp",
                               *arguments], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
        return done.returncode, done.stdout

    def queue(self):
        """smtpctl's lines, one an envelope."""
        return run("smtpctl", "show", "queue").splitlines()

    def retry_now(self):
        run("smtpctl", "schedule", "all")

    def wait_queue_empty(self, seconds=20.0):
        eventually(lambda: not self.queue(), lambda: f"the queue still holds {self.queue()}", seconds)

    def mark(self):
        return len(self.syslog.lines)

    def log_since(self, mark, pattern=""):
        return [line for line in self.syslog.lines[mark:] if re.search(pattern, line)]

    def wait_log(self, pattern, since=0, seconds=10.0):
        def story():
            recent = "\n".join(self.syslog.lines[since:][-25:])
            return f"no log line matches {pattern}; the log ends\n{recent}"

        return eventually(lambda: self.log_since(since, pattern), story, seconds)[0]

    def rspamd_log(self):
        file = Path("/var/log/rspamd/rspamd.log")
        return file.read_text(errors="replace").splitlines() if file.exists() else []

    def assert_smtpd_alive(self):
        """The same process as at the start, and it serves a new session."""
        assert self.smtpd.alive() and self.smtpd.process.pid == self.smtpd_pid, f"smtpd is gone\n{self.smtpd.said()}"
        with self.session() as session:
            reply = session.command("NOOP")
            assert reply.code == 250, reply


class StackTest(unittest.TestCase):
    """One stack for all tests of a file: `main` gives it. After each test smtpd must be alive and the queue empty."""

    stack = None

    def setUp(self):
        self.since = self.stack.mark()

    def tearDown(self):
        self.stack.assert_smtpd_alive()
        try:
            self.stack.wait_queue_empty()
        except StackError:
            run("smtpctl", "remove", "all")  # one failure is enough
            raise

    # What tests say again and again.

    def send(self, mail, sender="sender@client.example.net", to="alice@example.org", **options):
        """Submits one mail: its outcome."""
        return self.stack.submit(sender, to, mail, **options)

    def accepted(self, mail, **options):
        outcome = self.send(mail, **options)
        self.assertEqual(outcome.final.code, 250, outcome.final)
        return outcome

    def refused(self, mail, reply, **options):
        """At the dot, with exactly this reply; and nothing of it is in the queue."""
        self.stack.wait_queue_empty()  # of mails before
        outcome = self.send(mail, **options)
        self.assertEqual([reply.code for reply in outcome.recipients], [250] * len(outcome.recipients))
        self.assertEqual(outcome.final.text, reply)
        self.assertEqual(self.stack.queue(), [])
        return outcome

    def our_line(self, pattern=""):
        """filter-mailbridge's one line about the message of this test."""
        return self.stack.wait_log(rf"filter-mailbridge.*\bsession=.*{pattern}", self.since)

    def assert_delivered(self, stored, sent, *, removed=()):
        """`stored` is `sent` with headers added: the body byte for byte (Dovecot stores LF), every header in its place."""
        head, _, body = stored.partition(b"\n\n")
        sent_head, _, sent_body = sent.replace(b"\r\n", b"\n").partition(b"\n\n")
        self.assertEqual(body, sent_body)
        kept = [line for line in sent_head.split(b"\n") if line not in removed]
        lines = iter(head.split(b"\n"))
        for line in kept:
            self.assertIn(line, lines)  # an iterator: each is found after the one before it
        for line in removed:
            self.assertNotIn(line, head.split(b"\n"))


def header(mail, name):
    """The values of a header, unfolded, first to last."""
    head = re.sub(rb"\r?\n[ \t]+", b" ", mail.replace(b"\r\n", b"\n").partition(b"\n\n")[0])
    return [line.partition(b":")[2].strip() for line in head.split(b"\n") if line.lower().startswith(name.lower() + b":")]


def main(**options):
    """For a *_test.py: into the namespaces, the stack with these options, then unittest."""
    enter()
    StackTest.stack = Stack(progress=lambda text: print(f"-- {text}", flush=True), **options)
    try:
        StackTest.stack.start()
        passed = unittest.main(module="__main__", verbosity=2, exit=False).result.wasSuccessful()
    finally:
        StackTest.stack.stop()
    sys.exit(not passed)
