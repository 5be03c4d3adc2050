//! The gRPC interfaces, the public one and the nodes' own: generated messages and services, and the conversions between
//! messages and the model.
//!
//! The `.proto` files under `proto/` are the interface; nothing but this crate, the server's edge and the client names
//! their types.

mod convert;
mod failure;
mod secrets;

/// Version 1 of the interface. Within a version, fields are only added.
#[allow(missing_docs, reason = "generated; the documentation is in the .proto files")]
pub mod v1 {
    tonic::include_proto!("bellwether.v1");
}

/// What the nodes of a cluster say to each other.
pub mod peer {
    /// Version 1 of the interface. Within a version, fields are only added.
    #[allow(missing_docs, clippy::large_enum_variant, reason = "generated; the documentation is in the .proto files")]
    pub mod v1 {
        tonic::include_proto!("bellwether.peer.v1");
    }
}

/// The public interface's description for gRPC reflection: an encoded `FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
