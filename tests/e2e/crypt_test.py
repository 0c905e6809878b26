"""rspamd over a network: HTTPCrypt with Debian's rspamd, TLS with haproxy before it, zstd with both."""

from pathlib import Path

from smtp import message
from stack import SERVER4, Server, StackTest, connect, enter, header, http, main, run

PLAIN = "--rspamd http://127.0.0.1:11333"  # the set's own
# rspamd does not ask for encryption on 127/8 and unix sockets.
SEALED = (SERVER4, 11344)
FRONT, CERTIFIED = (SERVER4, 11401), (SERVER4, 11402)
UNSCANNED = "451 4.3.0 Message could not be scanned, try again later"
CERTIFICATES = Path("/run/certificates")
LARGE = b"".join(b"%07d the quick brown fox jumps over the lazy dog, again and again\r\n" % n for n in range(40000))


def endpoint(address, scheme="http"):
    return f"--rspamd {scheme}://{address[0]}:{address[1]}"


def keypair():
    lines = run("rspamadm", "keypair").splitlines()
    return {name.strip(): value.strip(' ";') for name, _, value in (line.partition("=") for line in lines) if value}


def openssl(*arguments):
    run("openssl", *map(str, arguments), cwd=CERTIFICATES)


def certificates():
    """Two authorities, a server's certificate, and a client's, one of them out of date."""
    CERTIFICATES.mkdir()
    for authority in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={authority}",
                "-keyout", f"{authority}.key", "-out", f"{authority}.pem", "-days", 2)
    for name, days in (("server", 2), ("client", 2), ("expired", 0)):  # that one at once
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.csr")
        extensions = CERTIFICATES / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:scan.internal,IP:{SERVER4}\n" if name == "server" else "")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", days,
                "-extfile", extensions, "-out", f"{name}.pem")
    for key in CERTIFICATES.glob("*.key"):
        key.chmod(0o644)  # smtpd runs the filter as a user of its own
    (CERTIFICATES / "both.pem").write_text((CERTIFICATES / "server.pem").read_text() + (CERTIFICATES / "server.key").read_text())


def haproxy():
    Path("/run/haproxy.cfg").write_text(f"""
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind {FRONT[0]}:{FRONT[1]} ssl crt {CERTIFICATES}/both.pem
  default_backend rspamd
frontend certified
  bind {CERTIFIED[0]}:{CERTIFIED[1]} ssl crt {CERTIFICATES}/both.pem ca-file {CERTIFICATES}/ca.pem verify required
  default_backend rspamd
backend rspamd
  server rspamd 127.0.0.1:11333
""")
    return Server("haproxy", ["haproxy", "-db", "-f", "/run/haproxy.cfg"], lambda: connect(FRONT).close() or True)


class Crypt(StackTest):
    front = None

    @classmethod
    def setUpClass(cls):
        if not Crypt.front:
            certificates()
            Crypt.front = haproxy()
            Crypt.front.start()

    def use(self, options):
        """Starts smtpd with these for the filter."""
        self.stack.set_smtpd_conf(lambda text: text.replace(PLAIN, options), "--connect-timeout 2 --scan-timeout 8")
        self.stack.restart_smtpd()
        self.since = self.stack.mark()

    def scanned(self, subject, mail=None):
        mail = mail or message(subject)
        self.accepted(mail)
        stored = self.stack.wait_mail("alice@example.org", f"Subject: {subject}\n".encode())
        self.assert_delivered(stored, mail)
        self.assertRegex(header(stored, b"X-Spamd-Result")[0], rb"^default: False")

    def unscanned(self, why):
        """Refused for the time being, and the log says why."""
        self.refused(message("unscanned"), UNSCANNED)
        self.our_line(why)


class HttpCrypt(Crypt):
    def test_in_the_clear_rspamd_refuses(self):
        self.assertEqual(http(SEALED, "GET /ping"), (0, b""))
        self.assertEqual(http(SEALED, "POST /checkv2", "", message("plain")), (0, b""))
        self.use(endpoint(SEALED))
        self.unscanned("closed without a reply")

    def test_with_the_key_mail_flows(self):
        self.use(endpoint(SEALED) + f" --rspamd-key {KEYS['pubkey']}")
        self.scanned("sealed")
        self.scanned("large and sealed", message("large and sealed", LARGE))
        self.refused(message("[spam] sealed"), "554 5.7.1 Spam message rejected")
        self.refused(message("[later] sealed"), "451 4.7.1 Come back in ten minutes")

    def test_a_key_of_one_endpoint(self):
        self.use(endpoint(SEALED) + f",key={KEYS['pubkey']}")
        self.scanned("a key of its own")

    def test_a_wrong_key(self):
        self.use(endpoint(SEALED) + f" --rspamd-key {keypair()['pubkey']}")
        self.unscanned("closed without a reply, as with a wrong key")

    def test_probes_are_sealed(self):
        """The server is down when mail comes, and its answer to /ping is what brings it back."""
        nobody = "--rspamd http://192.0.2.1:1"
        self.use(f"{endpoint(SEALED)},priority=1 {nobody} --rspamd-key {KEYS['pubkey']}")
        self.stack.rspamd.stop()
        self.unscanned("Connection refused")
        self.stack.rspamd.start()
        self.stack.wait_log(rf"filter-mailbridge.* rspamd={SEALED[0]}:{SEALED[1]} state=up", self.since, 30)
        self.scanned("after the probe")


