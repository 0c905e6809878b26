# Shared by ./demo, ./test: bash functions. Debian's packages, and commands whose progress is one line on a terminal.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C.UTF-8
mkdir -p build

build_packages=(g++ cmake ninja-build pkg-config libasio-dev libspdlog-dev libfmt-dev rapidjson-dev libtomlplusplus-dev
  libexpected-dev libsodium-dev libssl-dev libzstd-dev)
server_packages=(opensmtpd rspamd haproxy openssl dovecot-lmtpd dovecot-sieve dnsmasq-base iproute2 util-linux python3)
test_packages=(libgtest-dev libgmock-dev clang libclang-rt-dev mandoc groff-base man-db clamav-daemon redis-server python3-dkim
  opensmtpd-filter-rspamd dpkg-dev libc++-dev libc++abi-dev googletest)

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

# step TEXT COMMAND…: says TEXT, shows the command's last line while it runs, keeps all of it in build/TEXT.log, and shows the
# end of that when the command fails.
step() {
  local text=$1 log status=0 begun=$SECONDS
  shift
  log=build/${text//[^A-Za-z0-9]/-}.log
  printf -- '-- %s\n' "$text"
  if [[ -t 1 ]]; then
    set +e
    "$@" 2>&1 </dev/null | tee "$log" | while IFS= read -r line; do
      line=${line%$'\r'}
      printf '\r\033[K   %.76s' "${line##*$'\r'}"
    done
    status=${PIPESTATUS[0]}
    set -e
    printf '\r\033[K'
  else
    "$@" >"$log" 2>&1 </dev/null || status=$?
  fi
  if ((status)); then
    tail -n 40 "$log"
    fail "$text: failed ($log holds all of it)."
  fi
  printf -- '   done in %d s\n' $((SECONDS - begun))
}

missing_packages() {
  local package
  for package; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || printf '%s\n' "$package"
  done
}

# need PACKAGE…: installs those that are missing. Nothing is removed for it, and no service is started.
need() {
  local missing other
  command -v apt-get >/dev/null || fail "This needs Debian: apt-get is not here. Without it, install what .ci/common.sh lists."
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]})) || return 0
  if [[ " ${missing[*]} " == *" opensmtpd "* ]]; then
    other=$(dpkg-query -W -f '${db:Status-Status} ${Package} ${Provides}\n' |
      awk '$1 == "installed" && / mail-transport-agent/ && !found {print $2; found = 1}')
    [[ -z $other ]] || fail \
      "$other is the mail server of this machine, and Debian allows only one: installing opensmtpd would remove it." \
      "Nothing was changed. Run this in a container or on another machine."
  fi
  ((EUID == 0)) || fail "Missing packages: ${missing[*]}" "Installing them needs root: run this again as root (sudo)."
  [[ -z $(dpkg --audit) ]] || step "finishing an interrupted installation" without_services dpkg --configure -a
  step "reading the package lists" apt-get update -q
  step "installing missing packages (${#missing[@]})" without_services \
    apt-get install -y -q -o Dpkg::Use-Pty=0 --no-remove --no-install-recommends "${missing[@]}"
  if [[ -d /run/systemd/system && " ${missing[*]} " =~ " "(opensmtpd|rspamd|dovecot-lmtpd|clamav-daemon|redis-server)" " ]]; then
    echo "   No service was started. Debian enables them for the next boot; if you do not want that:"
    echo "   systemctl disable opensmtpd rspamd dovecot clamav-daemon clamav-freshclam redis-server"
  fi
}

# Package scripts ask /usr/sbin/policy-rc.d whether they may start a service: 101 means no. One that is there already stays: ours
# lies over it in a mount namespace of apt's own.
without_services() {
  local policy=/usr/sbin/policy-rc.d ours=build/policy-rc.d status=0
  printf '#!/bin/sh\n# mailbridge: no service starts while packages are installed\nexit 101\n' >"$ours"
  chmod 755 "$ours"
  if [[ -e $policy ]] && ! grep -q '^# mailbridge:' "$policy"; then
    DEBIAN_FRONTEND=noninteractive unshare --mount \
      bash -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' - "$ours" "$policy" "$@"
    return
  fi
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  install -m 755 "$ours" "$policy"
  DEBIAN_FRONTEND=noninteractive "$@" || status=$?
  rm -f "$policy"
  trap - EXIT
  return "$status"
}

# build PRESET TARGET [CONFIGURE ARGUMENT…]
build() {
  local preset=$1 target=$2
  shift 2
  step "configuring $preset" cmake --preset "$preset" "$@"
  step "building $preset" cmake --build "build/$preset" --target "$target" -j "$(nproc)"
}
