#!/usr/bin/env bash
# launch/local.sh [PROCESSES] [flags of charrnn.train]: one machine; without a number a process for every GPU, or one
# with all cores. Processes on CPUs share the cores evenly among their threads.
set -euo pipefail
processes=1
if nvidia-smi --list-gpus &>/dev/null; then
    processes=gpu
fi
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
    processes=$1
    shift
fi
exec torchrun --standalone --nproc-per-node "$processes" --signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 \
    -m charrnn.train "$@"
