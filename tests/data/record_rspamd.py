#!/usr/bin/python3
"""record_rspamd.py [DIRECTORY]: records replies of the rspamd that is installed here, into tests/data/rspamd-VERSION: *.http as they crossed the wire, *.json their
bodies. What tests expect of them stands in tests/rspamd/recordings.hpp's users, and is to be looked at after a new recording."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from stack import CLIENT4, Stack, connect, enter, version  # noqa: E402

FOLDER = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).resolve().parent
RULES = r"""
local function rule(word, callback)
  rspamd_config:register_symbol({ name = 'T_' .. word:upper(), type = 'postfilter', score = 0.0, callback = function(task)
    if task:get_header('Subject') == word then callback(task) end
  end })
end
local function verdict(word, score, callback)
  rspamd_config['T_' .. word:upper()] = { score = score, group = 'test', callback = function(task)
    if task:get_header('Subject') ~= word then return false end
    if callback then return callback(task) end
    return true
  end }
end
rule('everything', function(task)
  task:set_milter_reply({
    add_headers = { ['X-A'] = { value = 'v1', order = 0 }, ['X-B'] = { { value = 'b1', order = 1 }, { value = 'b2', order = -1 } },
                    ['X-C'] = 'plain' },
    remove_headers = { ['X-Old'] = 0, ['X-Old2'] = { 1, -1 } },
    spam_header = 'maybe', change_from = 'new@example.org', add_rcpt = { 'r1@example.org' }, del_rcpt = { 'r0@example.org' },
    no_action = true, reject = 'discard',
  })
end)
verdict('rewrite', 8.5)
verdict('soft', 0.0, function(task)
  task:set_pre_result('soft reject', 'Try much later', 'test')
  return true, 'opt1', 'опция2'
end)
verdict('utf8', 0.0, function() return true, 'x\255y' end)
verdict('nan', 0.0, function(task)
  task:insert_result('T_NAN', 0 / 0, 'nan')
  task:set_milter_reply({ add_headers = { ['X-I'] = { value = 'v', order = 0 / 0 } } })
end)
verdict('huge', 1e30)
rule('body', function(task) task:set_message('Subject: new\r\n\r\nnew body\r\n') end)
"""
MILTER_HEADERS = """
extended_spam_headers = true;
skip_local = false;
skip_authenticated = false;
use = ["x-spamd-bar", "x-spam-level", "x-spam-status", "authentication-results", "spam-header"];
"""
HEADERS = (f"IP: {CLIENT4}\r\nHelo: mx.example.net\r\nHostname: client.example.net\r\nFrom: <a@example.com>\r\nRcpt: <b@example.org>\r\n"
           "Queue-Id: 0123abcd\r\n")


def mail(subject, body="Hello.\r\n"):
    return (f"Received: from mx.example.net (client.example.net [{CLIENT4}])\r\n\tby mail.example.org (OpenSMTPD) with ESMTP id 0123abcd;\r\n"
            "\tWed, 1 Jan 2025 12:00:00 +0000 (UTC)\r\nFrom: A <a@example.com>\r\nTo: b@example.org\r\n"
            f"Subject: {subject}\r\nDate: Wed, 1 Jan 2025 12:00:00 +0000\r\nMessage-ID: <x1@example.com>\r\n\r\n{body}").encode()


GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"
ROWS = {  # file: (what is sent, headers, request line)
    "gtube-reject.json": (mail("gtube", GTUBE), HEADERS),
    "no-action.json": (mail("plain"), HEADERS),
    "milter-everything.json": (mail("everything"), HEADERS),
    "rewrite-subject.json": (mail("rewrite"), HEADERS),
    "soft-reject.json": (mail("soft"), HEADERS),
    "null-sender.http": (mail("plain"), HEADERS.replace("<a@example.com>", "<>")),
    "unknown-settings-id.http": (mail("plain"), HEADERS + "Settings-ID: nobody-knows-it\r\n"),
    "empty-message.http": (b"", HEADERS),
    "invalid-utf8.http": (mail("utf8"), HEADERS),
    "not-finite.http": (mail("nan"), HEADERS),
    "huge-numbers.http": (mail("huge"), HEADERS),
    "rewritten-body.http": (mail("body"), HEADERS + "Flags: body_block\r\n"),
    "invalid-command.http": (mail("plain"), HEADERS, "POST /nonsense"),
    "decompression-error.http": (b"no zstd", HEADERS + "Compression: zstd\r\n"),
    "compressed.http": (mail("plain"), HEADERS + "Flags: zstd\r\n"),
}


def reply(address, body, headers, line="POST /checkv2"):
    with connect(address, 30) as peer:
        peer.sendall(f"{line} HTTP/1.1\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)
        return b"".join(iter(lambda: peer.recv(65536), b""))


enter()
stack = Stack(rspamd={"rspamd.local.lua": RULES, "local.d/milter_headers.conf": MILTER_HEADERS, "local.d/actions.conf": "rewrite_subject = 12;\n"})
stack.start()
try:
    folder = FOLDER / "rspamd-{}.{}".format(*version("rspamd", "--version"))
    folder.mkdir(exist_ok=True)
    for name, row in ROWS.items():
        recorded = reply(stack.where["rspamd"], *row)
        (folder / name).write_bytes(recorded if name.endswith(".http") else recorded.partition(b"\r\n\r\n")[2])
finally:
    stack.stop()
