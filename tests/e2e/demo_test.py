#!/usr/bin/python3
"""The demo when something is wrong: it says what in plain words, with the end of the log, and leaves nothing behind."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from smtp import message, submit
from stack import PROGRAMS, command_line, descendants, eventually

DEMO = Path(__file__).with_name("demo.py")


class DemoTest(unittest.TestCase):
    def setUp(self):
        self.place = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.place.chmod(0o755)

    def start(self, *arguments, before=(), programs=PROGRAMS):
        """PATH begins with the place of this test."""
        environment = {**os.environ, "PATH": f"{self.place}:{os.environ['PATH']}", "MAILBRIDGE_PROGRAMS": str(programs)}
        with open(self.place / "output", "w") as output:
            return subprocess.Popen([*before, sys.executable, "-B", DEMO, *arguments], env=environment, stdin=subprocess.DEVNULL,
                                    stdout=output, stderr=output, start_new_session=True)

    def output(self):
        return (self.place / "output").read_text(errors="replace")

    def end(self, process):
        status = process.wait(180)
        self.assertNotIn("Traceback", self.output())
        return status, self.output()

    def interrupt(self, process, text):
        """Ctrl-C, once this has been said."""
        eventually(lambda: re.search(text, self.output()), self.output, 60)
        os.killpg(process.pid, signal.SIGINT)

    def put(self, name, script):
        file = self.place / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        return file

    def test_a_server_does_not_start(self):
        self.put("dovecot", '[ "$1" = --version ] && exec /usr/sbin/dovecot --version; echo Fatal: no such luck; exit 89')
        status, output = self.end(self.start())
        self.assertEqual(status, 1)
        self.assertIn("The demo ends here: dovecot ended with status 89\nFatal: no such luck", output)

    def test_a_mail_is_missing(self):
        """As if --deliver were not there, and the agent failed."""
        real = shutil.copy(PROGRAMS / "filter-mailbridge", self.place / "filter")
        self.put("filter-mailbridge", f"exec {real} --rspamd unix:/run/rspamd/scan.sock")
        self.put("lda2lmtp", "exit 75")
        status, output = self.end(self.start(programs=self.place))
        self.assertEqual(status, 1)
        self.assertRegex(output, r"The demo ends here: INBOX of alice@example.org holds the mail 0 times instead of once\n"
                         r"The log ends\n(.*\n)*smtpd\[")

    def test_it_is_not_built(self):
        status, output = self.end(self.start(programs=self.place))
        self.assertEqual(status, 1)
        self.assertIn("filter-mailbridge is not built", output)

    def test_no_namespaces(self):
        status, output = self.end(self.start(before=["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]))
        self.assertEqual(status, 1)
        self.assertEqual(output, "This machine does not let root make namespaces (Operation not permitted). "
                         "A container needs --privileged for it.\n")

    def test_ctrl_c(self):
        process = self.start()
        self.interrupt(process, "all servers answer")
        status, output = self.end(process)
        self.assertEqual(status, 128 + signal.SIGINT)
        self.assertEqual(output.splitlines()[-1], "Stopped.")

    def test_keep(self):
        """The port is taken: another one. A client's mail is shown, Ctrl-C ends it."""
        taken = socket.socket()
        taken.bind(("127.0.0.1", 2525))
        taken.listen()
        self.addCleanup(taken.close)
        process = self.start("--keep")
        port = int(eventually(lambda: re.search(r"Port (\d+) of this machine", self.output()), self.output, 120)[1])
        self.assertNotEqual(port, 2525)
        reply = submit(("127.0.0.1", port), "sender@client.example.net", "alice@example.org", message("kept")).final
        self.assertEqual(reply.code, 250, reply)
        self.interrupt(process, r"It goes on running(.*\n)*filter-mailbridge.*result=")
        status, output = self.end(process)
        self.assertEqual(status, 0)
        self.assertIn("Stopped.", output)
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", port), 5).recv(1)

    def test_a_server_dies_later(self):
        process = self.start("--keep")
        first = int(eventually(lambda: re.search(r"kill (\d+)", self.output()), self.output, 120)[1])
        [rspamd] = [pid for pid in descendants(first) if b"main process" in command_line(pid)]
        os.kill(rspamd, signal.SIGKILL)
        status, output = self.end(process)
        self.assertEqual(status, 1)
        self.assertIn("The demo ends here: rspamd ended with status -9", output)


if __name__ == "__main__":
    unittest.main(verbosity=2)
