# shellcheck shell=bash
# Sourced by the scripts in deploy/: messages, packages, the toolchain, the build.
# Expects nothing, sets: repository, CARGO_TARGET_DIR, and what deploy/lib/rocksdb.sh sets.

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

# What building needs on Debian and Ubuntu: a C++ compiler, and libclang for RocksDB's bindings. Scripts that need more add it.
packages=(build-essential ca-certificates curl libclang-dev)

say() { printf 'bellwether: %s\n' "$*" >&2; }

fail() {
  say "$*"
  exit 1
}

# The packages among the arguments that are not installed, one per line.
missing_packages() {
  local package
  for package in "$@"; do
    if [[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)" != installed ]]; then
      printf '%s\n' "$package"
    fi
  done
}

# Installs what is missing, after saying so; asks for root only then.
install_packages() {
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "this is not Debian or Ubuntu: going on as if these were here: $*"
    return
  fi
  local missing=()
  mapfile -t missing < <(missing_packages "$@")
  if ((${#missing[@]} == 0)); then
    return
  fi
  local as_root=(env)
  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "needs these packages, and sudo to install them: ${missing[*]}"
    as_root=(sudo env)
    say "installing these packages (asks for root): ${missing[*]}"
  else
    say "installing these packages: ${missing[*]}"
  fi
  as_root+=(DEBIAN_FRONTEND=noninteractive)
  "${as_root[@]}" apt-get update -q >&2
  "${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
  stop_new_services "${missing[@]}"
}

# Debian starts a service with its package. A test wants the programs, not something on their ports.
stop_new_services() {
  local package as_root=()
  ((EUID == 0)) || as_root=(sudo)
  for package in "$@"; do
    case "$package" in
      prometheus | prometheus-node-exporter) ;;
      *) continue ;;
    esac
    if [[ -d /run/systemd/system ]]; then
      "${as_root[@]}" systemctl disable --now "$package" >&2
    elif [[ -x "/etc/init.d/$package" ]]; then
      "${as_root[@]}" "/etc/init.d/$package" stop >&2 || true
    fi
  done
}

find_cargo() {
  if ! command -v cargo >/dev/null && [[ -r "$HOME/.cargo/env" ]]; then
    # shellcheck source=/dev/null
    . "$HOME/.cargo/env"
  fi
  command -v cargo >/dev/null || fail "needs cargo: install it from https://rustup.rs, then try again"
  local wanted found
  wanted="$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$repository/Cargo.toml")"
  found="$(cargo --version | cut -d ' ' -f 2)"
  if [[ "$(printf '%s\n%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" != "$wanted" ]]; then
    fail "needs Rust $wanted or newer, found $found: run 'rustup update stable', then try again"
  fi
}

# Cargo takes what was compiled in another checkout for its own where files have not changed, and with it the paths that are compiled
# in. Libraries are kept.
forget_other_checkouts() {
  local mark="$CARGO_TARGET_DIR/checkout"
  if [[ ! -f "$mark" || "$(<"$mark")" != "$repository" ]]; then
    rm -rf "$CARGO_TARGET_DIR"/*/.fingerprint/bellwether*
    mkdir -p "$CARGO_TARGET_DIR"
    printf '%s\n' "$repository" >"$mark"
  fi
}

# Everything before the first cargo command.
prepare() {
  install_packages "${packages[@]}"
  find_cargo
  # Outside the checkout: a fresh clone, and `git clean`, keep what took minutes to build.
  export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/bellwether/target}"
  forget_other_checkouts
  # It would replace the flags in .cargo/config.toml, which the simulation cannot do without.
  unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
  # shellcheck source=deploy/lib/rocksdb.sh
  . "$repository/deploy/lib/rocksdb.sh"
  cd "$repository" || return
}

# Builds the release binary; its path is in $binary afterwards.
build_release() {
  say "building the release binary in $CARGO_TARGET_DIR (some minutes the first time)"
  cargo build --release -p bellwether --locked
  # shellcheck disable=SC2034 # read by the scripts that source this one
  binary="$CARGO_TARGET_DIR/release/bellwether"
}
