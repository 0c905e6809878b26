#!/usr/bin/env python3
"""Holds the rooms' #include lines against the include picture of docs/architecture.md.

usage: includes.py PROJECT [HEADERS]   HEADERS: a file that names every header of a room, one a line
"""
import pathlib
import re
import sys

# What a room may include besides itself.
EDGES = {
    "base": set(),
    "mail": {"base"},
    "rspamd": {"base", "mail"},
    "lmtp": {"base", "mail"},
    "filter": {"base", "mail", "rspamd", "lmtp"},
    "platform": {"base"},
    "net": {"base", "platform"},
    "app": {"base"},
}
# A program's own files stand above the rooms: they alone join protocols and net.
PROGRAMS = {
    "filter": r"(main|app|check|mailboxes|options|recorder|scanner)\.[ch]pp",
    "lmtp": r"(check|check_keys|main|mda_guard|options|scan|wire)\.[ch]pp",
}
# The agent scans, too, when it is asked to, and does with a verdict what the filter does.
PROGRAM_EDGES = {"filter": {"app", "net", "platform"}, "lmtp": {"app", "net", "platform", "rspamd", "filter"}}
# What one program may include of the other's files.
SHARED = {"lmtp": r"(check_keys|wire)\.hpp"}
# All that the other rooms know of this one.
PUBLIC = {"platform": r"(platform|random)\.hpp"}

# The headers of POSIX.1-2008 that are none of C. What else a system has is for `platform` alone.
POSIX = (
    r"(aio|arpa/inet|cpio|dirent|dlfcn|fcntl|fmtmsg|fnmatch|ftw|glob|grp|iconv|langinfo|libgen|monetary|mqueue|ndbm|net/if|netdb"
    r"|netinet/(in|tcp)|nl_types|poll|pthread|pwd|regex|sched|search|semaphore|spawn|strings|stropts|syslog|tar|termios|trace|ulimit"
    r"|sys/(ipc|mman|msg|resource|select|sem|shm|socket|stat|statvfs|time|times|types|uio|un|utsname|wait)|unistd|utime|utmpx|wordexp"
    r"|signal|stdlib)\.h"  # these two of C say more in POSIX
)

LIBRARIES = {  # beyond the standard library
    "base": r"tl/expected\.hpp",
    "mail": r"tl/expected\.hpp",
    "rspamd": r"rapidjson/\w+\.h|sodium(/\w+)?\.h|tl/expected\.hpp|zstd\.h",
    "lmtp": r"sodium\.h",
    "platform": r".*\.h|tl/expected\.hpp",
    "net": rf"asio/.*|openssl/.*|spdlog/.*|{POSIX}|tl/expected\.hpp",
    "app": rf"toml\+\+/.*|{POSIX}",
}
# The one file of a pure room that asks the operating system: what is left of a message when memory is short goes to a file.
SYSTEM_FILES = {"mail": r"spool\.cpp"}
PROGRAM_LIBRARIES = rf"tl/expected\.hpp|asio/.*|{POSIX}"

# Of the standard library: what opens files, starts threads, or asks for the time or for chance.
IMPURE_HEADERS = r"csignal|ctime|filesystem|fstream|future|iostream|mutex|random|thread"
IMPURE_CALLS = re.compile(r"\b(getenv|time|gettimeofday|clock_gettime|rand|fopen|system)\s*\(|_clock::now|\bClock::now|\brandom_device\b")
# What headers of POSIX declare besides on Linux. All of pipe2, accept4, SOCK_CLOEXEC and SOCK_NONBLOCK are in POSIX.1-2024 and on BSD.
LINUX_CALLS = re.compile(
    r"\b(__nss_\w+|canonicalize_file_name|epoll_\w+|eventfd|get_current_dir_name|getrandom|gettid|mkostemps?|posix_spawn\w+_np|prctl"
    r"|program_invocation\w+|pthread_\w+_np|(recv|send)mmsg|secure_getenv|sendfile|signalfd|strerror\w+_np|strchrnul|memrchr"
    r"|syscall|timerfd_\w+|O_(PATH|TMPFILE)|MSG_(MORE|ZEROCOPY)|SO_PEERCRED|IP_BIND_ADDRESS_NO_PORT|TCP_(CORK|QUICKACK))\b"
)

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
COMMENT = re.compile(r'//.*|"(?:[^"\\\n]|\\.)*"')


def faults_of(room, name, text):
    program = re.fullmatch(PROGRAMS.get(room, "(?!)"), name)
    rooms = {room} | EDGES[room] | (PROGRAM_EDGES[room] if program else set())
    libraries = LIBRARIES.get(room, "(?!)") + ("|" + PROGRAM_LIBRARIES if program else "")
    if re.fullmatch(SYSTEM_FILES.get(room, "(?!)"), name):
        rooms.add("platform")
        libraries += "|" + POSIX
    pure = not program and room not in ("platform", "net", "app")
    for number, line in enumerate(text.splitlines(), 1):
        include = INCLUDE.match(line)
        if not include:
            if pure and (call := IMPURE_CALLS.search(COMMENT.sub("", line))):
                yield number, f"{room} is pure: no {call.group().rstrip('( ')}"
            if room != "platform" and (call := LINUX_CALLS.search(COMMENT.sub("", line))):
                yield number, f"{call.group()} is not on every system, so it belongs in platform"
            continue
        quoted, path = include.group(1) == '"', include.group(2)
        if quoted:
            to, _, header = path.partition("/")
            if not header or to not in EDGES:
                yield number, f'"{path}" does not name a room'
            elif to not in rooms:
                yield number, f"{room} must not include {to}"
            elif to != room and not re.fullmatch(PUBLIC.get(to, ".*"), header):
                yield number, f"{path} is for {to} alone"
            elif re.fullmatch(PROGRAMS.get(to, "(?!)"), header) and not (
                program and (to == room or re.fullmatch(SHARED.get(to, "(?!)"), header))
            ):
                yield number, f"{path} belongs to a program"
        elif re.fullmatch(libraries, path):
            continue
        elif "/" in path or "." in path:
            yield number, f"{room} must not include <{path}>"
        elif pure and re.fullmatch(IMPURE_HEADERS, path):
            yield number, f"{room} is pure: no <{path}>"


def check(project, headers=None):
    """One line for each fault."""
    faults = []
    files = 0
    for room in EDGES:
        for file in sorted((project / room).glob("*.[ch]pp")):
            files += 1
            path = f"{room}/{file.name}"
            faults += [f"{path}:{line}: {what}" for line, what in faults_of(room, file.name, file.read_text())]
            if headers is not None and file.suffix == ".hpp" and path not in headers:
                faults.append(f"{path}: in no room's list of HEADERS, so nothing proves that it stands alone")
    if files < len(EDGES):
        faults.append(f"{project}: the rooms are not here")
    return faults


if __name__ == "__main__":
    listed = set(pathlib.Path(sys.argv[2]).read_text().split()) if len(sys.argv) > 2 else None
    found = check(pathlib.Path(sys.argv[1]), listed)
    print("\n".join(found) or "every #include follows the picture")
    sys.exit(bool(found))
