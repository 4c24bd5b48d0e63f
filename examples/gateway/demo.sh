#!/usr/bin/env bash
# Shows what the gateway promises, and fails where it does not keep it.
#
#   demo.sh PATH/TO/mavera-gateway
#
# Two worker processes on a free loopback port, with a region of their own in
# /dev/shm. Everything it makes and starts is gone when it ends, however it
# ends. Needs bash and curl.
set -euo pipefail

readonly LIMIT=60 BASIC=120 PROFESSIONAL=240 KEY=demo-starter
ENDPOINT=/mave/chat                         # that is asked
readonly PATIENCE_S=5                       # for whatever is polled

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
gateway=${1:?usage: demo.sh PATH/TO/mavera-gateway}
work=
supervisor=
load=
slow=()

say() { printf '%s\n' "$*"; }
heading() { printf '\n== %s\n' "$*"; }
ok() { printf '   ok: %s\n' "$*"; }

fail() {
    printf 'demo.sh: FAILED: %s\n' "$*" >&2
    if [[ -n $work && -s $work/log ]]; then
        say "what the gateway said:" >&2
        cat "$work/log" >&2
    fi
    exit 1
}

# same WHAT GOT WANT
same() {
    [[ $2 == "$3" ]] || fail "$1: got \"$2\", want \"$3\""
}

# between WHAT GOT LOW HIGH
between() {
    [[ $2 =~ ^[0-9]+$ ]] || fail "$1: got \"$2\", want a number"
    (($3 <= $2 && $2 <= $4)) || fail "$1: got $2, want $3 to $4"
}

# poll WHAT COMMAND...: until it succeeds
poll() {
    local what=$1 end=$((SECONDS + PATIENCE_S))
    shift
    until "$@"; do
        ((SECONDS <= end)) || fail "$what: not within $PATIENCE_S s"
        sleep 0.02
    done
}

