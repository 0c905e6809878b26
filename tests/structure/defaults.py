#!/usr/bin/env python3
"""Finds defaults of options that stand twice. Each stands in its row of a program's table, and nowhere else.

usage: defaults.py PROJECT
"""
import pathlib
import re
import sys

import includes

TABLES = ("filter/options.cpp", "agent/options.cpp")
SHARED = "options/shared_rows.hpp"
# The structs that options are read into, and their members that no option sets: those may have a value of their own.
STRUCTS = {
    "Addressing": "", "Budget": "max_files", "DeliverySettings": "", "LmtpSettings": "", "OnFailure": "", "Policies": "", "Policy": "",
    "PoolLimits": "idle age uses", "RecipientPolicy": "", "Request": "", "ScanSettings": "", "Settings": "max_files", "Values": "",
    "VerifierSettings": "",
}

STRING = r'"((?:[^"\\]|\\.)*)"'
ROW = re.compile(rf"\{{(?:0|'.'),\s*{STRING},\s*(?:{STRING}|[\w.:]+),\s*[\w:]+,\s*{STRING}")  # letter, name, type, takes, default
GIVEN = re.compile(rf"with_default\(shared::(\w+),\s*{STRING}")
COMMENT = re.compile(r'("(?:[^"\\\n]|\\.)*")|//[^\n]*')  # or a string, which stays
STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\}", re.M | re.S)
MEMBER = re.compile(r"\b(\w+)(?: = |(?=\{))(\{[^;]*\}|[^,;{}]+)(?=[,;])")  # with a value; of several in a line each
EMPTY = {"0", "false", "{}", "default"}  # the last is of operator==


def rows(text):
    found = {name: default for name, _, default in ROW.findall(text) if default}
    return found | {name.replace("_", "-"): default for name, default in GIVEN.findall(text)}


def code_of(file):
    return COMMENT.sub(r"\1", file.read_text())


def check(project):
    """One line for each fault."""
    faults = []
    found = set()
    rooms = [file for room in includes.EDGES for file in sorted((project / room).glob("*.[ch]pp"))]
    texts = {str(file.relative_to(project)): code_of(file) for file in rooms}
    tables = {path: rows(texts[path]) for path in (*TABLES, SHARED)}
    for path, text in texts.items():
        for name, body in STRUCT.findall(text):
            if name not in STRUCTS:
                continue
            found.add(name)
            for member, value in MEMBER.findall(body):
                if value not in EMPTY and member not in STRUCTS[name].split():
                    faults.append(f"{path}: {name}::{member} has a default of its own: {value}")
    faults += [f"struct {name} is nowhere" for name in sorted(STRUCTS.keys() - found)]
    for path in TABLES:
        if not tables[path]:
            faults.append(f"{path}: no row with a default")
    for one, other in ((TABLES[0], TABLES[1]), (TABLES[0], SHARED), (TABLES[1], SHARED)):
        for name in tables[one].keys() & tables[other].keys():
            if tables[one][name] == tables[other][name]:
                faults.append(f"{one}: the default of --{name} stands in {other}, too")
    # A number may mean anything, a path or URL only this.
    places = {value for table in tables.values() for value in table.values() if "/" in value}
    for value in sorted(places):
        where = [path for path, text in texts.items() for _ in range(text.count(f'"{value}"'))]
        if len(where) != 1:
            faults.append(f"the default {value} stands in " + " and ".join(where))
    return faults


if __name__ == "__main__":
    faults_found = check(pathlib.Path(sys.argv[1]))
    print("\n".join(faults_found) or "each default stands once")
    sys.exit(bool(faults_found))
