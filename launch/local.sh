#!/usr/bin/env bash
# launch/local.sh [PROCESSES] [flags of charrnn.train]: one machine; without a number a process for every GPU, or one
# with all cores. Processes on CPUs share the cores evenly among their threads.
set -euo pipefail
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
    processes=$1
    shift
else
    processes=$(python -c 'import torch; print(torch.cuda.device_count() or 1)')
fi
# Without SIGHUP, which torchrun would handle where nohup wants it ignored, too. A trainer whose launcher it ends saves.
exec torchrun --standalone --nproc-per-node "$processes" --signals-to-handle SIGTERM,SIGINT,SIGQUIT,SIGUSR1 \
    -m charrnn.train "$@"
