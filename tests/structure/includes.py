#!/usr/bin/env python3
"""Holds the rooms' #include lines against the include picture of docs/architecture.md.

usage: includes.py PROJECT [HEADERS]   HEADERS: a file that names every header of a room, one a line
"""
import pathlib
import re
import sys

# What a folder may include besides itself: only folders that stand above it here, so there is no circle.
EDGES = {
    "base": "",
    "platform": "base",
    "platform/system": "base platform",
    "mail": "base platform",
    "rspamd": "base mail",
    "lmtp": "base mail",
    "smtpd": "base mail lmtp",
    "policy": "base mail rspamd lmtp",
    "recipients": "base mail lmtp",
    "session": "base mail rspamd lmtp smtpd policy recipients",
    "net": "base platform",
    "options": "base lmtp",
    "wires": "base mail rspamd lmtp recipients net platform",
    "filter": "base platform mail rspamd lmtp smtpd policy recipients session net options wires",
    "agent": "base platform mail rspamd lmtp policy net options wires",
}
# Those that may ask the operating system, the clock and chance. The others are pure.
DRIVERS = {"platform", "platform/system", "net", "options", "wires", "filter", "agent"}

# The headers of POSIX.1-2008 that are none of C. What else a system has is for `platform` alone.
POSIX = (
    r"(aio|arpa/inet|cpio|dirent|dlfcn|fcntl|fmtmsg|fnmatch|ftw|glob|grp|iconv|langinfo|libgen|monetary|mqueue|ndbm|net/if|netdb"
    r"|netinet/(in|tcp)|nl_types|poll|pthread|pwd|regex|sched|search|semaphore|spawn|strings|stropts|syslog|tar|termios|trace|ulimit"
    r"|sys/(ipc|mman|msg|resource|select|sem|shm|socket|stat|statvfs|time|times|types|uio|un|utsname|wait)|unistd|utime|utmpx|wordexp"
    r"|signal|stdlib)\.h"  # these two of C say more in POSIX
)

LIBRARIES = {  # beyond the standard library
    "base": r"tl/expected\.hpp",
    "platform": rf"sodium\.h|tl/expected\.hpp|{POSIX}",
    "platform/system": r".*\.h|tl/expected\.hpp",
    "rspamd": r"rapidjson/\w+\.h|sodium(/\w+)?\.h|tl/expected\.hpp|zstd\.h",
    "lmtp": r"sodium\.h",
    "net": rf"asio/.*|openssl/.*|spdlog/.*|{POSIX}|tl/expected\.hpp",
    "options": rf"toml\+\+/.*|{POSIX}",
    "wires": rf"tl/expected\.hpp|asio/.*|{POSIX}",
    "filter": rf"asio/.*|{POSIX}",
    "agent": rf"asio/.*|{POSIX}",
}

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


def faults_of(room, text):
    rooms = {room, *EDGES[room].split()}
    pure = room not in DRIVERS
    for number, line in enumerate(text.splitlines(), 1):
        include = INCLUDE.match(line)
        if not include:
            if pure and (call := IMPURE_CALLS.search(COMMENT.sub("", line))):
                yield number, f"{room} is pure: no {call.group().rstrip('( ')}"
            if room != "platform/system" and (call := LINUX_CALLS.search(COMMENT.sub("", line))):
                yield number, f"{call.group()} is not on every system, so it belongs in platform/system"
            continue
        quoted, path = include.group(1) == '"', include.group(2)
        if quoted:
            to = path.rpartition("/")[0]
            if to not in EDGES:
                yield number, f'"{path}" does not name a room'
            elif to not in rooms:
                yield number, f"{room} must not include {to}"
        elif re.fullmatch(LIBRARIES.get(room, "(?!)"), path):
            continue
        elif "/" in path or "." in path:
            yield number, f"{room} must not include <{path}>"
        elif pure and re.fullmatch(IMPURE_HEADERS, path):
            yield number, f"{room} is pure: no <{path}>"


def check(project, headers=None):
    """One line for each fault."""
    faults = []
    files = 0
    above = set()
    for room, edges in EDGES.items():
        faults += [f"{room} may include {edge}, which does not stand above it" for edge in edges.split() if edge not in above]
        above.add(room)
        for file in sorted((project / room).glob("*.[ch]pp")):
            files += 1
            path = f"{room}/{file.name}"
            faults += [f"{path}:{line}: {what}" for line, what in faults_of(room, file.read_text())]
            if headers is not None and file.suffix == ".hpp" and path not in headers:
                faults.append(f"{path}: in no room's list of HEADERS, so nothing proves that it stands alone")
    page = project / "docs" / "architecture.md"
    if page.exists():
        told = dict(re.findall(r"^\| `([\w/]+)` \| .* \| (.*?) ?\|$", page.read_text(), re.M))
        faults += [f"{page.name}: another row for {room} is wanted" for room in EDGES if told.get(room, "?").replace("`", "") != EDGES[room]]
    if files < len(EDGES):
        faults.append(f"{project}: the rooms are not here")
    return faults


if __name__ == "__main__":
    listed = set(pathlib.Path(sys.argv[2]).read_text().split()) if len(sys.argv) > 2 else None
    found = check(pathlib.Path(sys.argv[1]), listed)
    print("\n".join(found) or "every #include follows the picture")
    sys.exit(bool(found))
