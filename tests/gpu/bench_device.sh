#!/bin/bash
# On a machine with two or more GPUs of one NVLink island: builds `ballast`, runs its benches on
# GPUs in about 4 minutes, and ends with a line for each bar: met or not met, and by what figure.
#   BUILD=build/gpu RANKS=2 tests/gpu/bench_device.sh [BENCH...]
# BENCH: exchange, startup, overlap, reduce, record, route, step; all without any. Tables, JSON and
# what went wrong lie in $OUT.
set -euo pipefail
cd "$(dirname "$0")/../.."

: "${BUILD:=build/gpu}"
: "${BUILD_JOBS:=$(nproc)}"
: "${RANKS:=2}"
: "${OUT:=$BUILD/bench}"
: "${MPIRUN:=mpirun --bind-to none -np $RANKS}"
: "${LIMIT_S:=120}" # of one bench
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export NCCL_NVLS_ENABLE=${NCCL_NVLS_ENABLE:-0} # multicast: of no use to sends, receives and sums of 116 KiB

nvidia-smi -L
generator=()
if command -v ninja > /dev/null && [ ! -f "$BUILD/CMakeCache.txt" ]; then generator=(-G Ninja); fi
mkdir -p "$BUILD" "$OUT"
{ cmake -S . -B "$BUILD" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DBALLAST_CUDA=ON &&
  cmake --build "$BUILD" --parallel "$BUILD_JOBS" --target ballast_cli; } > "$BUILD/build.log" 2>&1 ||
  { tail -40 "$BUILD/build.log" >&2; exit 71; }

failed=()
bench() { # NAME ARGUMENT...
  local name=$1 code=0
  shift
  echo
  echo "== $name: ballast bench $*"
  timeout --kill-after=5 "$LIMIT_S" $MPIRUN "$BUILD/ballast" bench "$@" --backend cuda \
    --json "$OUT/$name.json" > "$OUT/$name.txt" 2> "$OUT/$name.err" || code=$?
  cat "$OUT/$name.txt"
  if [ $code -ne 0 ]; then
    echo "$name: exit code $code (124: longer than $LIMIT_S s)"
    head -20 "$OUT/$name.err"
    failed+=("$name")
  fi
}

run_exchange() {
  bench exchange-copy exchange --transport copy --verify off,full --hash-ctas 1,2,4,8
  bench exchange-nccl exchange --transport nccl --verify off,full --hash-ctas 2 --nccl-ctas 2,8 \
    --weights-mib 4096 --epochs 5
}
run_startup() {
  bench startup-copy exchange --transport copy --model deepseek-v3-fp8 --layers 58 --verify full \
    --hash-ctas 2 --epochs 2
  bench startup-nccl exchange --transport nccl --model deepseek-v3-fp8 --layers 58 --verify full \
    --hash-ctas 2 --epochs 1
}
run_overlap() { bench overlap overlap; }
run_reduce() { bench reduce reduce; }
run_record() { bench record record --cases 128x8/256,8192x8/256,65536x8/256; }
run_route() { bench route route --tokens 8192; }
run_step() { bench step step --layers 58 --experts 16 --expert-kib 4096 --epochs 6 --batches 300; }

all=(exchange startup overlap reduce record route step)
if [ $# -eq 0 ]; then set -- "${all[@]}"; fi
for name in "$@"; do
  [[ " ${all[*]} " == *" $name "* ]] || { echo "$0: $name is none of ${all[*]}" >&2; exit 64; }
done
rm -f "$OUT"/*.txt
SECONDS=0
for name in "$@"; do "run_$name"; done

echo
echo "== bars, after $SECONDS s"
grep -h '^# bar: ' "$OUT"/*.txt | sed 's/^# bar: //' || echo "none"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 70; }
