#!/usr/bin/env bash
# What one GPU has to show, the most important first. It can be cut off at any time: what is done is not done again.
#
#     OUT=results benchmarks/on_a_gpu.sh TEXTS [PHASE...]
#
# TEXTS is a folder with tinyshakespeare.txt and warpeace.txt. Phases, all of them unless some are named, with minutes
# for an H100 (records/2026-11-27-gpu.md has what A, B and D showed there):
#
#     A  the tests that need a GPU, and the table of 1x1024 cells, 64 rows of 64 characters    4
#     B  the gpu preset on tiny Shakespeare to its end, both roads, and in half precision      3
#     C  several processes on one GPU, the table of the other shapes, the first step           7
#     D  three seeds of each arithmetic                                                        6
#     E  a minute of the best preset, and War and Peace                                        7
#
# $OUT/results.jsonl has a line for each figure, $OUT/log all that was printed, $OUT/done the names of what is done:
# with that file in $OUT another machine goes on. A step ends after three times its guess. Runs are written to $WORK, by default a folder beside. $PYTHON has
# charrnn and its test tools installed. REHEARSE=1 goes through everything on a CPU, with tiny sizes; its figures mean
# nothing.
set -u

texts=$(cd "${1:?folder of texts}" && pwd) || exit 2
shift
phases=${*:-A B C D E}
python=$(command -v "${PYTHON:-python}") || { echo "there is no ${PYTHON:-python}"; exit 2; }
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
mkdir -p "${OUT:=results}" "${WORK:=$OUT-runs}"
OUT=$(cd "$OUT" && pwd) WORK=$(cd "$WORK" && pwd)
cd "$(dirname "$0")/.." || exit 2
touch "$OUT/done" "$OUT/results.jsonl"
export PYTHONUNBUFFERED=1 WANDB_MODE=offline WANDB_SILENT=true XDG_CACHE_HOME="${XDG_CACHE_HOME:-$WORK/cache}"
shakespeare=$texts/tinyshakespeare.txt tolstoy=$texts/warpeace.txt
failed=0

# step NAME SECONDS COMMAND...: does what is not done, says how long it may take, and keeps its lines of JSON.
step() {
    local name=$1 guess=$2 began=$SECONDS code
    shift 2
    [ -z "${REHEARSE:-}" ] || guess=$((10 * guess))
    : >"$WORK/last"
    grep -qx "$name" "$OUT/done" && { echo "== $name: done before"; return; }
    echo "== $name, about $guess s: $*" | tee -a "$OUT/log"
    timeout -k 9 $((3 * guess)) "$@" 2>&1 | tee -a "$OUT/log" "$WORK/last"
    code=${PIPESTATUS[0]}
    grep '^{.*}$' "$WORK/last" | sed "s/^{/{\"step\": \"$name\", /" >>"$OUT/results.jsonl"
    if [ "$code" = 0 ]; then echo "$name" >>"$OUT/done"; else failed=1; fi
    echo "== $name: code $code after $((SECONDS - began)) s" | tee -a "$OUT/log"
}

precisions=(tf32 fp16 bf16 "true bf16" float32) half=(fp16 bf16)
tiny=() brief=() few=() minute=(--minutes 1)
if [ -n "${REHEARSE:-}" ]; then
    tiny=(--hidden-size 16 --embedding-size 16 --batch-size 8 --seq-length 16 --val-characters 2000)
    tiny+=(--sample-length 20 --num-threads 1)
    brief=("${tiny[@]}" --turns 1 --seconds 0.05) few=(--max-steps 30 --eval-every 10)
    precisions=(tf32 float32) half=(float32) minute=()
fi
table() { # NAME SECONDS FLAGS...
    local name=$1 guess=$2
    shift 2
    step "table $name" "$guess" "$python" benchmarks/gpu_table.py "$shakespeare" --precisions "${precisions[@]}" \
        "$@" "${brief[@]}"
}
run() { # NAME SECONDS FLAGS...
    local name=$1 guess=$2
    shift 2
    step "run $name" "$guess" "$python" benchmarks/speedrun.py "$WORK/${name// /-}" --tracker none "$@" \
        "${tiny[@]}" "${few[@]}"
}
on_shakespeare() { run "$@" --corpus "files:$shakespeare" --preset gpu --eval-every 122; }

has() { [[ " $phases " == *" $1 "* ]]; }

"$python" -c "import torch, charrnn; print(torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())" \
    2>&1 | tee -a "$OUT/log"
[ "${PIPESTATUS[0]}" = 0 ] || { echo "install charrnn first, for $python"; exit 2; }

if has A; then
    step tests 110 "$python" -m pytest -q -n 6 --timeout 200 -m "not slow" tests/training/test_gpu.py
    table "1x1024 64x64, embedding 128" 60 --preset gpu --embedding-size 128
    table "1x1024 64x64" 60 --preset gpu
fi
if has B; then
    on_shakespeare "gpu eager" 35 --no-cuda-graphs --precision float32
    on_shakespeare "gpu graphs" 28 --precision float32
    for precision in "${half[@]}"; do
        on_shakespeare "gpu graphs $precision 128" 25 --precision "$precision" --embedding-size 128
    done
fi
if has C; then
    step "tests of several processes" 90 "$python" -m pytest -q -n 3 --timeout 200 -m slow tests/training/test_gpu.py
    table "2x1024 128x128" 80 --preset gpu --num-layers 2 --embedding-size 128 --batch-size 128 --seq-length 128
    table laptop 60 --preset laptop
    table laptop-long 60 --preset laptop-long
    step start 60 "$python" benchmarks/train_speed.py "$shakespeare" --preset gpu --turns 2 --steps 100 --starts 2 \
        "${tiny[@]}"
fi
if has D; then
    for seed in 1 2 3; do
        for precision in --no-tf32 --precision=float32 "${half[@]/#/--precision=}"; do
            on_shakespeare "seed $seed ${precision#--}" 28 --embedding-size 128 --seed $seed "$precision"
        done
    done
fi
if has E; then
    run "laptop-long" 50 --corpus "files:$shakespeare" --preset laptop-long --eval-every 980
    run "a minute" 90 --corpus "files:$shakespeare" "${minute[@]}"
    run "war and peace" 180 --corpus "files:$tolstoy" --preset laptop-long --hidden-size 1024 --epochs 15 \
        --val-fraction 0.1 --test-fraction 0.1 --dropout 0.2 --weight-decay 0.07 --learning-rate 2.5e-3
    step "war and peace, test" 20 "$python" -c "from charrnn.cli import main; raise SystemExit(main())" \
        eval "$WORK/war-and-peace" --split test --trust
fi
echo "== done: $(wc -l <"$OUT/done") steps; $OUT/results.jsonl has $(wc -l <"$OUT/results.jsonl") lines"
exit $failed
