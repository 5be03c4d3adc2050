//! Generates the messages and services from the `.proto` files, without protoc.

use std::path::PathBuf;

const INCLUDE: &str = "proto";
/// The public interface.
const FILES: [&str; 8] = [
    "proto/bellwether/v1/alerting.proto",
    "proto/bellwether/v1/cluster.proto",
    "proto/bellwether/v1/founding.proto",
    "proto/bellwether/v1/metrics.proto",
    "proto/bellwether/v1/node.proto",
    "proto/bellwether/v1/operations.proto",
    "proto/bellwether/v1/query.proto",
    "proto/bellwether/v1/write.proto",
];
/// What nodes say to each other. Not described to clients.
const PEER_FILES: [&str; 1] = ["proto/bellwether/peer/v1/peer.proto"];

/// Messages with a secret in them: what is derived would print it.
const WITH_SECRETS: [&str; 4] = [
    ".bellwether.v1.CreateTokenResponse",
    ".bellwether.v1.GetNotificationsResponse",
    ".bellwether.v1.SetNotificationsRequest",
    ".bellwether.peer.v1.JoinToken",
];

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script by variables where to write")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={INCLUDE}");
    let descriptors = protox::compile(FILES, [INCLUDE])?;
    let path = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("descriptors.bin");
    let generate = || {
        let generate = tonic_prost_build::configure().build_transport(false).emit_rerun_if_changed(false);
        // No map is in an order that a process has of its own.
        generate.skip_debug(WITH_SECRETS).btree_map(".")
    };
    generate().compile_fds(descriptors.clone())?;
    // Large fields share the memory of the message that they came in. A call without a handler is unimplemented.
    let peer = generate().bytes(".bellwether.peer.v1").generate_default_stubs(true);
    peer.compile_fds(protox::compile(PEER_FILES, [INCLUDE])?)?;
    std::fs::write(&path, prost::Message::encode_to_vec(&descriptors))?;
    Ok(())
}
