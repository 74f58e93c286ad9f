#!/bin/bash
# Submits the job scripts to a real Slurm of two nodes and checks how the jobs end: by themselves,
# by bad input, by USR1 (drain, be requeued, go on) and by scancel. 77 where Slurm cannot run.
#   slurm_test.sh BALLAST_PROGRAM
set -euo pipefail
BALLAST=$1
here=$(cd "$(dirname "$0")" && pwd)
jobs=$(cd "$here/../../jobs" && pwd)
export BALLAST PATH=$PATH:/usr/sbin:/sbin
failed=0

skip() { echo "SKIP: $1"; exit 77; }
for tool in munged slurmctld slurmd sbatch srun scontrol mpirun; do
  [ -n "$(type -P $tool)" ] ||
    skip "there is no $tool; jobs/install_dependencies.sh --tests installs it"
done

dir=$(mktemp -d /tmp/ballast-slurm.XXXXXX) # short, because sockets live in it
trap '"$here/cluster.sh" down "$dir"; rm -rf "$dir"' EXIT
"$here/cluster.sh" up "$dir" 2 2> "$dir/why" ||
  skip "Slurm does not start here: $(tail -n 5 "$dir/why" | tr '\n' ' ')"
mkdir "$dir/work"
cd "$dir/work"

slurm() { "$here/cluster.sh" exec "$dir" "$@"; }
check() { # CLAIM ACTUAL EXPECTED
  if [ "$2" = "$3" ]; then echo "ok      $1"; else echo "FAILED  $1: '$2', not '$3'"; failed=1; fi
}
field() { slurm scontrol show job -o "$1" | grep -o " $2=[^ ]*" | head -n 1 | cut -d= -f2; }
output() { cat "ballast-replay-$1.out" 2> /dev/null || true; }
give_up() { # JOB WHY
  echo "FAILED  $2; its output:"
  output "$1"
  tail -n 8 "$dir"/log/{slurmctld,slurmd-n1,slurmd-n2}
  exit 1
}
check_saved() { # CLAIM JOB
  check "$1: the placement is saved" "$(grep -c ballast.placement "ballast-replay-$2.json")" 1
}
await() { # JOB STATE
  local state
  for _ in {1..600}; do
    state=$(field "$1" JobState)
    case $state in "$2") return ;; COMPLETED | FAILED | CANCELLED | NODE_FAIL) break ;; esac
    sleep 0.1
  done
  give_up "$1" "job $1 is $state, not $2"
}
# Until the job has printed rows of epochs beyond those it had.
rows() { output "$1" | grep -c '^ *[0-9][0-9]* ' || true; }
await_rows() { # JOB ROWS_BEFORE
  for _ in {1..600}; do [ "$(rows "$1")" -gt "$2" ] && return; sleep 0.1; done
  give_up "$1" "job $1 prints no epochs"
}
# A small model; what differs is how long it runs.
submit() { # SCRIPT STEPS [SBATCH_OPTION...]
  local script=$1 steps=$2
  shift 2
  LOAD=${LOAD:---generate=model=deepseek-v2-lite,layers=2,steps=$steps,tokens_per_step=64,seed=1} \
    slurm sbatch --parsable --nodes=2 --ntasks-per-node=2 "$@" "$jobs/$script" \
    --slots-per-rank 18 --expert-bytes 4096 --interval 50 --json result.json
}
json() { tr -d ' \n' < result.json | grep -o "\"$1\":[^,}]*" | tail -n 1 | cut -d: -f2; }
endless=2000000 # hours; a step costs the replay a few bytes of memory

for script in replay.sbatch replay-mpirun.sh; do
  job=$(submit $script 400)
  await "$job" COMPLETED
  check "$script: the replay ends well" "$(field "$job" ExitCode)" 0:0
  check "$script: on two nodes" "$(field "$job" NodeList)" 'n[1-2]'
  check "$script: four ranks take part" "$(json ranks)" 4
  check "$script: every slot holds the right bytes" "$(json wrong_bytes)" 0
  check "$script: weights crossed between the nodes" "$(($(json remote) > 0))" 1
  check_saved "$script" "$job"
done

job=$(LOAD=--trace=missing.json submit replay.sbatch 0)
await "$job" FAILED
check "bad input: the job fails with its code" "$(field "$job" ExitCode)" 65:0
check "bad input: the file is named once" "$(output "$job" | grep -c 'missing\.json')" 1

echo '{' > damaged.json # so that it shows whether a start reads what an earlier one saved
job=$(STATE=damaged.json submit replay.sbatch 400)
await "$job" FAILED
check "a damaged saved placement is refused" "$(field "$job" ExitCode)" 65:0
check "a damaged saved placement is named" "$(output "$job" | grep -c 'damaged\.json')" 1

job=$(REQUEUES=1 submit replay.sbatch $endless)
await_rows "$job" 0
slurm scancel --signal=USR1 "$job"
await "$job" PENDING
check "USR1: the job is requeued" "$(field "$job" Restarts)" 1
check "USR1: the ranks ended with 75" "$(output "$job" | grep -c 'start 0, ended with 75')" 1
check_saved USR1 "$job"
# The two minutes that Slurm lets pass before a restart are not waited for; the old step must be
# gone, though.
for _ in {1..300}; do
  compgen -G "$dir/spool/*/stepd.slurm.pmix.$job.0" > /dev/null || break
  sleep 0.1
done
before=$(rows "$job")
slurm scontrol update "jobid=$job" starttime=now
await_rows "$job" "$before"
slurm scancel --signal=USR1 "$job"
await "$job" FAILED
check "USR1: not requeued for ever" "$(field "$job" ExitCode)" 75:0

job=$(submit replay.sbatch $endless)
await_rows "$job" 0
slurm scancel "$job"
await "$job" CANCELLED
for _ in {1..100}; do output "$job" | grep -q 'ended with' && break; sleep 0.1; done
check "scancel: the ranks ended with 143" "$(output "$job" | grep -c 'start 0, ended with 143')" 1
check_saved scancel "$job"

job=$(submit replay-mpirun.sh $endless)
await_rows "$job" 0
slurm scancel --batch --signal=USR1 "$job"
await "$job" FAILED
check "USR1 under mpirun: the ranks end with 75" "$(field "$job" ExitCode)" 75:0
check_saved "USR1 under mpirun" "$job"
exit $failed
