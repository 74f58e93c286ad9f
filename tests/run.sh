#!/bin/bash
# Installs what is missing, builds and runs all tests: the release build, then (unless --fast)
# everything once more with AddressSanitizer and UBSan, then the policies built by clang++ without
# optimisation, for the golden digests. The last line counts single tests over all runs.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${BUILD_JOBS:=$(nproc)}"
fast=0
case ${1:-} in
  '') ;;
  --fast) fast=1 ;;
  *) echo "usage: $0 [--fast]" >&2; exit 64 ;;
esac

jobs/install_dependencies.sh --tests
if command -v ninja > /dev/null; then export CMAKE_GENERATOR=Ninja; fi
results=$PWD/build/results
rm -rf "$results"
mkdir -p "$results"

record() { # RUN STATUS TEXT: one more line of the summary, in ctest's own format
  echo "$1: $3"
  printf '<testcase name="build" status="%s">\n%s\n</testcase>\n' "$2" "$3" > "$results/$1.xml"
}
# Output of passed tests is kept in full: skipped GoogleTests are only named there.
run_tests() { # RUN BUILD_DIR
  ctest --test-dir "$2" --parallel "$BUILD_JOBS" --timeout 300 --output-on-failure \
    --no-tests=error --test-output-size-passed 100000000 --output-junit "$results/$1.xml" || true
  [ -s "$results/$1.xml" ] || record "$1" fail "ctest left no results"
}
build_and_test() { # PRESET
  echo "== $1"
  if cmake --preset "$1" -DBUILD_TESTING=ON &&
    cmake --build --preset "$1" --parallel "$BUILD_JOBS"; then
    run_tests "$1" "build/$1"
  else
    record "$1" fail "the build failed"
  fi
}
test_policies_by_clang() {
  local build=build/clang
  echo "== policies by clang++ -O0"
  if ! command -v clang++ > /dev/null; then
    record clang notrun "SKIP: there is no clang++"
  elif cmake -S . -B $build -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ \
    -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 &&
    cmake --build $build --parallel "$BUILD_JOBS" --target tests/policies/all; then
    run_tests clang $build/tests/policies
  else
    record clang fail "the build failed"
  fi
}

build_and_test release
if [ "$(ctest --test-dir build/release -N -L gpu | grep -c 'Test *#')" = 0 ]; then
  record cuda notrun "SKIP: there is no CUDA toolkit that can be used, so nothing for GPUs was compiled"
fi
if [ $fast -eq 0 ]; then
  build_and_test asan
  test_policies_by_clang
fi
echo
awk -f tests/summarise.awk "$results"/*.xml
