# shellcheck shell=bash disable=SC2154 # repository: set by whoever sources this
# Sourced by deploy/lib/setup.sh: compiles RocksDB once per version, compiler and flags, outside the checkout.
# Expects: repository, say, fail, cargo. Sets: ROCKSDB_LIB_DIR, ROCKSDB_STATIC, which librocksdb-sys obeys.
#
# The archive is ${XDG_CACHE_HOME:-~/.cache}/bellwether/rocksdb-VERSION-HASH/librocksdb.a. An ROCKSDB_LIB_DIR that is
# set and has an archive is left alone. BELLWETHER_ROCKSDB_ARCHIVE=FILE takes FILE instead of compiling: it must come
# from the same version with the same features. A plain `cargo build` without any of this works, too, only slower.

# The version of a package in Cargo.lock.
locked_version() {
  awk -v wanted="name = \"$1\"" '$0 == wanted { getline; gsub(/version = |"/, ""); print; exit }' "$repository/Cargo.lock"
}

# Everything that decides about the content of the archive, or of objects that are linked to it.
rocksdb_inputs() {
  local package
  for package in librocksdb-sys zstd-sys lz4-sys; do
    printf '%s %s\n' "$package" "$(locked_version "$package")"
  done
  grep '^rocksdb = ' "$repository/Cargo.toml"
  grep '^rustflags\|^\[' "$repository/.cargo/config.toml"
  uname -sm
  "${CXX:-c++}" --version | head -n 1
  printf '%s\n' "${CXXFLAGS:-}"
}

is_archive() {
  [[ -s "$1" && "$(head -c 7 "$1")" == '!<arch>' ]]
}

# Puts the archive into the directory. The target directory of its own keeps the flags of other builds from mattering.
make_rocksdb_archive() {
  local directory="$1" archive="${BELLWETHER_ROCKSDB_ARCHIVE:-}"
  if [[ -z "$archive" ]]; then
    # What an interrupted run left may have been built against another archive.
    rm -rf "$directory/target"
    # From inside the checkout, whose .cargo/config.toml has the flags. ROCKSDB_COMPILE wins over a library directory
    # that the user's own cargo configuration names.
    (
      cd "$repository" || exit
      unset ROCKSDB_LIB_DIR ROCKSDB_STATIC
      ROCKSDB_COMPILE=1 CARGO_TARGET_DIR="$directory/target" cargo build --release --locked -p bellwether-kv-rocksdb >&2
    ) || return
    archive="$(find "$directory/target/release/build" -path '*/librocksdb-sys-*/out/librocksdb.a' -print -quit)"
  fi
  if ! is_archive "$archive"; then
    say "no archive of RocksDB at '$archive'"
    return 1
  fi
  # Under its name it is whole, whenever this is interrupted.
  cp "$archive" "$directory/librocksdb.a.new" || return
  mv "$directory/librocksdb.a.new" "$directory/librocksdb.a" || return
  rm -rf "$directory/target"
}

# Finds or makes the archive; several checkouts and runs may do so at once.
use_cached_rocksdb() {
  if [[ -n "${ROCKSDB_LIB_DIR:-}" ]] && is_archive "$ROCKSDB_LIB_DIR/librocksdb.a"; then
    say "RocksDB from ROCKSDB_LIB_DIR: $ROCKSDB_LIB_DIR"
    export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
    return
  fi
  local version hash directory
  version="$(locked_version librocksdb-sys)"
  version="${version#*+}"
  [[ -n "$version" ]] || fail "found no version of librocksdb-sys in $repository/Cargo.lock"
  hash="$(rocksdb_inputs | sha256sum | head -c 12)"
  directory="${XDG_CACHE_HOME:-$HOME/.cache}/bellwether/rocksdb-$version-$hash"
  mkdir -p "$directory"
  (
    if ! flock --nonblock 9; then
      say "waiting for another process that makes RocksDB $version in $directory"
      flock 9
    fi
    if is_archive "$directory/librocksdb.a"; then
      say "RocksDB $version from the cache: $directory"
    else
      if [[ -n "${BELLWETHER_ROCKSDB_ARCHIVE:-}" ]]; then
        say "RocksDB $version from $BELLWETHER_ROCKSDB_ARCHIVE, copied to $directory"
      else
        say "compiling RocksDB $version, once, into $directory (about 20 minutes of processor time)"
      fi
      make_rocksdb_archive "$directory"
    fi
  ) 9>"$directory/lock" || fail "could not make RocksDB $version in $directory"
  export ROCKSDB_LIB_DIR="$directory" ROCKSDB_STATIC=1
}

use_cached_rocksdb
