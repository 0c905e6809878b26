"""What tests write into documents, between two marks."""

import difflib
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/delivery.md"
END = "<!-- end of what is written -->\n"


class Written:
    def __init__(self, author):
        self.begin = f"<!-- written by tests/e2e/{author} --write -->\n"

    def write(self, text):
        before, _, rest = DOCUMENT.read_text().partition(self.begin)
        DOCUMENT.write_text(before + self.begin + text + END + rest.partition(END)[2])

    def differences(self, text):
        written = DOCUMENT.read_text().partition(self.begin)[2].partition(END)[0]
        return "\n".join(difflib.unified_diff(written.splitlines(), text.splitlines(), "docs/delivery.md", "now", n=0, lineterm=""))
