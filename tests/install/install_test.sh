#!/bin/bash
# Installs a build and uses it as a stranger would: by CMake, by pkg-config, in C and in C++, from a
# moved tree.
#   install_test.sh BUILD_DIR VERSION        (CMAKE, CC, CXX from the environment)
set -euo pipefail
build=$1 version=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
check() { # CLAIM ACTUAL EXPECTED
  if [ "$2" = "$3" ]; then echo "ok      $1"; else echo "FAILED  $1: '$2', not '$3'"; failed=1; fi
}

"$CMAKE" --install "$build" --prefix "$work/installed" > "$work/log"
mv "$work/installed" "$work/moved" # nothing may depend on where it was installed
prefix=$work/moved
library=$(find "$prefix" -name libballast.so)
export PKG_CONFIG_PATH=${library%/*}/pkgconfig LD_LIBRARY_PATH=${library%/*}

if ! "$CMAKE" -S "$here/consumer" -B "$work/consumer" -DCMAKE_PREFIX_PATH="$prefix" > "$work/log" ||
  ! "$CMAKE" --build "$work/consumer" >> "$work/log"; then cat "$work/log"; fi
check "a C program builds with find_package" "$("$work/consumer/consumer")" "$version"
check "a C++ program builds with find_package" "$("$work/consumer/consumer_cpp")" "$version"

read -ra flags <<< "$(pkg-config --cflags --libs ballast)"
"$CC" "$here/consumer/main.c" "${flags[@]}" -o "$work/by_pkg_config"
check "a C program builds with pkg-config" "$("$work/by_pkg_config")" "$version"
check "pkg-config knows the version" "$(pkg-config --modversion ballast)" "$version"

soname=$(readelf -d "$library" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
check "the library carries its major version" "$soname" "libballast.so.${version%%.*}"
nm -D --defined-only "$library" | awk '{print $NF}' | sort -u > "$work/exported"
grep -o 'BALLAST_API [^;(]*' "$prefix/include/ballast.h" | grep -o 'ballast_[a-z_]*$' | sort -u \
  > "$work/declared"
check "the library exports nothing but ballast_*" "$(grep -v '^ballast_' "$work/exported" || true)" ""
check "the library exports what the header declares" "$(comm -3 "$work/exported" "$work/declared")" ""

printf '%s\n' '#include <ballast.h>' '#include <ballast.h>' 'int main(void) { return BALLAST_OK; }' \
  > "$work/twice.c"
cp "$work/twice.c" "$work/twice.cpp"
# The first folder is ours; mpi.h, in the others, is somebody else's: no warnings about it.
read -ra include <<< "$(pkg-config --cflags ballast | sed 's/ -I/ -isystem /g')"
for language in "$CC -std=c11 $work/twice.c" "$CXX -std=c++20 $work/twice.cpp"; do
  read -ra compile <<< "$language"
  result=0
  "${compile[@]}" -Wall -Wextra -pedantic -Werror -c -o "$work/twice.o" "${include[@]}" || result=$?
  check "the header, included twice, gives ${compile[0]##*/} no warning" $result 0
done
exit $failed
