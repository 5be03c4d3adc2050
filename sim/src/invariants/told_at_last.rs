//! Once everything works, no message waits: each was sent, and that it was is known.

use bellwether_server::Server;

/// Says which message waits still.
pub fn check(server: &Server) -> Result<(), String> {
    for group in server.alerting().groups() {
        group.read(|state| {
            let mut waiting =
                state.tenants.iter().flat_map(|(tenant, known)| known.intents.iter().map(move |of| (tenant, of)));
            match waiting.next() {
                Some((tenant, (number, intent))) => {
                    let (way, key) = (intent.message.way(), &intent.dedup_key);
                    Err(format!("message {number} of {tenant}, {key}, to {} waits", way.receiver))
                }
                None => Ok(()),
            }
        })?;
    }
    Ok(())
}
