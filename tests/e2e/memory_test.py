"""A filter with little memory: large mail goes through files, and a full disk is a matter of one mail."""

import os
from pathlib import Path

from smtp import message
from stack import StackTest, main, run, running

SPOOL = "/run/mailbridge-spool"
MEMORY = 1 << 20
NO_STORAGE = "451 4.3.1 Not enough storage for the message, try again later"


def large(subject, size):
    line = b"0123456789abcdef" * 60 + b"\r\n"
    mail = message(subject, line * (size // len(line)))
    return mail.replace(b"text/plain; charset=utf-8", b"application/octet-stream")


def spool(stack):
    os.mkdir(SPOOL)
    run("mount", "-t", "tmpfs", "-o", "mode=1777,size=64M", "tmpfs", SPOOL)


class MemoryTest(StackTest):
    def tearDown(self):
        super().tearDown()
        self.assertEqual(os.listdir(SPOOL), [], "files there have no name")
        used = os.statvfs(SPOOL)
        self.assertEqual(used.f_blocks, used.f_bfree, "and are gone with their message")

    def filter_peak(self):
        """The most memory it ever had, in bytes."""
        (pid,) = running(self.stack.smtpd.process.pid, "filter-mailbridge")
        (line,) = [line for line in Path("/proc", str(pid), "status").read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) << 10

    def test_40_megabytes_arrive_byte_for_byte(self):
        mail = large("a large mail", 40 << 20)
        self.accepted(mail)
        stored = self.stack.wait_mail("alice@example.org", b"Subject: a large mail\n", seconds=60)
        self.assertTrue(stored.partition(b"\n\n")[2] == mail.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n"))
        self.our_line('action=.* scan_ms=.* answer=proceed')
        self.assertLess(self.filter_peak(), 16 << 20)

    def test_a_full_disk_defers_one_mail_alone(self):
        run("mount", "-o", "remount,size=1M", SPOOL)
        try:
            with self.stack.session() as session:
                session.envelope("sender@client.example.net", ["alice@example.org"])
                session.content(large("too large for this disk", 5 << 20))
                self.accepted(message("small, on a full disk"))
                self.assertEqual(session.dot().text, NO_STORAGE)
            self.stack.wait_mail("alice@example.org", b"Subject: small, on a full disk\n")
            self.our_line(f"{SPOOL}: No space left on device")
            self.our_line(f'answer="{NO_STORAGE}"')
        finally:
            run("mount", "-o", "remount,size=64M", SPOOL)
        self.accepted(large("when there is room again", 5 << 20))
        self.stack.wait_mail("alice@example.org", b"Subject: when there is room again\n")


if __name__ == "__main__":
    main(filter_options=f"--memory {MEMORY} --spool {SPOOL} --max-size 48M --scan-timeout 120", prepare=spool,
         smtpd_conf=lambda text: 'smtp max-message-size "64M"\n' + text)
