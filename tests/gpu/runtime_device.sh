#!/bin/bash
# On a machine with GPUs: builds the runtime and runs its tests with models on the GPUs, by copy
# engine and by NCCL, and again with ranks that share a GPU; then the engine that embeds it, and a peer
# that is killed. The last line says how it went.
#   BUILD=build/gpu tests/gpu/runtime_device.sh [GTEST_FILTER]
set -uo pipefail
cd "$(dirname "$0")/../.."

: "${BUILD:=build/gpu}"
: "${BUILD_JOBS:=$(nproc)}"
: "${SECONDS_EACH:=150}"
filter=${1:-*}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader,tcp
: "${NCCL_NVLS_ENABLE:=0}"
: "${EVERY:=5}" # of the sweep's settings: a context on a GPU starts in 0.1 s. No factor 2 or 3
export NCCL_NVLS_ENABLE
tests=(gpu_bad_input_test gpu_allocation_test gpu_times_told_test gpu_ranks_test gpu_drill_test gpu_protocol_test gpu_sweep_test)

nvidia-smi -L
generator=()
if command -v ninja > /dev/null && [ ! -f "$BUILD/CMakeCache.txt" ]; then generator=(-G Ninja); fi
mkdir -p "$BUILD"
cmake -S . -B "$BUILD" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DBALLAST_CUDA=ON \
  -DBUILD_TESTING=ON > "$BUILD/configure.log" 2>&1 || { tail -20 "$BUILD/configure.log"; exit 71; }
cmake --build "$BUILD" --parallel "$BUILD_JOBS" --target "${tests[@]}" kill_test moe_engine > "$BUILD/build.log" 2>&1 ||
  { grep -E "error" -A5 "$BUILD/build.log" | head -40 >&2; exit 71; }

failed=0
gpus=$(nvidia-smi -L | wc -l)
run() { # TRANSPORT RANKS TEST [MEMORY: pieces or long]; BALLAST_TEST_ROW_BYTES: rows beyond 64 KiB go by copy engine
  local log=$BUILD/$3.$1${4:+.$4}.np$2.log
  local start=$SECONDS
  local part=(BALLAST_TEST_EVERY="$EVERY")
  [ "$1" != nccl ] || part=(BALLAST_TEST_EVERY=$((5 * EVERY)) BALLAST_TEST_SEEDS=20) # 0.5 s a context
  if env "${part[@]}" BALLAST_TEST_MEMORY="${4:-}" BALLAST_TEST_TRANSPORT="$1" timeout "$SECONDS_EACH" \
    mpirun -np "$2" "$BUILD/tests/gpu/$3" --gtest_color=no --gtest_filter="$filter" > "$log" 2>&1 &&
    { [ "${4:-}" != pieces ] || grep -q "memory in pieces" "$log"; }; then
    echo "$3, $2 ranks, $1${4:+, $4}: $(grep -E '^\[  PASSED' "$log" | cut -c14-) ($((SECONDS - start)) s)"
  else
    echo "$3, $2 ranks, $1${4:+, $4}: FAILED ($((SECONDS - start)) s)"
    grep -E "Failure|FAILED|rror|rank [0-9]+:" "$log" | head -12
    failed=1
  fi
}
for test in "${tests[@]}"; do
  run copy 2 "$test"
  run copy 4 "$test"
  if [ "$gpus" -ge 2 ]; then run nccl 2 "$test"; fi
done
if [ "$gpus" -ge 2 ]; then run auto 2 gpu_sweep_test; fi
run copy 2 gpu_protocol_test pieces # as in PyTorch's expandable segments
export BALLAST_TEST_ROW_BYTES=65537
run copy 2 gpu_drill_test long
run copy 4 gpu_drill_test pieces
unset BALLAST_TEST_ROW_BYTES
for tool in memcheck racecheck; do
  log=$BUILD/$tool.log
  if timeout "$SECONDS_EACH" mpirun -np 2 compute-sanitizer --tool "$tool" --error-exitcode 9 \
    "$BUILD/tests/gpu/gpu_drill_test" --gtest_filter='*wrong_arrival*' > "$log" 2>&1; then
    echo "$tool of gpu_drill_test: clean"
  else
    echo "$tool of gpu_drill_test: FAILED"
    grep -E "=====" "$log" | head -12
    failed=1
  fi
done
engine() { # OPTIONS...
  local log=$BUILD/engine.log
  if timeout "$SECONDS_EACH" mpirun -np "$gpus" "$BUILD/tests/gpu/moe_engine" "$@" > "$log" 2>&1; then
    echo "moe_engine $*"
    grep -E "^(step|bar)" "$log"
  else
    echo "moe_engine $*: FAILED"
    tail -15 "$log"
    failed=1
  fi
}
if [ "$gpus" -ge 2 ]; then
  engine --transport copy
  engine --transport nccl
  engine --transport copy --gemm 1 --payload-mib 42 --steps 2000
  engine --transport nccl --gemm 1 --payload-mib 42 --steps 1000
  for transport in copy nccl; do
    log=$BUILD/kill.$transport.log
    timeout 60 mpirun --enable-recovery -np 2 "$BUILD/tests/gpu/kill_test" $transport > "$log" 2>&1
    echo "kill_test $transport"
    grep -E "^rank 0|kill_test:" "$log"
    grep -q "kill_test: ok" "$log" || { tail -5 "$log"; failed=1; }
  done
fi
if [ $failed -eq 0 ]; then echo "runtime on $gpus GPUs: ok"; else echo "runtime on $gpus GPUs: FAILED"; fi
exit $failed
