#!/usr/bin/env python3
"""Measures the functions of the rooms, of bench and of fuzz: none has more than 60 lines, from its first one to its last brace.

usage: lengths.py PROJECT
"""
import ast
import pathlib
import re
import sys

import includes

MOST = 60
PLACES = [*includes.EDGES, "bench", "fuzz"]
# Comments and literals hold braces that are none. Line ends stay, so that lines can be counted.
NO_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\((?:.*?)\)\1"|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)\'|^[ \t]*#(?:[^\n]|(?<=\\)\n)*', re.S | re.M)
# What opens a brace in which functions are defined.
OUTER = re.compile(r'\b(?:namespace|class|struct|union|enum)\b[^()]*$|\bextern\s*$')


def without_literals(text):
    return NO_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def functions(text):
    """(line, lines, name) of each function of C or C++ that has a body."""
    code = without_literals(text)
    begin = 0  # of the declaration that is being read
    at = 0
    while at < len(code):
        sign = code[at]
        if sign in ";}":
            begin = at + 1
        elif sign == "{":
            head = code[begin:at]
            if OUTER.search(head):
                begin = at + 1
            else:
                end = at
                depth = 0
                while end < len(code):
                    depth += {"{": 1, "}": -1}.get(code[end], 0)
                    if depth == 0:
                        break
                    end += 1
                # In a list of initialisers a brace follows a name at once; the body's stands alone.
                starts_body = ")" in head and (at == 0 or not re.match(r"[\w>]", code[at - 1]))
                if starts_body:
                    start = begin + len(head) - len(head.lstrip())
                    name = re.search(r"([\w:~]+)\s*\(", head)
                    lines = code.count("\n", start, end) + 1
                    yield code.count("\n", 0, start) + 1, lines, name.group(1) if name else "?"
                    begin = end + 1
                at = end
        at += 1


def functions_of_python(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno + 1, node.name


def check(project):
    """One line for each fault."""
    faults = []
    count = 0
    for place in PLACES:
        for file in sorted((project / place).glob("*")):
            if file.suffix not in {".c", ".cpp", ".hpp", ".py"}:
                continue
            measure = functions_of_python if file.suffix == ".py" else functions
            for line, lines, name in measure(file.read_text()):
                count += 1
                if lines > MOST:
                    faults.append(f"{place}/{file.name}:{line}: {name} has {lines} lines, {MOST} at most are wanted")
    if count < 500:
        faults.append(f"{project}: only {count} functions were found")
    return faults


if __name__ == "__main__":
    found = check(pathlib.Path(sys.argv[1]))
    print("\n".join(found) or f"no function has more than {MOST} lines")
    sys.exit(bool(found))
