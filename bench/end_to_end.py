#!/usr/bin/python3
"""Mails per second from SMTP clients into mailboxes, through real smtpd, rspamd and Dovecot, for each way there in rounds that take turns.

    end_to_end.py [ROUNDS [MAILS]]        5 rounds of 240 mails when left out

Eight clients, each with one connection, send 2 kB mails one after the other, to three users in turn. A mail counts when it is in the
mailbox: the rate is that of all mails of a round, from the first connection to the last mail's file; the second rate is until smtpd's
queue is empty as well. Prints both, and what a mail costs in CPU, by whose it is. Wants root, as tests/e2e does; the programs are those of MAILBRIDGE_PROGRAMS.
"""

import collections
import contextlib
import os
import secrets
import shutil
import statistics
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/e2e"))
from smtp import Session, message  # noqa: E402
from stack import CLIENT4, ROOT, Stack, descendants, enter, eventually  # noqa: E402

CLIENTS = 8
USERS = ["alice", "bob", "carol"]
BODY = b"".join(b"Line %02d of a mail of the size that most mail without attachments has.\r\n" % number for number in range(21))
SCRIPT = "/run/lda2lmtp.py"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Way:
    name: str
    action: str  # of smtpd.conf
    filter: str = ""  # its command; empty: none
    wrapper: str = ""
    part: float = 1  # of a round's mails


OURS = "filter-mailbridge --rspamd http://127.0.0.1:11333"
AGENT = "exec /usr/libexec/opensmtpd/lda2lmtp -r %{user.username}"
WRAPPED = 'mda "lda2lmtp" wrapper "lda2lmtp"'
KEY = "/run/mark.key"
CHAIN, PEER, QUEUED, SESSION = WAYS = [
    # Single quotes: smtpd takes no double quotes inside.
    Way("rspamc and a Python script", "mda \"exec rspamc -h 127.0.0.1:11333 --mime "
        f"-e '/usr/bin/python3 {SCRIPT} -s %{{sender}} -r %{{user.username}}'\"", part=1 / 3),
    Way("filter-rspamd, mail.lmtp", 'lmtp "/run/dovecot/lmtp"', "filter-rspamd -url http://127.0.0.1:11333"),
    Way("filter-mailbridge, lda2lmtp", WRAPPED, OURS, AGENT),
    Way("filter-mailbridge --deliver", WRAPPED, f"{OURS} --verify example.org --deliver --lmtp /run/dovecot/lmtp --mark-key {KEY}",
        f"{AGENT} --mark-key {KEY}"),
]
COSTS = {"agents": "agents, and the shells around them", "filter": "filter", "smtpd": "smtpd", "rspamd": "rspamd", "dovecot": "Dovecot"}
GOALS = [(QUEUED, PEER, 1), (SESSION, PEER, 1.3), (SESSION, CHAIN, 6)]


def smtpd_conf(way):
    scanned = ' filter "scan"' if way.filter else ""
    return (f'filter "scan" proc-exec "{way.filter}"\n' if way.filter else "") + (
        f'mda wrapper "lda2lmtp" "{way.wrapper}"\n' if way.wrapper else "") + (
        f'listen on 192.0.2.1{scanned}\naction "deliver" {way.action}\nmatch from any for domain "example.org" action "deliver"\n')


def client(address, number, mails, failures):
    try:
        with Session(address, source=CLIENT4) as session:
            for mail in range(mails):
                to = f"{USERS[(number + mail) % len(USERS)]}@example.org"
                recipients, data = session.envelope("sender@client.example.net", [to])
                if not data or data.code != 354:
                    raise RuntimeError(data or recipients[0])
                session.content(message(f"mail {mail} of client {number}", BODY, to=to))
                if (reply := session.dot()).code != 250:
                    raise RuntimeError(reply)
    except Exception as error:
        failures.append(error)


