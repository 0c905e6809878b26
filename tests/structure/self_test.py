#!/usr/bin/env python3
"""Proves that the checks beside this file can fail: each fault is planted in a copy of the project and must be found.

usage: self_test.py PROJECT
"""
import pathlib
import shutil
import sys
import tempfile
import unittest

import defaults
import includes
import lengths
import words

PROJECT = pathlib.Path(sys.argv.pop())


class Planted(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.copy = pathlib.Path(directory.name) / "copy"
        for room in lengths.PLACES:
            shutil.copytree(PROJECT / room, self.copy / room, dirs_exist_ok=True)

    def plant(self, path, line):
        with open(self.copy / path, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def test_the_copy_is_clean(self):
        self.assertEqual(includes.check(self.copy), [])
        self.assertEqual(words.check(self.copy), [])
        self.assertEqual(defaults.check(self.copy), [])

    def test_includes(self):
        for path, line in [
            ("base/text.hpp", '#include "mail/headers.hpp"'),
            ("mail/headers.cpp", '#include "rspamd/verdict.hpp"'),
            ("mail/message.hpp", '#include "net/log.hpp"'),
            ("rspamd/exchange.cpp", '#include "policy/decision.hpp"'),
            ("session/engine.hpp", '#  include "net/connect.hpp"'),
            ("session/engine.cpp", '#include "filter/recorder.hpp"'),
            ("lmtp/outcome.cpp", '#include "recipients/mailbox.hpp"'),
            ("net/converse.hpp", '#include "rspamd/exchange.hpp"'),
            ("options/option_table.cpp", '#include "net/log.hpp"'),
            ("base/result.hpp", '#include "text.hpp"'),
            ("base/text.cpp", "#include <asio.hpp>"),
            ("policy/decision.cpp", "#include <asio/steady_timer.hpp>"),
            ("rspamd/verdict.cpp", "#include <spdlog/spdlog.h>"),
            ("mail/headers.cpp", "#include <rapidjson/document.h>"),
            ("mail/message.cpp", "#include <unistd.h>"),
            ("base/endpoint.cpp", "#include <sys/socket.h>"),
            ("session/engine.cpp", "#include <unistd.h>"),
            ("filter/app.cpp", "#include <linux/landlock.h>"),
            ("filter/main.cpp", "#include <sys/prctl.h>"),
            ("agent/main.cpp", "#include <nss.h>"),
            ("net/connect.cpp", "#include <sys/epoll.h>"),
            ("platform/spool.cpp", "#include <sys/syscall.h>"),
            ("mail/message.cpp", '#include "platform/system/plain.hpp"'),
            ("lmtp/client.hpp", '#include "wires/lmtp.hpp"'),
            ("wires/scanner.hpp", '#include "session/engine.hpp"'),
            ("filter/app.cpp", '#include "agent/agent.hpp"'),
            ("agent/agent.cpp", '#include "session/engine.hpp"'),
            ("session/engine.cpp", '#include "platform/platform.hpp"'),
            ("filter/app.cpp", '#include "platform/system/plain.hpp"'),
            ("platform/system/posix.cpp", '#include "net/connect.hpp"'),
            ("filter/app.cpp", "const int epoll = epoll_create1(0);"),
            ("agent/main.cpp", "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);"),
            ("smtpd/line.cpp", "#include <fstream>"),
            ("session/engine.cpp", "const auto now = Clock::now();"),
            ("policy/decision.cpp", 'const char* home = std::getenv("HOME");'),
            ("rspamd/exchange.cpp", "const auto now = time(nullptr);"),
        ]:
            with self.subTest(path=path, line=line):
                text = (self.copy / path).read_text()
                self.plant(path, line)
                self.assertEqual(len(includes.check(self.copy)), 1)
                (self.copy / path).write_text(text)

    def test_what_is_allowed(self):
        for path, line in [
            ("filter/app.cpp", '#include "rspamd/exchange.hpp"'),
            ("filter/main.cpp", "#include <unistd.h>"),
            ("platform/spool.cpp", "#include <stdlib.h>"),
            ("platform/spool.cpp", '#include "platform/platform.hpp"'),
            ("agent/scan.cpp", '#include "platform/random.hpp"'),
            ("net/connect.cpp", '#include "platform/platform.hpp"'),
            ("platform/system/linux.cpp", "#include <linux/seccomp.h>"),
            ("platform/system/linux.cpp", "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);"),
            ("net/log.cpp", "#include <spdlog/logger.h>"),
            ("net/log.cpp", "const auto now = Clock::now();"),
            ("session/engine.cpp", "// the driver asks Clock::now()"),
            ("session/engine.cpp", 'note("getenv(");'),
        ]:
            self.plant(path, line)
        self.assertEqual(includes.check(self.copy), [])

    def test_the_table_in_the_docs_is_another(self):
        page = (PROJECT / "docs" / "architecture.md").read_text()
        (self.copy / "docs").mkdir()
        (self.copy / "docs" / "architecture.md").write_text(page)
        self.assertEqual(includes.check(self.copy), [])
        (self.copy / "docs" / "architecture.md").write_text(page.replace("| `base` `mail` `rspamd` `lmtp` |", "| `base` `mail` `rspamd` |"))
        self.assertEqual(len(includes.check(self.copy)), 1)

    def test_headers_in_no_list(self):
        headers = {str(file.relative_to(self.copy)) for file in self.copy.rglob("*.hpp")}
        self.assertEqual(includes.check(self.copy, headers), [])
        self.assertEqual(len(includes.check(self.copy, headers - {"base/note.hpp"})), 1)

    def test_no_rooms(self):
        self.assertNotEqual(includes.check(self.copy / "base"), [])

    def test_defaults(self):
        for path, old, new in [
            ("session/settings.hpp", "Duration scan_timeout{};", "Duration scan_timeout = std::chrono::seconds(30);"),
            ("session/settings.hpp", "std::size_t max_unknown = 0;", "std::size_t max_unknown = 10;"),
            ("filter/settings.hpp", "net::LogTarget log_target{};", "net::LogTarget log_target{net::LogTarget::syslog};"),
            ("filter/options.cpp", "unsigned max_scans = 0, max_queue = 0;", "unsigned max_scans = 0, max_queue = 2048;"),
            ("agent/options.cpp", "with_text(shared::scan_timeout,", '{0, "scan-timeout", "SECONDS", one_value, "30",'),
            ("agent/agent.hpp", "constexpr", 'constexpr std::string_view default_endpoint = "/var/run/dovecot/lmtp";\nconstexpr'),
            ("recipients/delivery.hpp", "struct DeliverySettings", "struct Other"),
        ]:
            with self.subTest(path=path, new=new):
                text = (self.copy / path).read_text()
                self.assertIn(old, text)
                (self.copy / path).write_text(text.replace(old, new, 1))
                self.assertEqual(len(defaults.check(self.copy)), 1)
                (self.copy / path).write_text(text)

    def test_lengths(self):
        faults = len(lengths.check(self.copy))
        for path, begin, line, end in [
            ("bench/agents.cpp", "void run_all(int a) {", "  step(a);", "}"),
            ("fuzz/mark_fuzz.cpp", "struct World {\n  World() : a{1}, b(2) {", "    step('{', \"}\");  // {", "  }\n};"),
            ("base/size.cpp", "namespace x {\nauto f(int a) -> decltype(a) {", "  if (a > 0) { a = f(a); }", "}\n}"),
            ("bench/echo_filter.c", "static void f(\n    int a) {", "  a = a + 1;", "}"),
            ("bench/end_to_end.py", "def f():", "    step()", ""),
        ]:
            for lines, found in [(lengths.MOST - begin.count("\n") - 10, 0), (lengths.MOST, 1)]:
                with self.subTest(path=path, lines=lines):
                    text = (self.copy / path).read_text()
                    self.plant(path, "\n".join([begin, *[line] * lines, end]))
                    self.assertEqual(len(lengths.check(self.copy)), faults + found)
                    (self.copy / path).write_text(text)
        self.assertEqual(len(lengths.check(self.copy / "base")), 1, "nothing is there")

    def test_words(self):
        for word in words.MARKS + [str(self.copy), "see /somebody/desk/notes"]:
            with self.subTest(word=word):
                text = (self.copy / "base/note.hpp").read_text()
                self.plant("base/note.hpp", f"// {word}: later")
                self.assertEqual(len(words.check(self.copy, "/somebody/desk")), 1)
                (self.copy / "base/note.hpp").write_text(text)

    def test_words_that_stay(self):
        self.plant("base/note.hpp", "// /etc/somebody/desk/x, X" "XXL, mktemp XX" "XXXX")
        self.assertEqual(words.check(self.copy, "/somebody/desk"), [])


if __name__ == "__main__":
    unittest.main()
