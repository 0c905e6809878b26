"""What connects the filter with a real Dovecot: connections that are kept, TLS, and whom Dovecot is told it serves."""

import re
import subprocess
import threading
from pathlib import Path

from smtp import message
from stack import CLIENT4, LMTP_FOR_FILTER, QUOTA_STATUS, LIBEXEC, SERVER4, StackTest, by_dovecot, header, main, run

SOCKET = "/run/dovecot/lmtp-filter"
CERTIFICATES = Path("/run/certificates")
MARK_KEY = Path("/run/mark.key")
LISTEN = by_dovecot("address", "listen")
DOVECOT = LMTP_FOR_FILTER + QUOTA_STATUS + f"""
service lmtp {{
  inet_listener lmtp {{
    {LISTEN} = {SERVER4}
    port = 24
  }}
  inet_listener lmtps {{
    {LISTEN} = {SERVER4}
    port = 2400
    ssl = yes
  }}
}}
ssl = yes
{by_dovecot("ssl_cert = <", "ssl_server_cert_file = ")}{CERTIFICATES}/server.pem
{by_dovecot("ssl_key = <", "ssl_server_key_file = ")}{CERTIFICATES}/server.key
login_trusted_networks = {SERVER4}
"""
PLAIN = f"{SERVER4}:24"
TLS = f"lmtps://{SERVER4}:2400"
VERIFY = "--verify example.org --max-unknown 0"


def openssl(*arguments):
    run("openssl", *map(str, arguments), cwd=CERTIFICATES)


def prepare(stack):
    CERTIFICATES.mkdir()
    for authority in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={authority}",
                "-keyout", f"{authority}.key", "-out", f"{authority}.pem", "-days", 2)
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=dovecot",
            "-keyout", "server.key", "-out", "server.csr")
    (CERTIFICATES / "server.ext").write_text(f"subjectAltName=DNS:mail.internal,IP:{SERVER4}\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", 2,
            "-extfile", "server.ext", "-out", "server.pem")
    MARK_KEY.write_text("0123456789abcdef" * 4 + "\n")
    MARK_KEY.chmod(0o644)


def connections():
    """How many of Dovecot's ends there are on the filter's socket, without the listener."""
    return sum(line.endswith(SOCKET) for line in Path("/proc/net/unix").read_text().splitlines()) - 1