def cpu(server):
    """{whose: milliseconds so far} of a server and all below it. Agents have ended: they are in the times of smtpd's children."""
    spent = collections.Counter()
    for pid in descendants(server.process.pid):
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/cmdline").read_text()
            user, system, ended_user, ended_system = (
                int(field) * 1000 / TICKS for field in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15])
            whose = "filter" if name.startswith("/usr/libexec/opensmtpd/filter-") else server.name
            spent[whose] += user + system
            spent["agents" if server.name == "smtpd" else server.name] += ended_user + ended_system
    return spent


def rate(stack, way, mails):
    stack.set_smtpd_conf(lambda _: smtpd_conf(way))
    stack.smtpd.start()
    boxes = [stack.maildir(user) / "new" for user in USERS]
    queue = Path("/var/spool/smtpd/queue")

    def crowd(each):
        failures = []
        for box in boxes:
            shutil.rmtree(box.parent, ignore_errors=True)
        threads = [threading.Thread(target=client, args=(stack.smtp_address, number, each, failures)) for number in range(CLIENTS)]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise SystemExit(f"{way.name}: {failures[0]}")

        def arrived():
            return sum(sum(1 for _ in box.iterdir()) for box in boxes if box.is_dir())

        eventually(lambda: arrived() == CLIENTS * each, lambda: f"{arrived()} of {CLIENTS * each} arrive: {stack.queue()}", 120)
        delivered = time.monotonic()
        eventually(lambda: not any(queue.glob("*/*")), lambda: f"the queue holds {stack.queue()}", 120)
        return CLIENTS * each / (delivered - begun), CLIENTS * each / (time.monotonic() - begun)

    crowd(3)
    servers = (stack.smtpd, stack.rspamd, stack.dovecot)
    before = sum(map(cpu, servers), collections.Counter())
    each = round(mails * way.part / CLIENTS)
    rates = crowd(each)
    spent = sum(map(cpu, servers), collections.Counter()) - before
    stack.smtpd.stop()
    return *rates, {whose: spent[whose] / (CLIENTS * each) for whose in COSTS}


def main():
    rounds, mails = (int(word) for word in (sys.argv[1:] + ["5", "240"][len(sys.argv) - 1:]))
    enter()
    # The filter gives Dovecot whole addresses.
    stack = Stack("system-users", dovecot="auth_username_format = %Ln\n", progress=lambda text: print(text, file=sys.stderr)).start()
    stack.smtpd.stop()
    shutil.copy(ROOT / "bench/lda2lmtp.py", SCRIPT)
    Path(KEY).write_text(secrets.token_hex(32))
    rates = {way.name: [] for way in WAYS}
    for turn in range(rounds):
        for way in WAYS if turn % 2 == 0 else WAYS[::-1]:
            rates[way.name].append(rate(stack, way, mails))
            print(f"{way.name}, round {turn + 1}: {rates[way.name][-1][0]:.0f} mails per second", file=sys.stderr)
    stack.stop()

    def times(way, other):
        return statistics.median(ours[0] / theirs[0] for ours, theirs in zip(rates[way.name], rates[other.name]))

    print(f"| 2 kB mails per second, {CLIENTS} connections | in the mailbox | times the chain | times the peer | target "
          "| and out of the queue |")
    print("|---|--:|--:|--:|---|--:|")
    for way in WAYS:
        goals = [f"≥ {goal} × {'the peer' if other is PEER else 'the chain'}: {'met' if times(way, other) >= goal else 'missed'}"
                 for ours, other, goal in GOALS if ours is way]
        delivered, done = (statistics.median(results) for results in list(zip(*rates[way.name]))[:2])
        print(f"| {way.name} | {delivered:.0f} | {times(way, CHAIN):.2f} | {times(way, PEER):.2f} | {'; '.join(goals)} | {done:.0f} |")
    print(f"\n| CPU per mail, in ms | {' | '.join(way.name for way in WAYS)} |\n|---|{'--:|' * len(WAYS)}")
    for whose, name in COSTS.items():
        print(f"| {name} | {' | '.join(f'{statistics.median(cost[whose] for _, _, cost in rates[way.name]):.1f}' for way in WAYS)} |")


if __name__ == "__main__":
    main()
