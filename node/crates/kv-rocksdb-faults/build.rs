//! Compiles the file system that RocksDB calls into, against the headers of the RocksDB that is linked.

use std::path::PathBuf;

fn main() {
    #[allow(clippy::disallowed_methods, reason = "how cargo speaks to build scripts")]
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let rocksdb = PathBuf::from(variable("DEP_ROCKSDB_CARGO_MANIFEST_DIR")).join("rocksdb");
    println!("cargo::rerun-if-changed=src/bridge.cc");
    println!("cargo::rerun-if-changed=src/bridge.h");

    let mut build = cc::Build::new();
    build.cpp(true).std("c++20").include(rocksdb.join("include")).file("src/bridge.cc");
    // What librocksdb-sys defines: classes of the headers must be laid out alike on both sides.
    build.define("NDEBUG", "1").define("HAVE_ALIGNED_NEW", None).define("HAVE_UINT128_EXTENSION", None);
    if variable("CARGO_CFG_TARGET_OS") == "linux" {
        build.define("OS_LINUX", None).define("ROCKSDB_PLATFORM_POSIX", None).define("ROCKSDB_LIB_IO_POSIX", None);
    }
    build.flag("-Wno-unused-parameter").flag("-include").flag("cstdint");
    build.compile("rocksdb_faults_bridge");
}