class Wires(StackTest):
    def use(self, options):
        self.stack.set_smtpd_conf(filter_options=options)
        self.stack.restart_smtpd()
        self.since = self.stack.mark()

    def ask_about(self, names, clients=1):
        """RCPT for each, in as many sessions: the codes that were answered."""
        names = list(names)
        codes = []

        def ask(mine):
            with self.stack.session() as session:
                session.command("MAIL FROM:<sender@client.example.net>")
                for name in mine:
                    codes.append(session.command(f"RCPT TO:<{name}@example.org>").code)

        threads = [threading.Thread(target=ask, args=(names[i::clients],)) for i in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return codes


class Reuse(Wires):
    def test_one_connection_serves_many_look_ups(self):
        self.use(f"--lmtp {SOCKET} {VERIFY}")
        self.assertEqual(self.ask_about(f"nobody{i}" for i in range(40)), [550] * 40)
        self.assertEqual(len(self.stack.log_since(self.since, r"lmtp\(\d+\): .*Connect from local")), 1)
        self.assertEqual(connections(), 1)

    def test_no_more_connections_than_there_may_be(self):
        self.use(f"--lmtp {SOCKET} {VERIFY} --lmtp-connections 2")
        most, done = [0], threading.Event()

        def watch():
            while not done.is_set():
                most[0] = max(most[0], connections())

        watcher = threading.Thread(target=watch)
        watcher.start()
        codes = self.ask_about((f"crowd{i}" for i in range(320)), clients=16)
        done.set()
        watcher.join()
        self.assertEqual(codes, [550] * 320)
        self.assertIn(most[0], (1, 2))

    def test_a_restart_of_dovecot_in_between_is_no_error(self):
        for service in (f"--lmtp {SOCKET}", "--quota-status /run/dovecot/quota-status"):
            with self.subTest(service):
                self.use(f"{service} {VERIFY}")
                self.assertEqual(self.ask_about(["before"]), [550])
                self.stack.dovecot.stop()
                self.stack.dovecot.start()
                self.assertEqual(self.ask_about(["after"]), [550])
                self.assertEqual(self.stack.log_since(self.since, "cannot be verified|state=down"), [])

    def test_dovecot_that_is_away_is_waited_for_no_longer_than_allowed(self):
        self.use(f"--lmtp {SOCKET} {VERIFY} --verify-timeout 1")
        self.stack.dovecot.stop()
        self.assertEqual(self.ask_about(["alice"]), [250])
        self.stack.wait_log(r"lmtp=unix:\S+ state=down reason=\"no(body listens there|.such socket)", self.since)
        self.stack.dovecot.start()
        self.assertEqual(self.ask_about(["somebody"]), [550])
        self.stack.wait_log(r"lmtp=unix:\S+ state=up", self.since)


class Transport(Wires):
    def check(self, *options):
        """What --check says of Dovecot: (exit status, the last line)."""
        done = subprocess.run([LIBEXEC / "filter-mailbridge", "--rspamd", "unix:/run/rspamd/scan.sock",
                               *(() if any(option.startswith("--check") for option in options) else ("--check",)), *options],
                              capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines()[-1] if done.stdout else done.stderr

    def test_check(self):
        ca = ("--lmtp-ca", str(CERTIFICATES / "ca.pem"))
        good = r": OK, answers about recipients \(\d+ ms\)"
        certificate = ": TLS: the server's certificate: "
        for options, expected in (
                (("--lmtp", SOCKET), "unix:" + SOCKET + good),
                (("--lmtp", PLAIN), PLAIN + good),
                (("--lmtp", PLAIN, "--lmtp-source", SERVER4), PLAIN + good),
                (("--lmtp", PLAIN, "--lmtp-starttls", *ca), PLAIN + good),
                (("--lmtp", TLS, *ca), f"{SERVER4}:2400" + good),
                (("--lmtp", TLS, *ca, "--lmtp-name", "mail.internal"), f"{SERVER4}:2400" + good),
                (("--lmtp", SOCKET, "--lmtp-starttls", *ca, "--lmtp-name", "mail.internal"), "unix:" + SOCKET + good),
                (("--quota-status", "/run/dovecot/quota-status"), "quota-status unix:/run/dovecot/quota-status" + good),
                (("--quota-status", "/run/dovecot/quota-status", "--check=alice@example.org"),
                 "quota-status unix:/run/dovecot/quota-status" + good + ", and takes mail for alice@example.org, within its quota")):
            with self.subTest(options):
                status, line = self.check(*options)
                self.assertRegex(line, f"^{expected}$")
                self.assertEqual(status, 0)
        for options, expected in (
                (("--lmtp", TLS, *ca, "--lmtp-name", "mx.internal"), f"{SERVER4}:2400: cannot connect{certificate}hostname mismatch"),
                (("--lmtp", TLS), f"{SERVER4}:2400: cannot connect{certificate}unable to get local issuer certificate"),
                (("--lmtp", PLAIN, "--lmtp-starttls", "--lmtp-ca", str(CERTIFICATES / "other.pem")),
                 f"{PLAIN}{certificate}unable to get local issuer certificate"),
                (("--lmtp", "/run/dovecot/nothing"),
                 "unix:/run/dovecot/nothing: no such socket: is Dovecot running, and does it listen for LMTP there?"),
                (("--lmtp", f"{SERVER4}:23"), f"{SERVER4}:23: nobody listens there: is Dovecot running?"),
                (("--quota-status", SOCKET), f"quota-status unix:{SOCKET}: quota-status answers with something else: "
                                             "is this Dovecot's policy service?")):
            with self.subTest(options):
                self.assertEqual(self.check(*options), (1, expected))

    def test_in_the_session(self):
        for service in (f"--lmtp {PLAIN} --lmtp-starttls --lmtp-ca {CERTIFICATES}/ca.pem",
                        f"--lmtp {TLS} --lmtp-ca {CERTIFICATES}/ca.pem",
                        f"--lmtp /run/dovecot/nothing --lmtp {PLAIN}"):
            with self.subTest(service):
                self.use(f"{service} {VERIFY}")
                self.assertEqual(self.ask_about(["alice", "nobody"]), [250, 550])

    def test_dovecot_is_told_whom_it_serves(self):
        self.use(f"--lmtp {TLS} --lmtp-ca {CERTIFICATES}/ca.pem {VERIFY} --deliver --mark-key {MARK_KEY}")
        for number in (1, 2):  # over one connection
            subject = f"XCLIENT {number}"
            self.accepted(message(subject))
            session, msgid = re.search(r"session=(\w+) msgid=(\w+)", self.our_line("delivered=1/1")).groups()
            self.stack.wait_log(rf"lmtp\(alice@example.org\).*<{session}\.{msgid}", self.since)
            copies = [mail for mail in self.stack.mailbox("alice@example.org") if f"Subject: {subject}\n".encode() in mail]
            self.assertTrue(any(CLIENT4 in header(mail, b"Received")[0].decode() for mail in copies), copies)
            self.since = self.stack.mark()


if __name__ == "__main__":
    main(conf="virtual-users", dovecot=DOVECOT, prepare=prepare)
