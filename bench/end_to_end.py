#!/usr/bin/python3
"""Mails per second through real smtpd and rspamd: filter-mailbridge and Debian's filter-rspamd in rounds that take turns.

    end_to_end.py [ROUNDS [MAILS]]        5 rounds of 240 mails when left out

Eight clients, each with one connection, send 2 kB mails one after the other; an accepted mail goes to true(1). Prints one row of a
table. Wants root, as tests/e2e does; the programs are those of MAILBRIDGE_PROGRAMS.
"""

import statistics
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/e2e"))
from smtp import Session, message  # noqa: E402
from stack import CLIENT4, Stack, enter  # noqa: E402

CLIENTS = 8
FILTERS = {
    "filter-mailbridge": "filter-mailbridge --rspamd http://127.0.0.1:11333",
    "filter-rspamd": "filter-rspamd -url http://127.0.0.1:11333",
}
CONF = """filter "scan" proc-exec "{command}"
listen on 192.0.2.1 filter "scan"
action "away" mda "exec true" user nobody
match from any for any action "away"
"""
BODY = b"".join(b"Line %02d of a mail of the size that most mail without attachments has.\r\n" % number for number in range(21))


def client(address, number, mails, failures):
    try:
        with Session(address, source=CLIENT4) as session:
            for mail in range(mails):
                recipients, data = session.envelope("sender@client.example.net", ["alice@example.org"])
                if not data or data.code != 354:
                    raise RuntimeError(data or recipients[0])
                session.content(message(f"mail {mail} of client {number}", BODY))
                if (reply := session.dot()).code != 250:
                    raise RuntimeError(reply)
    except Exception as error:
        failures.append(error)


def rate(stack, command, mails):
    stack.set_smtpd_conf(lambda _: CONF.format(command=command))
    stack.smtpd.start()
    failures = []

    def crowd(each):
        threads = [threading.Thread(target=client, args=(stack.smtp_address, number, each, failures)) for number in range(CLIENTS)]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise SystemExit(f"{command}: {failures[0]}")
        return CLIENTS * each / (time.monotonic() - begun)

    crowd(3)
    result = crowd(mails // CLIENTS)
    stack.wait_queue_empty(120)
    stack.smtpd.stop()
    return result


def main():
    rounds, mails = (int(word) for word in (sys.argv[1:] + ["5", "240"][len(sys.argv) - 1:]))
    enter()
    stack = Stack("system-users", progress=lambda text: print(text, file=sys.stderr)).start()
    stack.smtpd.stop()
    rates = {name: [] for name in FILTERS}
    for turn in range(rounds):
        for name in sorted(FILTERS, reverse=turn % 2 == 1):
            rates[name].append(rate(stack, FILTERS[name], mails))
            print(f"{name}, round {turn + 1}: {rates[name][-1]:.0f} mails per second", file=sys.stderr)
    stack.stop()
    ratio = statistics.median(ours / theirs for ours, theirs in zip(*rates.values()))
    ours, theirs = (f"{statistics.median(values):.0f}" for values in rates.values())
    print(f"| 2 kB mails per second through smtpd and rspamd, {CLIENTS} connections | | {ours} | {theirs} | {ratio:.3f} "
          f"| ≥ the peer: {'met' if ratio >= 1 else 'missed'} |")


if __name__ == "__main__":
    main()
