#!/usr/bin/env bash
# launch/local.sh PROCESSES [flags of charrnn.train]: one machine, so many processes; on GPUs one each.
set -euo pipefail
processes=${1:?usage: launch/local.sh PROCESSES [flags of charrnn.train]}
shift
exec torchrun --standalone --nproc-per-node "$processes" --signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 \
    -m charrnn.train "$@"
