#!/bin/bash
# Installs what is missing to build and run Ballast on Debian 12 and its relatives; with --tests,
# what its tests need too. When nothing is missing it asks dpkg and does nothing else. It needs root
# to install; otherwise it says what to run.
set -euo pipefail

packages=(cmake ninja-build pkg-config g++ libopenmpi-dev openmpi-bin libhwloc-dev libopenblas-dev
  libfmt-dev nlohmann-json3-dev libcli11-dev zlib1g-dev)
optional=() # without these the tests run, and those that need them say that they were skipped
case ${1:-} in
  '') ;;
  --tests)
    packages+=(libgtest-dev binutils)
    optional+=(clang slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libpmix-dev
      iproute2)
    ;;
  *) echo "usage: $0 [--tests]" >&2; exit 64 ;;
esac

missing() { # PACKAGE...
  local present
  present=$(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "$@" 2> /dev/null |
    sed -n 's/^installed //p' || true)
  comm -23 <(printf '%s\n' "$@" | sort -u) <(sort -u <<< "$present")
}
say() { echo "install_dependencies: $*"; }
install() { # PACKAGE...
  apt-get -o DPkg::Lock::Timeout=600 install -y -q --no-install-recommends "$@"
}

if ! command -v dpkg-query > /dev/null; then
  say "not a Debian system; needed are the counterparts of: ${packages[*]} ${optional[*]}"
  exit 0
fi
mapfile -t needed < <(missing "${packages[@]}")
mapfile -t wanted < <([ ${#optional[@]} -eq 0 ] || missing "${optional[@]}")
[ ${#needed[@]} -gt 0 ] || [ ${#wanted[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
  say "packages are missing; to install them:" \
    "sudo apt-get install --no-install-recommends ${needed[*]} ${wanted[*]}" >&2
  [ ${#needed[@]} -eq 0 ] || exit 69
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
say "installing ${needed[*]} ${wanted[*]}"
apt-get -o DPkg::Lock::Timeout=600 update -q || true # what cannot be installed is named below
if [ ${#needed[@]} -gt 0 ] && ! install "${needed[@]}"; then
  say "apt-get could not install: ${needed[*]}" >&2
  exit 69
fi
if [ ${#wanted[@]} -gt 0 ] && ! install "${wanted[@]}"; then
  say "apt-get could not install: ${wanted[*]}; the tests that need them will be skipped" >&2
fi
