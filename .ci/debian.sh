# Debian releases to test in, each in a directory of its own, build/roots/CODENAME. After common.sh: bash functions.
#   fresh     the smallest Debian; nothing is installed in it
#   test      the one that `./test --debian RELEASE` runs in; what it installs stays for the next time
#   build     its build directory
#   packages  what was downloaded
#   ccache    what tests/e2e/book_test.py and package_test.py have compiled
# `rm -r build/roots/CODENAME` begins anew.

# debian_root RELEASE: makes `fresh`, from the mirror that this machine's apt has. Sets roots to the directory of the release.
debian_root() {
  local codename mirror security script suite
  need distro-info-data
  codename=$(awk -F, -v release="$1" '$1 == release || $3 == release {print $3}' /usr/share/distro-info/debian.csv)
  [[ -n $codename ]] || fail "$1 is no release of Debian: say 12, 13 or forky, for instance."
  roots=$PWD/build/roots/$codename
  [[ ! -d $roots/fresh ]] || return 0
  need debootstrap debian-archive-keyring
  mirror=$(debian_mirror Debian)
  [[ -n $mirror ]] || fail "apt has no mirror of Debian here, or has not read its package lists: apt-get update."
  security=$(debian_mirror Debian-Security)
  # For wget, debootstrap's too, what apt goes by.
  eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
  export http_proxy https_proxy
  script=/usr/share/debootstrap/scripts/$codename
  [[ -e $script ]] || script=${script%/*}/sid  # a release that is younger than this debootstrap

  rm -rf "$roots/new"
  mkdir -p "$roots"/{new,packages,build}
  step "making a root of Debian $1" debootstrap --variant=minbase --include=ca-certificates --cache-dir="$roots/packages" \
    "$codename" "$roots/new" "$mirror" "$script"
  for suite in "$mirror $codename" "$mirror $codename-updates" ${security:+"$security $codename-security"}; do
    if wget -q --spider "${suite/ //dists/}/InRelease"; then
      echo "deb $suite main"
    fi
  done >"$roots/new/etc/apt/sources.list"
  # What a machine has and the smallest Debian has not: its settings of apt, somebody who says yes to it, and a name.
  { apt-config dump | grep -iE '^acquire::(.*proxy|check-)' || true
    echo 'APT::Get::Assume-Yes "true";'
    echo 'Binary::apt::APT::Keep-Downloaded-Packages "true";'
  } >"$roots/new/etc/apt/apt.conf.d/99mailbridge"
  printf '127.0.0.1 localhost\n::1 localhost\n' >"$roots/new/etc/hosts"
  ln -sf ../proc/self/mounts "$roots/new/etc/mtab"
  step "reading the package lists of Debian $1" in_root "$roots/new" apt-get update -q
  mv "$roots/new" "$roots/fresh"
}

# debian_mirror LABEL: where apt has it from.
debian_mirror() {
  local uri
  uri=$(apt-get indextargets --format '$(SITE)' 'Identifier: Packages' 'Origin: Debian' "Label: $1" | head -n 1)
  [[ $uri != mirror+file:* ]] || uri=$(awk 'NF && !/^#/ {print $1; exit}' "${uri#mirror+file:}")
  printf '%s\n' "${uri%/}"
}

# in_root ROOT COMMAND…: with ROOT as /, in this directory, which is not written to. Everything that COMMAND starts ends with it.
in_root() {
  unshare --mount --pid --fork --kill-child --propagation private bash -euc '
    root=$1 roots=${1%/*} source=usr/src/mailbridge
    shift
    mkdir -p "$root/$source"
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount --bind "$roots/packages" "$root/var/cache/apt/archives"
    mount --bind -o ro . "$root/$source"
    mount --bind "$roots/build" "$root/$source/build"
    mkdir -p "$root/$source/${roots#"$PWD/"}"
    mount --bind "$roots" "$root/$source/${roots#"$PWD/"}"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    exec chroot "$root" env --chdir="/$source" "$@"
  ' - "$@"
}
