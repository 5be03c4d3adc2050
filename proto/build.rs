//! Generates the messages and services from the `.proto` files, without protoc.

use std::path::PathBuf;

const INCLUDE: &str = "proto";
const FILES: [&str; 4] = [
    "proto/bellwether/v1/metrics.proto",
    "proto/bellwether/v1/node.proto",
    "proto/bellwether/v1/query.proto",
    "proto/bellwether/v1/write.proto",
];

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script by variables where to write")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={INCLUDE}");
    let descriptors = protox::compile(FILES, [INCLUDE])?;
    let path = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("descriptors.bin");
    tonic_prost_build::configure()
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors.clone())?;
    std::fs::write(&path, prost::Message::encode_to_vec(&descriptors))?;
    Ok(())
}
