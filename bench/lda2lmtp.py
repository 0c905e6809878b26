#!/usr/bin/python3
"""The kind of script that lda2lmtp replaces: standard input over LMTP, exit status 1 when that fails."""

import argparse
import smtplib
import sys

parser = argparse.ArgumentParser()
parser.add_argument("-s", "--sender", nargs="?", default="")
parser.add_argument("-r", "--receiver", required=True)
parser.add_argument("-l", "--lmtp", default="/var/run/dovecot/lmtp")
args = parser.parse_args()

try:
    with smtplib.LMTP(args.lmtp) as server:
        mail = sys.stdin.buffer.read().replace(b"\n", b"\r\n")
        server.sendmail(args.sender or "", [args.receiver], mail)
except (OSError, smtplib.SMTPException) as error:
    print(error, file=sys.stderr)
    sys.exit(1)
