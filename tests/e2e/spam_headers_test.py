"""--spam-headers rspamc and filter-rspamd beside the programs they are named after: the same mail gives the same fields, byte for
byte, save what names the program and its time."""

import re

from smtp import message
from stack import CLIENT4, ROOT, SERVER4, StackTest, main, run

OURS, RSPAMC, PEER = (SERVER4, 25), (SERVER4, 2501), (SERVER4, 2502)
# Scores of some length, and enough symbols for several lines.
RULES = "\n".join(f"rspamd_config.TEST_{'LONG_' * (n % 4)}{n} = {{ score = {n} / 7 - 0.9, callback = function() return true end }}"
                  for n in range(12))
SUBJECTS = {"no action": "a plain mail", "add header": "[junk]", "rewrite subject": "[subject]", "hold": "[hold]"}


def fields(mail):
    """The X-Spam fields with their folds, in order. An empty value has a trailing blank or not."""
    head = mail.replace(b"\r\n", b"\n").partition(b"\n\n")[0] + b"\n"
    return [re.sub(rb" +\n", b"\n", field) for field in re.findall(rb"^X-Spam[^:]*:.*\n(?:[ \t].*\n)*", head, re.M)]


class SpamHeadersTest(StackTest):
    def stored(self, subject, address, folder):
        """As Dovecot has it, the mail of a stranger; junk.sieve sorts by X-Spam."""
        mail = message(subject)
        unique = re.search(rb"Message-ID: (\S+)", mail)[0]
        self.accepted(mail, to="alice@example.org", address=address)
        return self.stack.wait_mail("alice@example.org", unique, folder)

    def test_rspamc(self):
        for action, subject in SUBJECTS.items():
            with self.subTest(action):
                spam = action in ("add header", "rewrite subject")
                stored = self.stored(subject, RSPAMC, "Junk" if spam else "INBOX")
                ours = fields(stored)
                # What rspamd saw: from smtpd's own Received on, without our fields.
                head, _, body = stored[stored.index(b"Received: from client.example.net"):].partition(b"\n\n")
                seen = re.sub(rb"\nX-Spam.*(?:\n[ \t].*)*", b"", head) + b"\n\n" + body
                output = run("rspamc", "-h", "127.0.0.1:11333", "--mime", "-i", CLIENT4, "--helo", "client.example.net",
                             "--hostname", "client.example.net", "-F", "sender@client.example.net", "-r", "alice@example.org",
                             input=seen.replace(b"\n", b"\r\n"))
                theirs = fields(output.encode())
                names = [b"X-Spam-Scanner:", b"X-Spam-Scan-Time:"]
                for program in (ours, theirs):
                    self.assertEqual([field.split()[0] for field in program[:2]], names)
                self.assertEqual(ours[2:], theirs[2:])
                self.assertEqual(b"X-Spam: yes\n" in ours, spam)

    def test_filter_rspamd(self):
        for action, subject in SUBJECTS.items():
            with self.subTest(action):
                folder = "Junk" if action == "add header" else "INBOX"
                ours, theirs = (fields(self.stored(subject, address, folder)) for address in (OURS, PEER))
                self.assertEqual(ours, theirs)
                self.assertEqual(len(ours), 3 if action == "add header" else 0)


def smtpd_conf(text):
    more = f'''
filter "rspamc-set" proc-exec "filter-mailbridge --rspamd http://127.0.0.1:11333 --spam-headers rspamc"
filter "peer" proc-exec "filter-rspamd -url http://127.0.0.1:11333"
listen on {RSPAMC[0]} port {RSPAMC[1]} filter "rspamc-set"
listen on {PEER[0]} port {PEER[1]} filter "peer"
'''
    return text.replace("\nlisten on socket", more + "listen on socket", 1)


if __name__ == "__main__":
    main(conf="system-users", smtpd_conf=smtpd_conf, filter_options="--spam-headers filter-rspamd",
         rspamd={"local.d/milter_headers.conf": "use = [];\n",
                 "rspamd.local.lua": (ROOT / "tests/e2e/rspamd/rules.lua").read_text() + RULES})
