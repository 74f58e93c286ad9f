#!/bin/bash
# The main job from a fresh clone: installs what is missing, builds the program `ballast` and
# replays a generated load on NP ranks of this machine. The experts' weights live in host memory;
# ranks count as nodes of four.
#   ./jobs/demo.sh [more options of `ballast replay`]
set -euo pipefail
cd "$(dirname "$0")/.."

: "${NP:=8}"
: "${BUILD_JOBS:=$(nproc)}"
export NP

closing_line() {
  local code=$?
  if [ $code -eq 0 ]; then
    echo "demo: ok, $SECONDS s in all"
  else
    echo "demo: FAILED with exit code $code after $SECONDS s"
  fi
}
trap closing_line EXIT

jobs/install_dependencies.sh
if command -v ninja > /dev/null; then export CMAKE_GENERATOR=Ninja; fi
cmake --preset release -DBUILD_TESTING=OFF
cmake --build --preset release --target ballast_cli --parallel "$BUILD_JOBS"

jobs/replay-mpirun.sh --slots-per-rank 9 --expert-bytes 262144 --interval 100 --ranks-per-node 4 \
  --verify full "$@"
