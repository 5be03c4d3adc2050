//! The client library, with connections from the clients' host.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::time::Duration;

use bellwether_client::{Client, ClientBuilder, Connect, Stream};
use turmoil::net::TcpStream;

use super::machine::GRPC_PORT;
use super::net::{SharedTrace, Traced, host, loopback};

/// How long a call may take, all attempts included.
pub const CALL_MAX: Duration = Duration::from_secs(10);
/// How long one attempt may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(4);

struct Connector(SharedTrace);

impl Connect for Connector {
    fn connect(&self, address: String) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'static>> {
        let trace = self.0.clone();
        Box::pin(async move {
            let number = machine_of(&address);
            let number = number.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no node's address"))?;
            let stream = TcpStream::connect(SocketAddr::new(host(number), GRPC_PORT)).await?;
            Ok(Box::new(Traced::whole(stream, trace)) as Box<dyn Stream>)
        })
    }
}

/// The machine behind what a node believes its address to be.
pub fn machine_of(address: &str) -> Option<usize> {
    let address: SocketAddr = address.parse().ok()?;
    match address.ip() {
        std::net::IpAddr::V4(ip) => Some(usize::from(ip.octets()[3])),
        std::net::IpAddr::V6(_) => None,
    }
}

/// A client of a cluster of so many nodes, which draws from `seed`.
pub fn builder(nodes: usize, seed: u64, trace: &SharedTrace) -> ClientBuilder {
    of_machines(1..=nodes, seed, trace)
}

/// A client of one machine's node alone, which asks once.
pub fn of_machine(number: usize, seed: u64, trace: &SharedTrace) -> ClientBuilder {
    of_machines(number..=number, seed, trace).timeout(ATTEMPT_MAX).attempts_max(1)
}

fn of_machines(numbers: RangeInclusive<usize>, seed: u64, trace: &SharedTrace) -> ClientBuilder {
    Client::builder()
        .addresses(numbers.map(|number| loopback(number, GRPC_PORT).to_string()))
        .connector(Connector(trace.clone()))
        .seed(seed)
        .timeout(CALL_MAX)
        .attempt_timeout(ATTEMPT_MAX)
        .discovery_interval(None)
}
