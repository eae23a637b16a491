#!/usr/bin/env bash
# A cluster of three nodes on this machine, by hand: what `ringkeep up` does, as plain commands.
#
#   examples/three-nodes.sh start          ZooKeeper and the nodes a, b and c, in the background
#   examples/three-nodes.sh stop           all of them, the nodes first; the data stays
#   examples/three-nodes.sh restart NAME   one node
#
# From the environment: DATA (./three-nodes), BASE_PORT (8000; the nodes are 10 apart), ZOOKEEPER_PORT (2181),
# RINGKEEP (the command, if it is not on the PATH: .venv/bin/ringkeep after `make setup`).
set -euo pipefail

readonly DATA=${DATA:-three-nodes} BASE_PORT=${BASE_PORT:-8000} ZOOKEEPER_PORT=${ZOOKEEPER_PORT:-2181}
readonly RINGKEEP=${RINGKEEP:-ringkeep}
readonly PATIENCE_S=60

fail() {
    echo "three-nodes: $*" >&2
    exit 1
}

http_of() {
    case $1 in
        a) echo "127.0.0.1:$BASE_PORT" ;;
        b) echo "127.0.0.1:$((BASE_PORT + 10))" ;;
        c) echo "127.0.0.1:$((BASE_PORT + 20))" ;;
        *) fail "there is no node $1; the nodes are a, b and c" ;;
    esac
}

start_zookeeper() {
    nohup "$RINGKEEP" zookeeper --port "$ZOOKEEPER_PORT" --data "$DATA/zookeeper" \
        </dev/null >"$DATA/zookeeper.out" 2>&1 &
    echo $! >"$DATA/zookeeper.pid"
}

# Each node has a name, ports and a directory of its own. The rest is the same for all: where ZooKeeper is, the
# cluster's name, and how many nodes to wait for when it forms.
start_node() {
    local name=$1 http
    http=$(http_of "$name")
    nohup "$RINGKEEP" node --name "$name" --http "$http" --data "$DATA/$name" \
        --zookeeper "127.0.0.1:$ZOOKEEPER_PORT" --cluster three --expect 3 \
        </dev/null >"$DATA/$name.out" 2>&1 &
    echo $! >"$DATA/$name.pid"
}

# Whether a process runs that was started here: the system may have given its number to another one since.
runs() {
    [[ -e $DATA/$1.pid ]] && ps -ww -p "$(<"$DATA/$1.pid")" -o args= 2>/dev/null | grep -F -e "--data $DATA/$1" >/dev/null
}

# Waits for ZooKeeper and for the other nodes too: a node is not ready before.
wait_ready() {
    local name=$1 http deadline=$((SECONDS + PATIENCE_S))
    http=$(http_of "$name")
    until curl -fsS --max-time 2 -o /dev/null "http://$http/readyz" 2>/dev/null; do
        runs "$name" || fail "$name has ended: $(tail -n 3 "$DATA/$name.out")"
        ((SECONDS < deadline)) || fail "$name is not ready: $(curl -sS "http://$http/readyz?verbose" 2>&1)"
        sleep 0.2
    done
    echo "$name is ready at http://$http"
}

# SIGTERM: a node hands its primaries over, finishes what is in flight, and ends.
stop() {
    local name=$1
    if runs "$name"; then
        kill -TERM "$(<"$DATA/$name.pid")"
        while runs "$name"; do sleep 0.1; done
        echo "$name has ended"
    fi
    rm -f "$DATA/$name.pid"
}

case ${1-} in
    start)
        for name in zookeeper a b c; do
            ! runs "$name" || fail "$name runs already (three-nodes.sh stop)"
        done
        mkdir -p "$DATA"
        start_zookeeper
        for name in a b c; do start_node "$name"; done
        for name in a b c; do wait_ready "$name"; done
        echo "try: curl -X PUT http://$(http_of a)/v1/kv/hello --data-binary world; curl http://$(http_of b)/v1/kv/hello"
        ;;
    stop)
        for name in a b c zookeeper; do stop "$name"; done
        ;;
    restart)
        http_of "${2?usage: three-nodes.sh restart NAME}" >/dev/null
        stop "$2"
        start_node "$2"
        wait_ready "$2"
        ;;
    *)
        echo 'usage: three-nodes.sh start | stop | restart NAME' >&2
        exit 2
        ;;
esac
