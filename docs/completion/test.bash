#!/bin/bash
# What bash offers for filter-mailbridge and lda2lmtp.
set -u
cd "$(dirname "$0")" || exit 1
. bash/filter-mailbridge
. bash/lda2lmtp
failed=0
compopt() { :; }  # wants a completion that is under way

# offers FUNCTION WORD…: what is offered for the last word, in one line.
offers() {
  local function=$1
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
  COMPREPLY=()
  "$function"
  echo "${COMPREPLY[*]}"
}

# expect OFFERED FUNCTION WORD…
expect() {
  local wanted=$1 offered
  shift
  offered=$(offers "$@")
  [[ $offered == "$wanted" ]] && return
  printf '%s\n   offers %s\n   wanted %s\n' "$*" "$offered" "$wanted"
  failed=1
}

expect "--unknown --unverified" _filter_mailbridge --un
expect "refuse smtpd" _filter_mailbridge --unknown ""
expect "refuse" _filter_mailbridge --unknown re
expect "refuse smtpd" _filter_mailbridge --unknown =
expect "smtpd" _filter_mailbridge --unknown = s
expect "" _filter_mailbridge --rspamd ""
expect "--deliver --deliver-timeout" _filter_mailbridge --deliver --del
expect "bash" _filter_mailbridge --spool ba
expect "test.bash" _filter_mailbridge --config te
expect "--keep-trace" _lda2lmtp --ke
expect "--receiver" _lda2lmtp --rec
expect "none domain all" _lda2lmtp --fold ""
exit $failed
