//! What one sample costs on its way from a remote-write body to a frame.

mod support {
    #![allow(unused)]
    include!("../tests/support/protobuf_writer.rs");
}

fn main() {
    divan::main();
}
