#!/usr/bin/env bash
# Shows what nginx's limit_conn counts after a worker was killed: requests that
# nobody is making any more.
#
#   tests/compare/limit_conn.sh [SECONDS_TO_WATCH=3]
#
# Exits 0 if the leak was seen, 1 if it was not, 77 if nginx cannot be had.
# Everything it makes and starts is gone when it ends; only if it is itself killed
# with -9, its temporary directory stays.
set -euo pipefail

readonly LIMIT=3 PATIENCE_S=10 SLOW_S=30
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
watch_s=${1:-3}
if [[ ! $watch_s =~ ^[1-9][0-9]{0,3}$ ]]; then
    echo "usage: limit_conn.sh [SECONDS_TO_WATCH], 1 to 9999" >&2
    exit 1
fi
work=
nginx=
backend=
clients=()

row() { printf '%-64s %s\n' "$1" "$2"; }

fail() {
    echo "limit_conn.sh: the leak was not seen: $*" >&2
    if [[ -n $work ]]; then
        tail -n 20 "$work"/*.log >&2 || true
    fi
    exit 1
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# poll WHAT COMMAND...: until it succeeds
poll() {
    local what=$1 end=$((SECONDS + PATIENCE_S))
    shift
    until "$@"; do
        ((SECONDS <= end)) || fail "$what: not within $PATIENCE_S s"
        sleep 0.05
    done
}

cleanup() {
    local status=$? pid workers=()
    trap - EXIT
    trap '' INT TERM HUP
    set +e
    for pid in "${clients[@]}" $backend; do
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    if [[ -n $nginx ]] && kill -TERM "$nginx" 2>/dev/null; then
        for ((i = 0; i < 100; i++)); do
            gone "$nginx" && break
            sleep 0.05
        done
        # A master that has to be killed leaves its workers behind.
        if ! gone "$nginx"; then
            read -ra workers < "/proc/$nginx/task/$nginx/children"
            kill -KILL "$nginx" "${workers[@]}" 2>/dev/null
        fi
        wait "$nginx" 2>/dev/null
    fi
    [[ -z $work ]] || rm -rf -- "$work"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Where Debian puts nginx; not in every user's PATH.
PATH=$PATH:/usr/sbin:/sbin
"$root/scripts/require.sh" nginx curl python3 setpriv=util-linux || exit 77

work=$(mktemp -d)
chmod 711 "$work"                           # root's nginx has other workers

# Should this script be killed itself, these two end with it.
start() { exec setpriv --pdeathsig TERM "$@"; }

start python3 - "$work/backend" "$SLOW_S" > "$work/backend.log" 2>&1 <<'PY' &
import http.server, os, sys, threading, time

slow = 0
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global slow
        if self.path == "/slow":
            with lock:
                slow += 1
            time.sleep(float(sys.argv[2]))
        body = b"%d\n" % slow
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(sys.argv[1] + ".new", "w") as file:
    print(server.server_port, file=file)
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.serve_forever()
PY
backend=$!
backend_ready() { [[ -s $work/backend ]] || gone "$backend"; }
poll "the backend starts" backend_ready
[[ -s $work/backend ]] || fail "the backend ended instead of starting"
backend_port=$(< "$work/backend")
port=$(python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')

# Relative paths are in the prefix, which is $work.
cat > "$work/nginx.conf" <<CONF
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log;
events { }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    limit_conn_zone \$http_x_api_key zone=in_flight:1m;
    limit_conn_status 429;
    server {
        listen 127.0.0.1:$port;
        location / {
            limit_conn in_flight $LIMIT;
            proxy_pass http://127.0.0.1:$backend_port;
        }
        location = /worker { return 200 \$pid; }
    }
}
CONF
arguments=(-p "$work/" -c "$work/nginx.conf" -e "$work/error.log")

get() { curl --silent --noproxy '*' --max-time 5 "$@"; }

# ask KEY: the status of a request that is answered at once if admitted
ask() {
    get --output /dev/null --write-out '%{http_code}' \
        --header "X-API-Key: $1" "http://127.0.0.1:$port/fast" || true
}

# The worker that answers now, in $worker, if it is not $1.
worker_other_than() {
    worker=$(get --fail "http://127.0.0.1:$port/worker") && [[ $worker != "$1" ]]
}

arrived() { [[ $(get "http://127.0.0.1:$backend_port/") == "$LIMIT" ]]; }
refused() { [[ $(ask k) == 429 ]]; }

# Connections to nginx that are established, by either end.
connections() {
    awk -v port="$(printf ':%04X' "$port")" '
        $4 == "01" && ($2 ~ port "$" || $3 ~ port "$") { n++ }
        END { print n + 0 }' /proc/net/tcp
}
nobody_connected() { [[ $(connections) == 0 ]]; }

start nginx "${arguments[@]}" > "$work/nginx.log" 2>&1 &
nginx=$!
nginx_ready() { worker_other_than "" || gone "$nginx"; }
poll "nginx starts" nginx_ready
! gone "$nginx" || fail "nginx ended instead of starting"
first=$worker
echo "$(nginx -v 2>&1), 1 worker, limit_conn $LIMIT"

for ((i = 0; i < LIMIT; i++)); do
    curl --silent --noproxy '*' --max-time $((2 * SLOW_S)) \
        --output /dev/null --header "X-API-Key: k" \
        "http://127.0.0.1:$port/slow" &
    clients+=($!)
done
# Not by asking nginx: that could take the place of one of them.
poll "$LIMIT requests reach the backend" arrived
poll "request $((LIMIT + 1)) is refused" refused
row "before kill: $LIMIT in flight, the fourth:" "$(ask k)"

kill -KILL "$first"
for pid in "${clients[@]}"; do
    poll "a client of the killed worker ends" gone "$pid"
    ! wait "$pid" || fail "a slow request was answered before the kill"
done
clients=()
poll "the worker is replaced" worker_other_than "$first"
second=$worker
row "worker $first killed with -9, replaced by" "$second"
poll "the connections are closed" nobody_connected
row "the $LIMIT clients have ended; connections to nginx:" "$(connections)"

asked=0
leaked=0
for ((i = 0; i <= 2 * watch_s; i++)); do
    ((i == 0)) || sleep 0.5
    status=$(ask k)
    asked=$((asked + 1))
    [[ $status != 429 ]] || leaked=$((leaked + 1))
done
row "$watch_s s after kill -9 of the worker, nobody connected:" \
    "$status ($leaked of $asked answers were 429)"

nginx "${arguments[@]}" -s reload >> "$work/nginx.log" 2>&1 \
    || fail "nginx cannot be reloaded"
poll "the reload takes effect" worker_other_than "$second"
row "after nginx -s reload, worker $worker, nobody connected:" "$(ask k)"

other=$(ask other)
row "another key:" "$other"
[[ $other == 200 ]] || fail "nginx does not serve another key"
((leaked == asked)) || fail "$((asked - leaked)) of $asked requests got through"
echo "Seen: limit_conn still counts the $LIMIT requests of the killed worker."
