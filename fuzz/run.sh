#!/usr/bin/env bash
# Builds the fuzz targets as cargo-fuzz does without a sanitizer, which needs no nightly toolchain, and runs each for SECONDS (600 if unsaid):
# fuzz/run.sh [SECONDS] [TARGET…]. What is found lies in fuzz/artifacts/TARGET. CARGO names another cargo.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-600}
targets=("${@:2}")
[[ ${#targets[@]} -gt 0 ]] || targets=(query_text query_tree batch rpc catalog announcement)
passes="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
passes+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="$passes --cfg fuzzing -Ccodegen-units=1" ${CARGO:-cargo} build --release --target x86_64-unknown-linux-gnu
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target" "artifacts/$target"
  "target/x86_64-unknown-linux-gnu/release/$target" "corpus/$target" "seeds/$target" -artifact_prefix="artifacts/$target/" \
    -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=5 -print_final_stats=1
done
