"""--allow-rewritten-body with a rule of real rspamd that rewrites messages: what arrives is rspamd's body and header edits; what smtpd
could not take back is no verdict; and without the option nothing is touched."""

from smtp import message
from stack import ROOT, StackTest, header, main

OPTIONS = "--allow-rewritten-body"
# [rewrite WHAT] in the Subject: another body, the same header section.
RULE = r"""
local bodies = {
  html = '<p>rewritten</p>\n.\r\n\n..last line, without an end',
  empty = '',
  long = string.rep('x', 65486) .. '\r\n',
  nul = 'a\0b\r\n',
}
rspamd_config:register_symbol({
  name = 'TEST_REWRITE', type = 'postfilter', priority = 1,
  callback = function(task)
    local what = (task:get_header('Subject') or ''):match('%[rewrite (%a+)%]')
    if what then
      local content = tostring(task:get_content())
      local head = content:sub(1, select(2, content:find('\r\n\r\n', 1, true)))
      task:set_milter_reply({ remove_headers = { ['Content-Type'] = 0 }, add_headers = { ['Content-Type'] = 'text/html' } })
      task:set_message(head .. (bodies[what] or content:sub(#head + 1):gsub('Hello', 'Goodbye')))
    end
  end
})
"""


class RewrittenBodyTest(StackTest):
    def stored(self, subject, body=b"Hello,\r\n.dots and trailing blanks  \r\n\r\n"):
        self.accepted(message(subject, body))
        stored = self.stack.wait_mail("alice@example.org", subject.encode())
        return stored, stored.partition(b"\n\n")[2]

    def test_another_body(self):
        stored, body = self.stored("[rewrite html] one")
        self.assertEqual(body, b"<p>rewritten</p>\n.\n\n..last line, without an end\n")
        self.assertEqual(header(stored, b"Content-Type"), [b"text/html"])
        self.our_line('applied="rewritten body"')

    def test_the_body_edited(self):
        lines = b"Hello,\r\n.dots\r\n" + b"a line of 30 bytes, CR and LF\r\n" * 10000
        _, body = self.stored("[rewrite greeting] two", lines)
        self.assertEqual(body, lines.replace(b"Hello", b"Goodbye").replace(b"\r\n", b"\n"))

    def test_no_body_left(self):
        _, body = self.stored("[rewrite empty] three")
        self.assertEqual(body, b"")

    def test_what_smtpd_could_not_take_back(self):
        for what, why in {"long": "a line of the rewritten body is too long", "nul": "a NUL in the rewritten body"}.items():
            with self.subTest(what):
                self.refused(message(f"[rewrite {what}] four"), "451 4.3.0 Message could not be scanned, try again later")
                self.our_line(f'error=unreadable reason="{why}"')

    def test_without_the_option(self):
        self.stack.set_smtpd_conf()
        self.stack.restart_smtpd()
        self.addCleanup(lambda: (self.stack.set_smtpd_conf(filter_options=OPTIONS), self.stack.restart_smtpd()))
        _, body = self.stored("[rewrite html] five")
        self.assertEqual(body, b"Hello,\n.dots and trailing blanks  \n\n")
        self.our_line('not_applied="rewritten body"')


if __name__ == "__main__":
    main(filter_options=OPTIONS, rspamd={"rspamd.local.lua": (ROOT / "tests/e2e/rspamd/rules.lua").read_text() + RULE})
