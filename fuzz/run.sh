#!/usr/bin/env bash
# Builds the fuzz targets as cargo-fuzz does without a sanitizer, which needs no nightly toolchain, and runs each for SECONDS (600 if unsaid),
# two at a time: fuzz/run.sh [SECONDS] [TARGET…]. They begin with the examples of the documentation and the golden files. What is found lies in
# fuzz/artifacts/TARGET, what a target said in fuzz/artifacts/TARGET.log. CARGO names another cargo.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-600}
targets=("${@:2}")
[[ ${#targets[@]} -gt 0 ]] || mapfile -t targets < <(basename -s .rs fuzz_targets/*.rs)
passes="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
passes+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
${CARGO:-cargo} run --quiet --release --locked --bin seeds
RUSTFLAGS="$passes --cfg fuzzing -Ccodegen-units=1" ${CARGO:-cargo} build --release --locked --target x86_64-unknown-linux-gnu "${targets[@]/#/--bin=}"
export seconds programs=$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release

fuzz() {
  mkdir -p "artifacts/$1"
  if "$programs/$1" "corpus/$1" -artifact_prefix="artifacts/$1/" -max_total_time="$seconds" -max_len=16384 -rss_limit_mb=2048 \
    -timeout=10 -print_final_stats=1 >"artifacts/$1.log" 2>&1; then
    echo "$1: $(grep -ao 'number_of_executed_units: .*' "artifacts/$1.log"), $(grep -ao 'cov: [0-9]* ft: [0-9]*' "artifacts/$1.log" | tail -n 1)"
  else
    echo "$1: found something, see fuzz/artifacts/$1.log" && return 1
  fi
}
export -f fuzz
printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c 'fuzz {}'
