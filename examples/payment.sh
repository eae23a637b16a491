#!/usr/bin/env bash
# Record a payment exactly once, however often this is run, and whatever happens to the answers.
#
#   examples/payment.sh ORDER AMOUNT NODE...
#   examples/payment.sh 41 12.50 http://127.0.0.1:8000 http://127.0.0.1:8010
#
# Two guards, because a result is kept under its Idempotency-Key for 15 minutes at least, and not for ever:
#   Idempotency-Key   a repetition within that time changes nothing, and is told the first result
#   If-None-Match: *  a later one finds the payment there (412), and compares it
#
# Exit codes: 0 the payment is recorded, 1 it is not, 4 not known: run it again with the same words.
set -euo pipefail

if (($# < 3)); then
    echo 'usage: payment.sh ORDER AMOUNT NODE...' >&2
    exit 2
fi
order=$1 amount=$2
shift 2

readonly PATIENCE_S=${PATIENCE_S:-60}
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# Ask one node; print the status. "refused": nothing was sent. "broken": it was sent, and no answer came.
ask() {
    local node=$1 code=0 status
    shift
    status=$(curl -sS -o "$answer" -w '%{http_code}' --max-time 10 "$@" \
        "$node/v1/kv/payments%2F$order?timeout=2s" 2>/dev/null) || code=$?
    case $code in
        0) echo "$status" ;;
        6 | 7) echo refused ;; # no such host, no connection
        *) echo broken ;;
    esac
}

pay() {
    ask "$1" -X PUT -H "Idempotency-Key: payment-$order" -H 'If-None-Match: *' \
        -H 'Content-Type: text/plain' --data-binary "$amount"
}

# 412: there is a payment for this order. Is it this one?
compare() {
    local node=$1 status
    status=$(ask "$node")
    if [[ $status != 200 ]]; then
        return # not readable just now: go round again
    elif [[ $(<"$answer") == "$amount" ]]; then
        echo "order $order: already paid, $amount"
        exit 0
    fi
    echo "order $order: not paid: another amount is recorded, $(<"$answer")" >&2
    exit 1
}

maybe_applied=
while ((SECONDS < PATIENCE_S)); do
    for node in "$@"; do
        status=$(pay "$node")
        case $status in
            201)
                echo "order $order: paid, $amount"
                exit 0
                ;;
            412) compare "$node" ;;
            422)
                echo "order $order: not paid: it was ordered with another amount a short while ago" >&2
                exit 1
                ;;
            refused | 408 | 429 | 503 | 507) ;;      # this copy was not applied; an earlier one may have been
            broken | 500 | 504) maybe_applied=yes ;; # it may have been: repeat it, which is safe
            *)
                if [[ ! $maybe_applied ]]; then
                    echo "order $order: not paid: $status $(<"$answer")" >&2
                    exit 1
                fi
                ;;
        esac
        sleep 0.2
    done
done
if [[ $maybe_applied ]]; then
    echo "order $order: it is not known whether it is paid; run this again" >&2
    exit 4
fi
echo "order $order: not paid: no node could take it" >&2
exit 1
