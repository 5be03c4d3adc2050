# shellcheck shell=bash
# Sourced by deploy/start and deploy/stop: which process serves a data directory, and where its log is.
# A node's files are named after its data directory and lie outside of it: what is inside belongs to the node.

# Sets: pid_file, log_file. Argument: the data directory.
locate_node() {
  local data_dir name state
  data_dir="$(realpath --canonicalize-missing "$1")"
  state="${XDG_STATE_HOME:-$HOME/.local/state}/bellwether"
  name="${data_dir#/}"
  name="${name//\//_}"
  mkdir -p "$state"
  pid_file="$state/$name.pid"
  # shellcheck disable=SC2034 # read by the scripts that source this one
  log_file="$state/$name.log"
}

# Prints the process id of the node that was started here; fails if there is none. A pid may have been given to another
# program since.
running_pid() {
  local pid
  [[ -r "$pid_file" ]] || return 1
  pid="$(<"$pid_file")"
  [[ "$pid" =~ ^[0-9]+$ && "$(cat "/proc/$pid/comm" 2>/dev/null)" == bellwether ]] || return 1
  printf '%s\n' "$pid"
}
