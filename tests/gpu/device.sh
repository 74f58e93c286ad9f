#!/bin/bash
# On a machine with a GPU: builds the kernels, compares them with their host twins, once more under
# compute-sanitizer, and prints the table of times with PyTorch's beside it where there is PyTorch.
#   BUILD=build/gpu tests/gpu/device.sh [--no-bench]
set -euo pipefail
cd "$(dirname "$0")/../.."

: "${BUILD:=build/gpu}"
: "${BUILD_JOBS:=$(nproc)}"
bench=1
case ${1:-} in
  '') ;;
  --no-bench) bench=0 ;;
  *) echo "usage: $0 [--no-bench]" >&2; exit 64 ;;
esac
tests=(record_route_gpu_test commit_gpu_test hash_gpu_test pack_gpu_test)

nvidia-smi -L
generator=()
if command -v ninja > /dev/null && [ ! -f "$BUILD/CMakeCache.txt" ]; then generator=(-G Ninja); fi
cmake -S . -B "$BUILD" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DBALLAST_CUDA=ON \
  -DBUILD_TESTING=ON \
  | grep -E '^--   |rror' || true
cmake --build "$BUILD" --parallel "$BUILD_JOBS" --target "${tests[@]}" kernel_bench \
  > "$BUILD/build.log" ||
  { tail -40 "$BUILD/build.log" >&2; exit 71; }

failed=0
for test in "${tests[@]}"; do
  "$BUILD/tests/gpu/$test" --gtest_brief=1 || failed=1
done
# Left out: what takes the sanitizer minutes, and the test that makes a wrong call on purpose.
left_out='-*million*:*whole_expert*:*left_behind*'
for tool in memcheck racecheck; do
  for test in "${tests[@]}"; do
    log=$BUILD/$tool.$test.log
    result=clean
    compute-sanitizer --tool "$tool" --error-exitcode 9 "$BUILD/tests/gpu/$test" \
      --gtest_filter="$left_out" > "$log" 2>&1 ||
      { result="FAILED, see $log"; failed=1; }
    echo "$tool of $test: $result"
  done
done

if [ $bench -eq 1 ]; then
  "$BUILD/tests/gpu/kernel_bench" || failed=1
  if python3 -c 'import torch' 2> /dev/null; then python3 tests/gpu/torch_bench.py; fi
fi
exit $failed
