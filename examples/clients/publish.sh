#!/bin/sh
# Publishes JSON lines and waits until each document can be found (Debian: amqp-tools, jq):
#     publish.sh amqp://guest:guest@127.0.0.1:5672/%2f INDEX FILE
# amqp-publish knows no confirms, so what counts here is the receipt: what has none is published again.
set -eu
url=$1 index=$2 file=$3
work=$(mktemp -d)
queue=receipts-$(basename "$work")
# Errors are no news here: what did not get through has no receipt.
trap 'amqp-delete-queue --url="$url" --queue="$queue" >"$work/deleted" 2>&1 || :; rm -rf "$work"' EXIT
grep . "$file" >"$work/waiting"
: >"$work/receipts"
while [ -s "$work/waiting" ]; do
    amqp-declare-queue --url="$url" --queue="$queue" --durable >"$work/declared" &&
        amqp-publish --url="$url" --exchange=warren.documents --routing-key="$index" --persistent \
            --content-type=application/json --reply-to="$queue" --line-buffered <"$work/waiting" || sleep 1
    # All receipts, or those of what got through: ten seconds for that.
    timeout 10 amqp-consume --url="$url" --queue="$queue" --count="$(wc -l <"$work/waiting")" cat >>"$work/receipts" || sleep 1
    # A document whose id is refused cannot be told from the others: that is for a person.
    jq -c 'select(.status == "rejected" and .id == null)' "$work/receipts" >"$work/nameless"
    if [ -s "$work/nameless" ]; then cat "$work/nameless" && exit 1; fi
    # Left are the lines whose id is in no receipt. To publish a document twice does no harm: its id makes it one.
    jq -nRr --slurpfile receipts "$work/receipts" '
        ($receipts | map({(.id | tostring): true}) | add) as $done
        | inputs | select($done[fromjson.id | tostring] | not)' "$work/waiting" >"$work/left"
    mv "$work/left" "$work/waiting"
done
jq -c . "$work/receipts"
! grep -q '"status":"rejected"' "$work/receipts"
