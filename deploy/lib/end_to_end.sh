#!/usr/bin/env bash
# A node beside a real node_exporter and a real Prometheus that scrapes it and writes to the node: what Prometheus stored and
# what the node answers must be the same, sample for sample, also after kill -9 in the middle of it and after a stop.
#
#   deploy/lib/end_to_end.sh path/to/bellwether
set -euo pipefail

binary="${1:?usage: deploy/lib/end_to_end.sh path/to/bellwether}"

START_SECONDS_MAX=60
DATA_SECONDS_MAX=60
# Enough for some dozens of scrapes, and for the node to be killed in the middle of them.
COMPARED_SECONDS=20

work="$(mktemp --directory)"
declare -A processes=()

say() { printf 'end to end: %s\n' "$*" >&2; }

fail() {
  say "$*"
  exit 1
}

# The last lines of every log, if it went wrong; nothing that was started here stays.
cleanup() {
  local status=$? name
  for name in "${!processes[@]}"; do
    kill -KILL "${processes[$name]}" 2>/dev/null || true
  done
  if ((status != 0)); then
    for name in "$work"/*.log; do
      say "-- $(basename "$name")"
      tail -n 30 "$name" >&2
    done
  fi
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

# start NAME COMMAND...: in the background, logging to NAME.log.
start() {
  local name="$1"
  shift
  "$@" >>"$work/$name.log" 2>&1 </dev/null &
  processes[$name]=$!
}

# eventually SECONDS WHAT COMMAND...: until the command succeeds.
eventually() {
  local deadline=$((SECONDS + $1)) what="$2"
  shift 2
  until "$@" 2>>"$work/waiting.log"; do
    ((SECONDS < deadline)) || fail "waited in vain for: $what"
    sleep 0.2
  done
}

free_port() {
  local port
  while true; do
    port=$((20000 + RANDOM % 12000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      printf '%s\n' "$port"
      return
    fi
  done
}

get() { curl --silent --show-error --fail --max-time 30 "$@"; }

# ---- the node -----------------------------------------------------------------------------------------------------------

# start_node HTTP GRPC: waits until it is ready and sets $address, $http and $grpc to what it listens on.
start_node() {
  : >"$work/node.log"
  local before=$EPOCHREALTIME
  start node "$binary" --data-dir "$work/data" --http "$1" --grpc "$2"
  eventually "$START_SECONDS_MAX" "a node that is ready" node_is_ready
  say "ready after $(((${EPOCHREALTIME/./} - ${before/./}) / 1000)) ms on $address"
}

node_is_ready() {
  kill -0 "${processes[node]}" || fail "the node ended while it started"
  local line
  line="$(grep --max-count=1 '^bellwether is ready: ' "$work/node.log")" || return 1
  http="${line#*http=http://}"
  http="${http%% *}"
  grpc="${line##*grpc=http://}"
  address="http://$http"
  get --output /dev/null "$address/-/ready"
}

# ---- queries ------------------------------------------------------------------------------------------------------------

# value SERVER QUERY: the one number that the query gives.
value() {
  get "$1/api/v1/query" --data-urlencode "query=$2" | jq --exit-status --raw-output '.data.result[0].value[1]'
}

is_at_least() { awk -v found="$(value "$1" "$2")" -v least="$3" 'BEGIN { exit !(found != "" && found + 0 >= least) }'; }

# Every sample after START up to END, as one line per series, sorted. The bounds are compared here: whether the first
# instant of a range belongs to it differs between Prometheus 2 and 3.
samples() {
  local server="$1" start="$2" end="$3"
  get "$server/api/v1/query" --data-urlencode 'query={job=~"exporter|prometheus"}'"[$((end - start + 1))s]" \
    --data-urlencode "time=$end" |
    jq --compact-output --argjson start "$start" '
      .data.result
      | map([(.metric | to_entries | sort_by(.key) | map([.key, .value])), (.values | map(select(.[0] > $start)))])
      | map(select(.[1] | length > 0)) | sort_by(.[0]) | .[]'
}

# What Prometheus says about its own queue: everything up to this time was acknowledged by the node.
acknowledged_up_to() {
  get "$prometheus/metrics" |
    awk '$1 ~ /^prometheus_remote_storage_queue_highest_sent_timestamp_seconds/ { found = $2 } END { printf "%d\n", found }'
}

is_acknowledged() { (("$(acknowledged_up_to)" >= $1)); }

# compare START END: what Prometheus stored itself in that time, and what the node has.
compare() {
  local start="$1" end="$2" series
  # Samples of one scrape can reach the queue late by a scrape.
  eventually "$DATA_SECONDS_MAX" "everything up to $end to be acknowledged" is_acknowledged $((end + 3))
  samples "$prometheus" "$start" "$end" >"$work/expected.txt"
  samples "$address" "$start" "$end" >"$work/found.txt"
  series="$(wc -l <"$work/expected.txt")"
  ((series > 500)) || fail "only $series series to compare"
  if ! cmp --silent "$work/expected.txt" "$work/found.txt"; then
    diff "$work/expected.txt" "$work/found.txt" | cut -c 1-400 | head -n 20 >&2 || true
    fail "what Prometheus stored (<) and what the node answers (>) differ"
  fi
  say "$series series, $(jq --slurp 'map(.[1] | length) | add' "$work/expected.txt") samples are the same"
}

# ---- the run ------------------------------------------------------------------------------------------------------------

start_node 127.0.0.1:0 127.0.0.1:0
exporter_port="$(free_port)"
prometheus_port="$(free_port)"
prometheus="http://127.0.0.1:$prometheus_port"
cat >"$work/prometheus.yml" <<YAML
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: exporter
    static_configs:
      - targets: ['127.0.0.1:$exporter_port']
  - job_name: prometheus
    static_configs:
      - targets: ['127.0.0.1:$prometheus_port']
remote_write:
  - url: $address/api/v1/write
    queue_config:
      # One at a time keeps the order, so that the queue's own mark says what was acknowledged.
      min_shards: 1
      max_shards: 1
      batch_send_deadline: 1s
    metadata_config:
      send_interval: 2s
YAML
exporter="$(command -v prometheus-node-exporter || command -v node_exporter)" || fail "needs prometheus-node-exporter"
start exporter "$exporter" --web.listen-address="127.0.0.1:$exporter_port"
start prometheus prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/prometheus" \
  --web.listen-address="127.0.0.1:$prometheus_port"
eventually "$DATA_SECONDS_MAX" "the exporter's data in the node" is_at_least "$address" 'up{job="exporter"}' 1
start_time="$(date +%s)"

say "what the node collects itself is there"
eventually "$DATA_SECONDS_MAX" "the host's metrics" is_at_least "$address" 'count({__name__=~"node_.+",job="node"})' 200
eventually "$DATA_SECONDS_MAX" "the node's own metrics" is_at_least "$address" 'count({__name__=~"bellwether_.+"})' 10

# What promtool answers has a line like this. All of it is read: a pipe that ends early would kill promtool.
promtool_has() {
  local pattern="$1"
  shift
  promtool query "$@" >"$work/promtool.txt" 2>&1
  grep -q -- "$pattern" "$work/promtool.txt"
}

say "promtool asks"
sleep 5
eventually "$DATA_SECONDS_MAX" "promtool's instant query" promtool_has 'mode="idle"' \
  instant "$address" 'sum by (mode) (rate(node_cpu_seconds_total{job="exporter"}[30s]))'
eventually "$DATA_SECONDS_MAX" "promtool's range query" promtool_has '@\[' \
  range --start="$start_time" --end="$(date +%s)" --step=1s "$address" 'node_load1{job="exporter"}'
eventually "$DATA_SECONDS_MAX" "promtool's series" promtool_has "127.0.0.1:$exporter_port" \
  series --match='up{job="exporter"}' "$address"
eventually "$DATA_SECONDS_MAX" "promtool's labels" promtool_has '^exporter$' labels "$address" job

say "Grafana's data source asks"
get "$address/api/v1/status/buildinfo" | jq --exit-status '.data.version' >/dev/null
get "$address/api/v1/labels" --data-urlencode 'match[]=up' | jq --exit-status '.data | index("job")' >/dev/null
get --get "$address/api/v1/label/job/values" | jq --exit-status '.data | index("exporter")' >/dev/null
get "$address/api/v1/series" --data-urlencode 'match[]=up{job="exporter"}' | jq --exit-status '.data | length == 1' >/dev/null
has_metadata() {
  get --get "$address/api/v1/metadata" --data-urlencode metric=node_load15 |
    jq --exit-status '.data.node_load15[0].type == "gauge"' >/dev/null
}
eventually "$DATA_SECONDS_MAX" "metadata" has_metadata
get "$address/api/v1/query_range" --data-urlencode 'query=rate(node_cpu_seconds_total{job="exporter"}[30s])' \
  --data-urlencode "start=$start_time" --data-urlencode "end=$(date +%s)" --data-urlencode step=1 |
  jq --exit-status '.data.resultType == "matrix" and (.data.result | length > 0)' >/dev/null

say "what was acknowledged is there"
sleep 5
compare "$start_time" "$(date +%s)"

say "kill -9 in the middle of it"
kill -KILL "${processes[node]}"
wait "${processes[node]}" 2>/dev/null || true
killed_after="$(acknowledged_up_to)"
start_node "$http" "$grpc"
# Of what was acknowledged before: at once, before Prometheus sends anything again that it must.
samples "$prometheus" "$start_time" $((killed_after - 3)) >"$work/expected.txt"
samples "$address" "$start_time" $((killed_after - 3)) >"$work/found.txt"
cmp "$work/expected.txt" "$work/found.txt" || fail "acknowledged samples are lost"
sleep "$COMPARED_SECONDS"
compare "$start_time" "$(date +%s)"

say "a second process on the same directory is refused"
if timeout 20 "$binary" --data-dir "$work/data" --http 127.0.0.1:0 --grpc 127.0.0.1:0 >"$work/second.txt" 2>&1; then
  fail "a second process started on the same data directory"
fi
grep -q 'in use' "$work/second.txt" || fail "the second process does not say why: $(cat "$work/second.txt")"

say "a stop and a start"
kill -TERM "${processes[node]}"
wait "${processes[node]}" || fail "the node's exit status after a stop is $?"
start_node "$http" "$grpc"
compare "$start_time" "$(date +%s)"

refused="$(get "$prometheus/metrics" |
  awk '$1 ~ /^prometheus_remote_storage_samples_(failed|dropped)_total/ { sum += $2 } END { print sum + 0 }')"
((refused == 0)) || fail "Prometheus counts $refused samples that the node refused"
say "passed"
