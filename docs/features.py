#!/usr/bin/env python3
"""Holds the table of features.md against the tree: the files that it names exist, and each feature names one in the code and a proof.

usage: features.py FEATURES PROJECT
"""
import pathlib
import re
import sys

PATH = re.compile(r"`((?:[\w.*-]+/)+[\w.*-]*)`")
NOT_CODE = ("tests/", "fuzz/", "bench/", "docs/")


def check(text, project):
    """One line for each fault."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    faults = [] if len(rows) > 30 else ["there is no table"]
    for name, *cells in rows[1:]:
        if name.startswith("**") or any(cell.startswith("not done: ") for cell in cells):
            continue
        if len(cells) != 3:
            faults.append(f"{name}: {len(cells) + 1} columns")
            continue
        _, code, proof = cells
        if not PATH.search(code) or any(path.startswith(NOT_CODE) for path in PATH.findall(code)):
            faults.append(f"{name}: where in the code?")
        if not PATH.search(proof):
            faults.append(f"{name}: shown by what?")
        faults += [f"{name}: no {path}" for path in PATH.findall(code + proof) if not any(project.glob(path.rstrip("/")))]
    return faults


if __name__ == "__main__":
    found = check(pathlib.Path(sys.argv[1]).read_text(), pathlib.Path(sys.argv[2]))
    print("\n".join(found) or "every feature has its place and its proof")
    sys.exit(bool(found))
