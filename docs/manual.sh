#!/bin/sh
# manual.sh PROGRAM PAGE [OUTPUT]: puts what `PROGRAM PAGE` prints between PAGE's two marks; in place when OUTPUT is left out.
set -eu
list=$("$1" "$2")
page=$(awk -v list="$list" '
  /^\.\\" end of the options/ { inside = 0 }
  !inside { print }
  /^\.\\" options:/ { inside = 1; print list }
' "$2")
printf '%s\n' "$page" >"${3:-$2}"
