#!/bin/bash
#SBATCH --job-name=ballast-replay
#SBATCH --signal=B:USR1@120
#SBATCH --output=%x-%j.out

# Replays expert loads under mpirun: on this machine, or on all nodes of a Slurm allocation, from
# the repository's root:
#
#   NP=4 jobs/replay-mpirun.sh [options of `ballast replay`]
#   sbatch --nodes=2 --ntasks-per-node=2 jobs/replay-mpirun.sh
#
# mpirun takes this shell's place, so signals sent to the script reach mpirun. USR1 goes on to every
# rank: the ranks save the placement and exit with 75. On TERM mpirun ends the ranks and exits with
# 1 whatever they answer; a scancel hits mpirun and its daemons all at once, and then the ranks may
# not get the time to save (replay.sbatch gives it to them).
set -euo pipefail

: "${BALLAST:=build/release/ballast}"
spec=model=deepseek-v2-lite,layers=8,steps=800,tokens_per_step=512,domains=2,domain_steps=400,drift=0.005,seed=1
: "${LOAD:=--generate=$spec}" # or --trace=FILE
: "${NP:=${SLURM_NTASKS:-8}}"
: "${STATE:=${SLURM_JOB_ID:+ballast-replay-$SLURM_JOB_ID.json}}" # without Slurm every run starts afresh
[ $# -gt 0 ] || set -- --slots-per-rank 9 --expert-bytes 262144 --interval 100

# More ranks than cores is allowed here, and then ranks must yield the core when they wait.
export OMPI_MCA_mpi_yield_when_idle="${OMPI_MCA_mpi_yield_when_idle:-1}"
[ -n "${SLURM_JOB_ID:-}" ] || export OMPI_MCA_rmaps_base_oversubscribe=1
# Ballast binds its planner's thread itself, off the core of the rank.
export OMPI_MCA_hwloc_base_binding_policy="${OMPI_MCA_hwloc_base_binding_policy:-none}"
# Seconds between TERM and KILL; by default 1, which a busy machine may need just to wake the ranks.
export OMPI_MCA_odls_base_sigkill_timeout="${OMPI_MCA_odls_base_sigkill_timeout:-5}"
if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi

exec mpirun -np "$NP" "$BALLAST" replay "$LOAD" ${STATE:+--state "$STATE"} "$@"
