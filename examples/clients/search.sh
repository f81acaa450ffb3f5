#!/bin/sh
# Searches over AMQP and prints the answer (Debian: amqp-tools, jq):
#     search.sh amqp://guest:guest@127.0.0.1:5672/%2f INDEX 'words to find'
set -eu
url=$1 index=$2 query=$3
work=$(mktemp -d)
queue=search-$(basename "$work")
trap 'amqp-delete-queue --url="$url" --queue="$queue" >"$work/deleted" 2>&1 || :; rm -rf "$work"' EXIT
amqp-declare-queue --url="$url" --queue="$queue" --durable >"$work/declared"
jq -nc --arg query "$query" '{query: $query, limit: 10, timeout_ms: 10000}' |
    amqp-publish --url="$url" --exchange=warren.search --routing-key="$index" \
        --content-type=application/json --reply-to="$queue"
timeout 11 amqp-consume --url="$url" --queue="$queue" --count=1 cat >"$work/answer" ||
    { echo "no answer within 10 s: does a query service run?" >&2; exit 1; }
jq -c . "$work/answer"
# Anything else than hits is a problem.
jq -e 'has("hits")' "$work/answer" >"$work/found"
