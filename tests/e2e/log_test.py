"""A log that nobody reads, or that is away, stops no mail; what was to be said is said when it is back.

smtpd and Dovecot would wait for /dev/log, so here they have logs of their own.
"""

from smtp import message
from stack import StackTest, eventually, main

MAILS = 40  # the kernel keeps ten lines for who reads /dev/log


class LogTest(StackTest):
    def send_series(self, subject):
        for number in range(MAILS):
            self.accepted(message(f"{subject} {number}."))

    def arrived(self, subject):
        return sum(f"Subject: {subject} ".encode() in mail for mail in self.stack.mailbox("alice@example.org"))

    def lines(self, program):
        return self.stack.log_since(self.since, rf"^{program}\[\d+\]: .*\b(result=committed|outcome=delivered)\b")

    def all_said(self):
        eventually(lambda: len(self.lines("filter-mailbridge")) == MAILS,
                   lambda: f"{len(self.lines('filter-mailbridge'))} lines of the filter, not {MAILS}")
        self.assertEqual(self.stack.log_since(self.since, "lines were lost"), [])

    def test_nobody_reads_it(self):
        with self.stack.syslog.stuck():
            self.send_series("unread")
            self.stack.wait_queue_empty(60)
            self.assertEqual(self.arrived("unread"), MAILS)
        self.all_said()

    def test_it_is_away_and_comes_back(self):
        with self.stack.syslog.away():
            self.send_series("away")
            self.stack.wait_queue_empty(60)
            self.assertEqual(self.arrived("away"), MAILS)
        self.all_said()
        self.accepted(message("back again."))
        self.stack.wait_mail("alice@example.org", b"Subject: back again.\n")
        self.stack.wait_log(r"^lda2lmtp\[\d+\]: .*outcome=delivered", self.since)


def prepare(stack):
    stack.smtpd.command = ["smtpd", "-d"]


if __name__ == "__main__":
    main(dovecot="log_path = /run/dovecot.log\n", prepare=prepare)
