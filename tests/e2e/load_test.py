"""Many sessions at once."""

import threading

from smtp import message
from stack import StackTest, eventually, main

SESSIONS = 50


class LoadTest(StackTest):
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
        lines = self.stack.log_since(self.since, "filter-mailbridge.*result=")
        self.assertEqual(len({line.partition("session=")[2].split()[0] for line in lines}), SESSIONS)


if __name__ == "__main__":
    main()
