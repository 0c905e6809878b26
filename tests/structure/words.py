#!/usr/bin/env python3
"""Looks for words that have no place in the project: marks of unfinished work, and paths of the machine it is written on.

usage: words.py PROJECT
"""
import pathlib
import re
import subprocess
import sys

MARKS = ["TO" "DO", "FIX" "ME", "X" "XX"]  # in two pieces, or this file would be the first to be found
COMMON = {"/", "/build", "/builds", "/home", "/mnt", "/opt", "/root", "/srv", "/tmp", "/usr/local/src", "/usr/src", "/var/tmp"}


def tracked(project):
    """What git knows; without git, everything but what is hidden or built."""
    try:
        git = subprocess.run(["git", "-C", project, "ls-files", "-z"], capture_output=True, text=True, check=False)
        names = git.stdout.split("\0")[:-1] if git.returncode == 0 else []
    except FileNotFoundError:
        names = []
    if names:
        return [project / name for name in names if (project / name).is_file()]
    return [file for file in project.rglob("*") if file.is_file() and not re.match(r"\.git(/|$)|build", str(file.relative_to(project)))]


def check(project, home=None):
    """One line for each fault. `home` is the directory the project lies in."""
    home = str(home or project.resolve().parent)
    words = [rf"\b{mark}\b" for mark in MARKS] + [re.escape(str(project.resolve())) + r"\b"]
    if home not in COMMON:
        words.append(rf"(?<![\w.]){re.escape(home)}/")
    pattern = re.compile("|".join(words))
    faults = []
    for file in tracked(project):
        content = file.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
            if found := pattern.search(line):
                faults.append(f"{file.relative_to(project)}:{number}: {found.group()}")
    return faults


if __name__ == "__main__":
    found_words = check(pathlib.Path(sys.argv[1]))
    print("\n".join(found_words) or "nothing found")
    sys.exit(bool(found_words))