stop_load() {
    if [[ -n $load ]]; then
        kill "$load" 2>/dev/null || true
        wait "$load" 2>/dev/null || true
        load=
    fi
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# Workers end by themselves when their supervisor does, even if it is killed.
cleanup() {
    local status=$?
    trap - EXIT
    set +e
    stop_load
    ((${#slow[@]} == 0)) || kill "${slow[@]}" 2>/dev/null
    if [[ -n $supervisor ]] && ! gone "$supervisor"; then
        kill -TERM "$supervisor"
        for ((i = 0; i < 100; i++)); do
            gone "$supervisor" && break
            sleep 0.05
        done
        kill -KILL "$supervisor" 2>/dev/null
        wait "$supervisor" 2>/dev/null
    fi
    [[ -z $work ]] || rm -rf -- "$work"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# request [CURL ARGUMENT...]: headers and body to files, the status to $status
request() {
    status=$(curl --silent --show-error --max-time "$PATIENCE_S" \
        --dump-header "$work/headers" --output "$work/body" \
        --write-out '%{http_code}' "$@" "$url$ENDPOINT") \
        || fail "curl could not reach $url$ENDPOINT"
}

as() { request --header "X-API-Key: $1"; }

# header NAME: its value in the last answer, empty if it has none
header() {
    awk -v name="${1,,}" 'BEGIN { FS = ": " }
        tolower($1) == name { sub(/\r$/, "", $2); print $2 }' "$work/headers"
}

print_answer() {
    tr -d '\r' < "$work/headers" | sed '/^$/d; s/^/   | /'
    sed 's/^/   | /' "$work/body"
    say
}

listening() { grep -q '^mavera-gateway: http' "$work/out"; }

command -v curl > /dev/null || fail "needs curl"
[[ -x $gateway ]] || fail "no gateway at $gateway: build it first"
work=$(mktemp -d /dev/shm/mavera-gateway-demo.XXXXXXXX) \
    || fail "cannot make a directory in /dev/shm"

"$gateway" --port 0 --workers 2 --keys 1000 --region "$work/region" \
    --plan "$here/demo-plan.toml" > "$work/out" 2> "$work/log" &
supervisor=$!
started() { listening || gone "$supervisor"; }
poll "the gateway starts" started
listening || fail "the gateway ended instead of starting"
url=$(sed -n 's/^mavera-gateway: \([^,]*\),.*/\1/p' "$work/out")
say "Two worker processes at $url, one limit for both."

heading "a. A Starter key goes from $LIMIT to 0 over both processes"
declare -A served=()
sequence=
for ((i = 1; i <= LIMIT; i++)); do
    as "$KEY"
    same "status of request $i" "$status" 200
    same "X-RateLimit-Limit of request $i" "$(header X-RateLimit-Limit)" \
        "$LIMIT"
    remaining=$(header X-RateLimit-Remaining)
    same "X-RateLimit-Remaining of request $i" "$remaining" $((LIMIT - i))
    sequence+=" $remaining"
    pid=$(header X-Worker-Pid)
    served[$pid]=$((${served[$pid]:-0} + 1))
done
say "remaining:$sequence" | fold -s -w 72 | sed 's/^/   /'
for pid in "${!served[@]}"; do
    say "   worker $pid served ${served[$pid]}"
done
same "workers that served" "${#served[@]}" 2
ok "$LIMIT admitted, remaining counts down without a gap"

heading "b. Request $((LIMIT + 1)) is refused"
as "$KEY"
now=$(date +%s)
print_answer
retry=$(header Retry-After)
same "status" "$status" 429
between "Retry-After" "$retry" 1 60
same "X-RateLimit-Limit" "$(header X-RateLimit-Limit)" "$LIMIT"
same "X-RateLimit-Remaining" "$(header X-RateLimit-Remaining)" 0
between "X-RateLimit-Reset" "$(header X-RateLimit-Reset)" \
    $((now + retry - 1)) $((now + retry + 1))
same "Content-Type" "$(header Content-Type)" application/json
printf -v body '{"error":{"message":"Rate limit exceeded. Please retry after %d seconds.","type":"rate_limit_error","code":"rate_limit_exceeded","param":null}}' "$retry"
same "body" "$(cat "$work/body")" "$body"
ok "429; Reset is now + Retry-After; the body is the contract's"

heading "c. Another key is not affected"
as demo-neighbour
same "status" "$status" 200
same "X-RateLimit-Remaining" "$(header X-RateLimit-Remaining)" $((LIMIT - 1))
ok "200, $(header X-RateLimit-Remaining) remaining"

heading "d. Waiting for Retry-After is enough (5 requests in 2 seconds)"
admitted=0
# Not "five times": on a busy machine the first may have left the window.
for ((i = 1; i <= 50; i++)); do
    as demo-short
    [[ $status == 200 ]] || break
    admitted=$((admitted + 1))
done
same "status after $admitted admitted" "$status" 429
((admitted >= 5)) || fail "only $admitted were admitted"
retry=$(header Retry-After)
between "Retry-After" "$retry" 1 2
say "   $admitted admitted, then Retry-After: $retry; sleeping $retry s"
sleep "$retry"
as demo-short
same "status after the wait" "$status" 200
ok "admitted"

heading "e. kill -9 of a worker under load loses no count"
spent=30
for ((i = 1; i <= spent; i++)); do
    as demo-basic
    same "status of request $i" "$status" 200
done
same "X-RateLimit-Remaining" "$(header X-RateLimit-Remaining)" \
    $((BASIC - spent))
say "   $spent of $BASIC spent"
# The load's own connections may be cut by the kill: they are not judged.
(
    trap 'kill "${job:-}" 2>/dev/null; exit' TERM
    while :; do
        curl --silent --output /dev/null --max-time 1 \
            --header "X-API-Key: demo-neighbour" \
            --header "Connection: close" "$url$ENDPOINT?[1-200]" \
            2>/dev/null &
        job=$!
        wait "$job" || true
    done
) &
load=$!
request                                     # without a key: not charged
victim=$(header X-Worker-Pid)
[[ -n ${served[$victim]:-} ]] || fail "worker $victim is new already"
kill -KILL "$victim"
say "   worker $victim killed"
replaced() {
    request
    pid=$(header X-Worker-Pid)
    [[ -z ${served[$pid]:-} ]]
}
poll "the worker is replaced" replaced
say "   worker $pid took its place"
admitted=$spent
for ((i = spent + 1; i <= BASIC + 5; i++)); do
    as demo-basic
    if [[ $status == 200 ]]; then
        admitted=$((admitted + 1))
        same "X-RateLimit-Remaining of request $i" \
            "$(header X-RateLimit-Remaining)" $((BASIC - i))
    else
        same "status of request $i" "$status" 429
    fi
done
stop_load
same "admitted in total" "$admitted" "$BASIC"
ok "remaining went on from $((BASIC - spent)); $admitted of $BASIC admitted"

heading "f. 3 video analyses run; what is in flight dies with its worker"
slow=()
for i in 1 2 3; do
    curl --silent --output "$work/slow$i" --max-time 60 \
        --header "X-API-Key: demo-video" \
        "$url/video-analyses?delay_ms=30000" &
    slow+=("$!")
done
# Asked on another endpoint: a request here might take the place of one of
# the three. Each of them has charged one, and so has each question.
asked=0
three_are_charged() {
    as demo-video
    same "status on another endpoint" "$status" 200
    asked=$((asked + 1))
    (($(header X-RateLimit-Remaining) == PROFESSIONAL - asked - ${#slow[@]}))
}
poll "the three are in flight" three_are_charged
# Whichever worker took them, the fourth is refused.
video() { ENDPOINT=/video-analyses as demo-video; }
video
same "status of the fourth" "$status" 429
print_answer
same "Content-Type" "$(header Content-Type)" application/json
same "Retry-After" "$(header Retry-After)" 1
body='{"error":{"message":"Too many requests in flight on /video-analyses: at most 3 at a time. Please retry after 1 seconds.","type":"rate_limit_error","code":"concurrency_limit_exceeded","param":null}}'
same "body" "$(cat "$work/body")" "$body"
remaining=$(header X-RateLimit-Remaining)
video
same "X-RateLimit-Remaining after another refusal" \
    "$(header X-RateLimit-Remaining)" "$remaining"
ENDPOINT=/focus-groups as demo-video
same "status on another endpoint" "$status" 200
ok "429, concurrency_limit_exceeded; the refusals charged nothing"
# Whoever holds them: both workers, for the kernel spread the three.
# The file has no end of line.
read -ra workers < "/proc/$supervisor/task/$supervisor/children" || true
same "workers" "${#workers[@]}" 2
kill -KILL "${workers[@]}"
say "   workers ${workers[*]} killed"
for pid in "${slow[@]}"; do
    wait "$pid" && fail "a client of a killed worker was answered"
done
video_is_admitted() {
    curl --silent --output "$work/body" --max-time "$PATIENCE_S" \
        --write-out '%{http_code}' --header "X-API-Key: demo-video" \
        "$url/video-analyses" > "$work/status" || return 1
    tried=$((tried + 1))
    [[ $(cat "$work/status") == 200 ]]
}
tried=0
poll "the next one is admitted" video_is_admitted
same "requests until one was admitted" "$tried" 1
ok "the first request that the new workers took was admitted"

heading "g. Without a key"
request
print_answer
same "status" "$status" 401
same "X-RateLimit-Limit" "$(header X-RateLimit-Limit)" ""
ok "401, and no limit to speak of"

heading "h. SIGTERM ends it in order"
kill -TERM "$supervisor"
poll "the gateway ends" gone "$supervisor"
result=0
wait "$supervisor" || result=$?
supervisor=
same "exit status" "$result" 0
ok "exit status 0"

say
say "All of it as promised, in $SECONDS s."
