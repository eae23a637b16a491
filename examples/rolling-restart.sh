#!/usr/bin/env bash
# Restart (or upgrade) all nodes, one after the other, and never while something is missing already.
#
#   examples/rolling-restart.sh COMMAND NAME=URL...
#   examples/rolling-restart.sh ./restart a=http://10.0.0.1:8000 b=http://10.0.0.2:8000 c=http://10.0.0.3:8000
#
# COMMAND NAME must end the node, wait for the end of its process, and start it again: for example a script with
# `ssh "$1" systemctl restart ringkeep`. `ringkeep wait healthy` waits in the same way, where it is installed.
#
# Exit codes: 0 all are restarted and healthy, 1 stopped: a node was not healthy in time, or COMMAND failed.
set -euo pipefail

if (($# < 2)); then
    echo 'usage: rolling-restart.sh COMMAND NAME=URL...' >&2
    exit 2
fi
command=$1
shift
readonly PATIENCE_S=${PATIENCE_S:-600}

# A node is well if it is ready, and sees every partition with all of its copies in sync: then one more failure
# does no harm. Every node is asked, because one that was cut off would not know what is missing.
is_well() {
    curl -fsS --max-time 5 -o /dev/null "$1/readyz" 2>/dev/null &&
        curl -fsS --max-time 5 "$1/metrics" 2>/dev/null | grep '^ringkeep_health{state="healthy"} 1' >/dev/null
}

wait_until_all_are_well() {
    local deadline=$((SECONDS + PATIENCE_S)) node
    for node in "$@"; do
        until is_well "${node#*=}"; do
            if ((SECONDS >= deadline)); then
                echo "${node%%=*} is not healthy after $PATIENCE_S s; nothing more is restarted. It says:" >&2
                curl -sS --max-time 5 "${node#*=}/readyz?verbose" >&2 || true
                curl -sS --max-time 5 "${node#*=}/v1/cluster" >&2 || true
                return 1
            fi
            sleep 0.5
        done
    done
}

wait_until_all_are_well "$@"
for node in "$@"; do
    echo "restarting ${node%%=*}"
    "$command" "${node%%=*}"
    wait_until_all_are_well "$@"
done
echo 'all nodes are restarted, and the cluster is healthy'
