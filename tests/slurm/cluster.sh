#!/bin/bash
# A real Slurm cluster inside one machine, for tests: munged, slurmctld and one slurmd per node.
#
#   cluster.sh up DIR [NODES]     start it; everything of it lives in DIR
#   cluster.sh exec DIR COMMAND   run a command (sbatch, squeue, ...) on the first node
#   cluster.sh down DIR           end every process of it; DIR stays, for its logs
#
# As root, where the kernel allows it, each node is a set of namespaces with a host name, an
# address, a /dev/shm and process ids of its own, wired to a bridge on node 1 that leads nowhere
# else ("namespaces"). Otherwise all nodes are slurmds of this host on ports of their own
# ("processes"). `up` prints which. A node ends itself after LIFETIME seconds, so a test that was
# killed leaves nothing behind for long. DIR is best a short path: it holds sockets.
set -euo pipefail

: "${LIFETIME:=900}"
: "${CLUSTER_MODE:=auto}" # auto | namespaces | processes
usage() { sed -n '4,6s/^# *//p' "$0" >&2; exit 64; }
[ $# -ge 2 ] || usage
verb=$1 dir=$2
shift 2
PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF=$dir/slurm.conf

node_names() { seq -f 'n%g' 1 "$(cat "$dir/nodes")"; }
in_namespaces() { [ "$(cat "$dir/mode")" = namespaces ]; }

can_make_namespaces() {
  [ "$(id -u)" = 0 ] &&
    unshare --net --uts --mount --ipc --pid --fork --kill-child --mount-proc sh -c '
    mount -t tmpfs shm /dev/shm && ip link add br0 type bridge &&
    ip link add a0 type veth peer name a1' 2> "$dir/log/namespaces"
}

# Runs a command on a node. The holder is the unshare process; its child is the node's process 1.
on_node() {
  local holder
  in_namespaces || { shift; "$@"; return; }
  holder=$(cat "$dir/run/$1.pid")
  shift
  nsenter --net="/proc/$holder/ns/net" --uts="/proc/$holder/ns/uts" --mount="/proc/$holder/ns/mnt" \
    --ipc="/proc/$holder/ns/ipc" --pid="/proc/$holder/ns/pid_for_children" --wdns="$PWD" -- "$@"
}

boot_namespaces() { # NODE
  local node=$1 number=${1#n} holder
  # Process 1 is a shell so that somebody reaps orphans.
  setsid unshare --net --uts --mount --ipc --pid --fork --kill-child=KILL --mount-proc \
    bash -c "echo > $dir/run/$node.ready; sleep $LIFETIME & wait" \
    > /dev/null 2> "$dir/log/$node.boot" < /dev/null &
  holder=$!
  echo $holder > "$dir/run/$node.pid"
  until [ -e "$dir/run/$node.ready" ]; do
    kill -0 $holder || { cat "$dir/log/$node.boot" >&2; return 1; }
    sleep 0.02
  done
  on_node "$node" sh -c "hostname $node; mount -t tmpfs -o mode=1777 shm /dev/shm
    mount --bind $dir/hosts /etc/hosts; ip link set lo up"
  if [ "$number" = 1 ]; then
    on_node n1 sh -c 'ip link add br0 type bridge
      ip addr add 10.77.0.1/24 dev br0; ip link set br0 up'
  else
    on_node n1 sh -c "ip link add p$number type veth peer name eth0 netns /proc/self/fd/3
      ip link set p$number master br0 up" 3< "/proc/$holder/ns/net"
    on_node "$node" sh -c "ip addr add 10.77.0.$number/24 dev eth0; ip link set eth0 up"
  fi
}

# Starts a daemon. Those of namespaces end with them; otherwise the process number is kept for
# `down`.
start() { # NODE NAME COMMAND...
  local node=$1 name=$2
  shift 2
  set -- setsid timeout --kill-after=5 "$LIFETIME" "$@"
  if in_namespaces; then
    on_node "$node" "$@" > "$dir/log/$name.out" 2>&1 < /dev/null &
  else
    "$@" > "$dir/log/$name.out" 2>&1 < /dev/null &
    echo $! > "$dir/run/$name.pid"
  fi
}

write_configuration() { # NODES
  local base=$((20000 + $$ % 10000)) controller node number address
  mkdir -p "$dir"/{run,log,state,spool,tmp}
  chmod 755 "$dir" "$dir"/*
  (umask 077; head -c 1024 /dev/urandom > "$dir/munge.key")
  echo "$1" > "$dir/nodes"
  if [ "$CLUSTER_MODE" = auto ]; then
    if can_make_namespaces; then CLUSTER_MODE=namespaces; else CLUSTER_MODE=processes; fi
  fi
  echo "$CLUSTER_MODE" > "$dir/mode"
  if in_namespaces; then controller='n1(10.77.0.1)'; else controller="$(hostname -s)(127.0.0.1)"; fi
  echo "127.0.0.1 localhost" > "$dir/hosts"
  # config_overrides: more CPUs than the machine has. The time-outs are long because everything
  # shares few cores.
  cat > "$SLURM_CONF" << S
ClusterName=ballast
SlurmctldHost=$controller
SlurmctldPort=$base
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.sock
MpiDefault=pmix
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
MailProg=/bin/true
MessageTimeout=60
TCPTimeout=30
KillWait=10
MinJobAge=600
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
TmpFS=$dir/tmp/%n
SlurmctldPidFile=$dir/run/slurmctld
SlurmdPidFile=$dir/run/slurmd-%n
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/slurmd-%n
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
S
  for node in $(node_names); do
    number=${node#n}
    mkdir -p "$dir/tmp/$node" "$dir/spool/$node"
    address="NodeHostname=$(hostname -s) NodeAddr=127.0.0.1"
    if in_namespaces; then address="NodeAddr=10.77.0.$number"; fi
    echo "NodeName=$node $address Port=$((base + number)) CPUs=4 RealMemory=1000" >> "$SLURM_CONF"
    echo "10.77.0.$number $node" >> "$dir/hosts"
  done
}

up() {
  local node idle=0
  write_configuration "${1:-2}"
  if in_namespaces; then for node in $(node_names); do boot_namespaces "$node"; done; fi
  start n1 munged munged --foreground --key-file="$dir/munge.key" --socket="$dir/run/munge.sock" \
    --pid-file="$dir/run/munged" --log-file="$dir/log/munged" \
    --seed-file="$dir/state/munge.seed" --num-threads=2
  for _ in {1..200}; do [ -S "$dir/run/munge.sock" ] && break; sleep 0.05; done
  start n1 slurmctld slurmctld -D -c
  for node in $(node_names); do start "$node" "slurmd-$node" slurmd -D -N "$node"; done
  for _ in {1..300}; do
    idle=$(on_node n1 sinfo -h -N -o %T 2> "$dir/log/sinfo" | grep -c '^idle$' || true)
    [ "$idle" = "${1:-2}" ] && { echo "$idle nodes as $(cat "$dir/mode")"; return; }
    sleep 0.1
  done
  echo "Slurm did not start: $idle of ${1:-2} nodes idle; the logs end with" >&2
  tail -n 4 "$dir"/log/* >&2
  return 1
}

run_command() {
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 TMPDIR=$dir/tmp
  # On one host all nodes would share one set of shared-memory files, named by host: TCP between all
  # ranks instead.
  in_namespaces ||
    export OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
  on_node n1 "$@"
}

# Ours belongs to this cluster by its environment; never a process that got the number later. False
# for a zombie.
is_ours() { grep -qzxF "SLURM_CONF=$SLURM_CONF" "/proc/$1/environ" 2> /dev/null; }

down() {
  local signal=KILL pids='' pid
  [ -e "$dir/mode" ] || return 0
  if ! in_namespaces; then
    signal=TERM
    # Without process-id namespaces only Slurm can find the processes of its jobs.
    timeout 20 scancel --user="$(id -un)" 2> "$dir/log/down" || true
    for _ in {1..150}; do
      [ -z "$(timeout 20 squeue -h 2>> "$dir/log/down")" ] && break
      sleep 0.1
    done
  fi
  pids=$(cat "$dir"/run/*.pid)
  for pid in $pids; do if is_ours "$pid"; then kill -$signal "$pid"; fi; done
  for pid in $pids; do while is_ours "$pid"; do sleep 0.05; done; done
  rm -f "$dir"/run/*.pid
}

case $verb in
  up) up "$@" ;;
  exec) run_command "$@" ;;
  down) down ;;
  *) usage ;;
esac
