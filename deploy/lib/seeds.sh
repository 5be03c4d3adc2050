#!/usr/bin/env bash
# Simulated clusters: the museum of past failures, some seeds twice, and as many fresh ones as fit into some minutes.
# seeds.sh [BINARY]: builds the simulation unless it is given one.
set -euo pipefail

# Seeds from the first one on; those that have once failed are in the museum.
first_seed=1000
seeds_max=60
sweep_minutes=4
twice="0..2"

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cd "$repository"
sim="${1:-}"
if [[ -z "$sim" ]]; then
  cargo build -p bellwether-sim --locked
  sim="${CARGO_TARGET_DIR:-target}/debug/bellwether-sim"
fi

"$sim" museum
"$sim" meta --seeds "$twice"
"$sim" run --seeds "$first_seed..$((first_seed + seeds_max))" --jobs 2 --for "$sweep_minutes" --quiet
