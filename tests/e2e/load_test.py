"""Many sessions at once."""

import asyncio
import collections
import re
import resource
import threading

from smtp import message, wire
from stack import CLIENT4, StackTest, eventually, header, main

SESSIONS = 50
CROWD = 2000
AT_ONCE = 5  # connects: smtpd's backlog


class Client:
    """One of a crowd too large for threads."""

    @classmethod
    async def connect(cls, address, gate):
        self = cls()
        async with gate:
            self.reader, self.writer = await asyncio.open_connection(*address, local_addr=(CLIENT4, 0))
            self.banner = await self.reply()
            await self.command("EHLO client.example.net")
        return self

    async def reply(self):
        while (line := (await asyncio.wait_for(self.reader.readline(), 240)).decode())[3:4] == "-":
            pass
        return line.strip()

    async def command(self, line):
        self.writer.write(line.encode() + b"\r\n")
        return await self.reply()


USERS = ["alice@example.org", "bob@example.org", "alice@example.net"]


async def send_but_the_dot(client, number, subject, lines):
    to = USERS[number % len(USERS)]
    for command in (f"MAIL FROM:<sender{number}@client.example.net>", f"RCPT TO:<{to}>", "DATA"):
        reply = await client.command(command)
        assert reply[:3] in ("250", "354"), reply
    client.writer.write(wire(message(subject, b"line\r\n" * lines, to=to)))
    await client.writer.drain()


async def crowd(address, subjects, lines):
    """A session for each subject: all are connected before any sends, and all mails but their dots are there before any ends. The
    replies to the dots."""
    gate = asyncio.Semaphore(AT_ONCE)
    clients = await asyncio.gather(*(Client.connect(address, gate) for _ in subjects))
    await asyncio.gather(*(send_but_the_dot(client, number, subjects[number], lines(number)) for number, client in enumerate(clients)))
    replies = await asyncio.gather(*(client.command(".") for client in clients))
    for client in clients:
        client.writer.close()
    return replies


class LoadTest(StackTest):
    def each_is_logged(self, number):
        """A line for each session, a moment later when /dev/log is slow."""
        def sessions():
            return len({line.partition("session=")[2].split()[0] for line in self.stack.log_since(self.since, "filter-mailbridge.*result=")})

        eventually(lambda: sessions() == number, lambda: f"{sessions()} sessions are logged, not {number}")

    def test_fifty_sessions_at_once(self):
        """All connected before any sends; verdicts of all kinds; each mail arrives once, and where it belongs."""
        kinds = ["", "[junk]", "[spam]", "[later]", ""]
        expected = {"": 250, "[junk]": 250, "[spam]": 554, "[later]": 451}
        together = threading.Barrier(SESSIONS)
        results = {}

        def client(number):
            kind = kinds[number % len(kinds)]
            with self.stack.session() as session:
                together.wait(60)
                session.envelope(f"sender{number}@client.example.net", ["alice@example.org"])
                session.content(message(f"{kind} crowd {number}.", b"line\r\n" * (number * 50)))
                together.wait(60)
                results[number] = (session.dot().code, expected[kind])

        threads = [threading.Thread(target=client, args=(number,)) for number in range(SESSIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        self.assertEqual(len(results), SESSIONS)
        self.assertEqual([number for number, (code, wanted) in results.items() if code != wanted], [])

        def arrived(folder, kind):
            return [mail for mail in self.stack.mailbox("alice@example.org", folder) if b" crowd " in mail and kind in mail]

        eventually(lambda: len(arrived("INBOX", b"")) == 2 * SESSIONS // 5 and len(arrived("Junk", b"[junk]")) == SESSIONS // 5,
                   "every accepted mail is in its mailbox", 60)
        self.stack.wait_queue_empty(60)
        for number in range(SESSIONS):
            kind = kinds[number % len(kinds)]
            if expected[kind] == 250:
                stored = self.stack.wait_mail("alice@example.org", f" crowd {number}.\n".encode(), "Junk" if kind else "INBOX")
                self.assertEqual(stored.count(b"\nline"), number * 50)
        self.each_is_logged(SESSIONS)

    def test_two_thousand_sessions_at_once(self):
        """All connected before any sends, all mails but their dots there before any ends. Each is delivered once or refused as its
        verdict says; nothing is lost."""
        kinds = ["", "[junk]", "[spam]", "[later]", ""]
        wanted = {"": "250", "[junk]": "250", "[spam]": "554 5.7.1", "[later]": "451 4.7.1"}
        subjects = [f"{kinds[number % len(kinds)]} throng {number}." for number in range(CROWD)]
        replies = asyncio.run(crowd(self.stack.smtp_address, subjects, lambda number: number % 100))
        wrong = collections.Counter(reply for number, reply in enumerate(replies)
                                    if not reply.startswith(wanted[kinds[number % len(kinds)]]))
        self.assertEqual(wrong, {})

        def arrived():
            """The folder and the subject's number of each mail of the crowd."""
            return collections.Counter(
                (user, folder, int(re.search(rb"throng (\d+)", header(mail, b"Subject")[0])[1]))
                for user in USERS for folder in ("INBOX", "Junk")
                for mail in self.stack.mailbox(user, folder) if b" throng " in mail)

        self.stack.wait_queue_empty(200)
        self.assertEqual(arrived(), {(USERS[number % len(USERS)], "Junk" if kinds[number % len(kinds)] else "INBOX", number): 1
                                     for number in range(CROWD) if wanted[kinds[number % len(kinds)]] == "250"})
        self.each_is_logged(CROWD)

    def test_two_hundred_sessions_and_64_descriptors(self):
        """Whatever is to be done when rspamd cannot be reached: it can, and no mail passes unscanned."""
        self.stack.set_smtpd_conf(
            lambda text: text.replace('proc-exec "', 'proc-exec "/usr/bin/prlimit --nofile=64:64 /usr/libexec/opensmtpd/'),
            OPTIONS + " --on-error accept --on-overload tempfail")
        self.addCleanup(self.stack.restart_smtpd)
        self.addCleanup(self.stack.set_smtpd_conf, filter_options=OPTIONS)
        self.stack.restart_smtpd()
        self.stack.wait_log(r"--max-scans is \d+ instead of 256: no more than 64 descriptors", self.since)
        kinds = ["[junk]", "[spam]"]
        subjects = [f"{kinds[number % len(kinds)]} few {number}." for number in range(200)]
        replies = asyncio.run(crowd(self.stack.smtp_address, subjects, lambda number: number))
        self.assertEqual(collections.Counter(reply[:3] for reply in replies), {"250": 100, "554": 100})
        self.stack.wait_queue_empty(60)
        mails = [mail for user in USERS for mail in self.stack.mailbox(user, "Junk") if b" few " in mail]
        self.assertEqual(len(mails), 100)
        self.assertEqual([mail for mail in mails if b"X-Spam-Error" in mail], [])


# How long a verdict takes is the machine's affair here.
OPTIONS = "--scan-timeout 240"

if __name__ == "__main__":
    # On both sides.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    main(filter_options=OPTIONS)
