#!/usr/bin/env bash
# Every command once, through an installed lthrun: smoke.sh PATH_TO_LTHRUN
set -euo pipefail
lthrun=$(realpath "$1")
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
run() { echo "+ lthrun $*" >&2; "$lthrun" "$@"; }

run --version
run --help > /dev/null
run list > /dev/null
run schedule agp > /dev/null
run config check configs/*.yaml configs/*/*.yaml
run config show supermask > "$out/shown.yaml"
run config check "$out/shown.yaml"
run config schema | cmp - configs/schema.json
run config schema --of summary > /dev/null
run data prepare --config configs/smoke/baseline.yaml
run data info --config configs/smoke/baseline.yaml --json > /dev/null
small=(--out "$out/runs" --epochs 2 --quiet)
fast=(--set data.image_size=16 --batch-norm initial)
run baseline --config configs/smoke/baseline.yaml "${small[@]}"
run ticket --config configs/smoke/ticket.yaml "${small[@]}" --steps 1 --dry-run
run ticket --config configs/smoke/ticket.yaml "${small[@]}" --steps 1 --json > "$out/summary.json"
run ticket --config configs/smoke/rewind.yaml "${small[@]}" --steps 1
run ticket --config configs/smoke/ticket.yaml "${small[@]}" --steps 1 --protocol fasterai
run ticket --config configs/smoke/ticket.yaml "${small[@]}" --steps 1 --retrain lr --set training.schedule=cosine
run prune --config configs/smoke/prune.yaml "${small[@]}"
run supermask --config configs/smoke/supermask.yaml "${small[@]}" --steps 1
run supermask --config configs/smoke/edge-popup.yaml "${small[@]}" "${fast[@]}"
run supermask --config configs/smoke/bernoulli.yaml "${small[@]}" "${fast[@]}"
run connectivity --config configs/smoke/connectivity.yaml "${small[@]}" --rewind-points 0ep --set connectivity.points=3
run compare --config configs/smoke/compare.yaml "${small[@]}" --dry-run
run compare --config configs/smoke/compare.yaml "${small[@]}" --arms dense,ticket --seeds 1
run sweep ticket --config configs/smoke/ticket.yaml "${small[@]}" --grid pruning.steps=1,2 --dry-run
run sweep ticket --config configs/smoke/ticket.yaml "${small[@]}" --grid pruning.steps=1 --grid pruning.criterion=large_final,random --jobs 2
run reproduce fasterai-tutorial --config configs/smoke/tutorial.yaml --quick --seeds 1 --out "$out/runs" --quiet
run bench --config configs/smoke/baseline.yaml --set data.image_size=16 --rounds 1 --steps 1
run bench --config configs/smoke/baseline.yaml --set data.image_size=16 --steps 1 --profile > /dev/null
run resume "$out"/runs/baseline-* --quiet
run report "$out"/runs/ticket-* "$out"/runs/supermask-* --tensorboard "$out/events" > /dev/null
run runs --out "$out/runs"
run runs clean --out "$out/runs"
echo "smoke: every command ran"