class Tls(Crypt):
    ca = f"--rspamd-ca {CERTIFICATES}/ca.pem"

    def test_the_right_authority(self):
        self.use(f"{endpoint(FRONT, 'https')} {self.ca}")
        self.scanned("over TLS")
        self.scanned("large over TLS", message("large over TLS", LARGE))
        self.refused(message("[spam] over TLS"), "554 5.7.1 Spam message rejected")

    def test_another_authority(self):
        self.use(f"{endpoint(FRONT, 'https')} --rspamd-ca {CERTIFICATES}/other.pem")
        self.unscanned("TLS: the server's certificate: .*issuer")

    def test_only_those_the_system_trusts(self):
        self.use(endpoint(FRONT, "https"))
        self.unscanned("TLS: the server's certificate: .*issuer")

    def test_another_name(self):
        self.use(f"{endpoint(FRONT, 'https')} {self.ca} --rspamd-name scan.example.org")
        self.unscanned("TLS: the server's certificate: .*mismatch")

    def test_the_name_given(self):
        self.use(f"{endpoint(FRONT, 'https')} {self.ca} --rspamd-name scan.internal")
        self.scanned("the name given")

    def test_our_own_certificate(self):
        def ours(name):
            return f"--rspamd-cert {CERTIFICATES}/{name}.pem --rspamd-cert-key {CERTIFICATES}/{name}.key"

        self.use(f"{endpoint(CERTIFIED, 'https')} {self.ca}")
        self.unscanned("TLS: .*certificate required")
        self.use(f"{endpoint(CERTIFIED, 'https')} {self.ca} {ours('expired')}")
        self.unscanned("TLS: .*certificate expired")
        self.use(f"{endpoint(CERTIFIED, 'https')} {self.ca} {ours('client')}")
        self.scanned("certified")

    def test_a_file_that_is_not_there(self):
        self.use(f"{endpoint(FRONT, 'https')} --rspamd-ca /run/nothing.pem")
        self.refused(message("no file"), "451 4.3.0 Mail scanning is out of order, try again later")
        self.stack.wait_log("/run/nothing.pem: No such file or directory", 0)

    def test_no_tls_at_the_other_end(self):
        self.use(endpoint(("127.0.0.1", 11333), "https"))
        self.unscanned("TLS: |closed")


class Zstd(Crypt):
    def flows(self, options, name):
        self.use(f"{options} --compress")
        self.scanned(f"{name}, small")
        self.scanned(f"{name}, large", message(f"{name}, large", LARGE))
        bytes_of_all_kinds = bytes(range(1, 10)) + bytes(range(11, 13)) + bytes(range(14, 256)) + b"\r\n"
        mail = message(f"{name}, all bytes", bytes_of_all_kinds * 20)
        self.accepted(mail)
        stored = self.stack.wait_mail("alice@example.org", f"Subject: {name}, all bytes\n".encode())
        self.assert_delivered(stored, mail)
        self.refused(message(f"[spam] {name}"), "554 5.7.1 Spam message rejected")

    def test_in_the_clear(self):
        self.flows(PLAIN, "compressed")

    def test_sealed(self):
        self.flows(f"{endpoint(SEALED)} --rspamd-key {KEYS['pubkey']}", "compressed and sealed")

    def test_over_tls(self):
        self.flows(f"{endpoint(FRONT, 'https')} {Tls.ca}", "compressed over TLS")


if __name__ == "__main__":
    enter()
    KEYS = keypair()
    worker = f"""bind_socket = "127.0.0.1:11333";
bind_socket = "{SEALED[0]}:{SEALED[1]}";
encrypted_only = true;
keypair {{ pubkey = "{KEYS['pubkey']}"; privkey = "{KEYS['privkey']}"; }}
"""
    main(conf="system-users", rspamd={"override.d/worker-normal.inc": worker})
