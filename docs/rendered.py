#!/usr/bin/python3
"""rendered.py PAGE…: a manual page as mandoc, groff and man(1) show it. No warnings, and each row of a table is a line of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

READERS = {"mandoc": ["mandoc", "-Tutf8"], "groff": ["groff", "-mdoc", "-Tutf8", "-ww", "-P-cbou"], "man": ["man", "--warnings", "-l"]}


def rows(page):
    """Of all tables: the words of each row."""
    for table in re.findall(r"^\.Bl -column.*\n((?:.*\n)*?)\.El$", page, re.MULTILINE):
        for row in re.findall(r"^\.It (.*)$", table, re.MULTILINE):
            yield re.sub(r"\b(?:Ta|Em|Cm|Sy)\b|\bFl (?=-)", lambda word: "-" * word[0].startswith("Fl"), row).replace('"', "").split()


def faults(reader, page):
    done = subprocess.run([*READERS[reader], page], capture_output=True, text=True, env={**os.environ, "MANWIDTH": "80"})
    lines = [re.sub(".\b", "", line).split() for line in done.stdout.splitlines()]
    yield from done.stderr.splitlines()
    yield from (f"no line is: {' '.join(row)}" for row in rows(page.read_text()) if row not in lines)


found = [f"{page}: {reader}: {fault}" for page in map(Path, sys.argv[1:]) for reader in READERS
         if reader != "man" or shutil.which(reader) for fault in faults(reader, page)]
print("\n".join(found) or "nothing found")
sys.exit(bool(found))
