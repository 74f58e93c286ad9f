#!/bin/bash
# On a machine with GPUs: `ballast replay --backend cuda` from end to end. What needs two GPUs is
# skipped, and said to be, where there is one.
#   BUILD=build/gpu tests/gpu/replay_device.sh [--no-build]
set -uo pipefail
cd "$(dirname "$0")/../.."

: "${BUILD:=build/gpu}"
: "${BUILD_JOBS:=$(nproc)}"
: "${MPIRUN:=mpirun --oversubscribe --bind-to none}"
: "${CASE_SECONDS:=180}"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 NCCL_DEBUG=${NCCL_DEBUG:-WARN}
case ${1:-} in
  '')
    mkdir -p "$BUILD"
    { cmake -S . -B "$BUILD" -DCMAKE_BUILD_TYPE=Release -DBALLAST_CUDA=ON -DBUILD_TESTING=ON &&
      cmake --build "$BUILD" --parallel "$BUILD_JOBS" --target ballast_cli replay_gpu_test
    } > "$BUILD/build.log" 2>&1 || { tail -40 "$BUILD/build.log" >&2; exit 71; }
    ;;
  --no-build) ;;
  *) echo "usage: $0 [--no-build]" >&2; exit 64 ;;
esac

nvidia-smi -L
gpus=$(nvidia-smi -L | wc -l)
logs=$BUILD/replay-logs
mkdir -p "$logs"
failed=0

# try NAME RANKS GPUS TEXT... -- OPTIONS...: every TEXT must be in what a replay with OPTIONS prints,
# and several ranks must have moved something.
try() {
  local name=$1 ranks=$2 needed=$3 texts=('replay ok' ' 0 wrong bytes')
  shift 3
  while [ "$1" != -- ]; do texts+=("$1"); shift; done
  shift
  if [ "$gpus" -lt "$needed" ]; then
    echo "skipped: $name needs $needed GPUs"
    return
  fi
  local log=$logs/$name.log why='' begin=$SECONDS code=0
  timeout "$CASE_SECONDS" $MPIRUN -np "$ranks" "$BUILD/ballast" replay --backend cuda "$@" \
    --json "$logs/$name.json" > "$log" 2>&1 || code=$?
  [ $code -eq 0 ] || why="exit code $code"
  for text in "${texts[@]}"; do
    grep -qF -- "$text" "$log" || why+="${why:+, }no \"$text\""
  done
  [ "$ranks" -gt 1 ] &&
    ! grep -q '"moves": [1-9]' "$logs/$name.json" 2> /dev/null && why+="${why:+, }nothing moved"
  if [ -z "$why" ]; then
    echo "OK      $name ($((SECONDS - begin)) s): $(grep -E 'epochs, .* committed' "$log" | head -1)"
  else
    failed=1
    echo "FAILED  $name ($why): $MPIRUN -np $ranks $BUILD/ballast replay --backend cuda $*"
    tail -25 "$log" | sed 's/^/        /'
  fi
}

small=(--generate model=deepseek-v2-lite,layers=4,steps=600,tokens_per_step=2048,drift=0.2
       --interval 50 --gain-min 0)
same='all bits identical'

"$BUILD/tests/gpu/replay_gpu_test" --gtest_brief=1 || failed=1
try one-rank 1 1 'weights by local' -- "${small[@]}"
try one-rank-ffn 1 1 "$same" -- "${small[@]}" --ffn --steps 200
CUDA_VISIBLE_DEVICES=0 try shared-gpu-copy 2 1 'weights by copy' 'share a GPU' -- \
  "${small[@]}" --transport copy
try two-copy 2 2 'weights by copy' 'a GPU for each rank' -- "${small[@]}" --transport copy
try two-nccl 2 2 'weights by nccl' -- "${small[@]}" --transport nccl --nccl-ctas 1
try two-auto 2 2 'weights by copy' -- "${small[@]}"
for way in vacate spare staged; do
  try "two-copy-$way" 2 2 'weights by copy' -- "${small[@]}" --transport copy --way $way --spare-rows 1
  try "two-nccl-$way" 2 2 'weights by nccl' -- "${small[@]}" --transport nccl --way $way --spare-rows 1
done
try two-copy-paced 2 2 -- "${small[@]}" --transport copy --bytes-per-step 300000
try two-copy-unpaced 2 2 -- "${small[@]}" --transport copy --bytes-per-step 0 --hash-ctas 64
try two-odd-bytes 2 2 -- "${small[@]}" --transport copy --expert-bytes 100003
try two-ffn-copy 2 2 "$same" -- "${small[@]}" --ffn --transport copy --steps 300
try two-ffn-nccl 2 2 "$same" -- "${small[@]}" --ffn --transport nccl --steps 300
try two-ffn-wide 2 2 "$same" -- "${small[@]:0:2}" --gain-min 0 --interval 20 --ffn \
  --ffn-hidden 2048 --ffn-intermediate 2048 --ffn-tokens 256 --layers 1 --steps 200
# Experts of 42 MiB: 2 layers x 130 rows are 11 GiB on each GPU.
real=(--generate model=deepseek-v3,layers=2,steps=300,tokens_per_step=2048,drift=0.2
      --model deepseek-v3-fp8 --interval 100 --gain-min 0)
try two-real-copy 2 2 'weights by copy' -- "${real[@]}" --transport copy
try two-real-copy-unpaced 2 2 'weights by copy' -- "${real[@]}" --transport copy --bytes-per-step 0
try two-real-nccl 2 2 'weights by nccl' -- "${real[@]}" --transport nccl --bytes-per-step 0
try two-real-drill 2 2 'scheduled anew' -- "${real[@]}" --transport copy --drill checksum:1:0

# More than any GPU has: one line that says so, and no rank that hangs.
log=$logs/too-large.log
code=0
timeout 60 $MPIRUN -np 1 "$BUILD/ballast" replay --backend cuda "${small[@]}" --expert-bytes 99000000000 \
  > "$log" 2>&1 || code=$?
if [ $code -eq 71 ] && grep -q 'bytes of GPU memory are needed' "$log"; then
  echo "OK      too-large: $(grep 'bytes of GPU memory' "$log" | head -1)"
else
  failed=1
  echo "FAILED  too-large: exit code $code, expected 71"
  tail -25 "$log"
fi

[ $failed -eq 0 ] && echo 'replay on GPUs: OK' || echo 'replay on GPUs: FAILED'
exit $failed
