//! E-mail: what a message becomes ([`letter`]), and how a mail server is told it ([`conversation`], RFC 5321).

mod authentication;
pub mod conversation;
pub mod letter;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bellwether_model::Timestamp;

use super::failure::{Failure, Reason};
use super::files::SettingFiles;
use super::given::Given;
use super::http_config::secret_or_file;
use super::tls::TlsClients;
use crate::env::Net;
use authentication::Credentials;
use conversation::{Conversation, Privacy};

/// Where TLS begins with the connection.
const IMPLICIT_TLS_PORT: u16 = 465;
/// Ports by their names.
const PORT_NAMES: [(&str, u16); 4] = [("smtp", 25), ("smtps", 465), ("submission", 587), ("submissions", 465)];

/// Sends the message as a letter. Whoever calls sets the deadline.
pub async fn send(
    given: &Given<'_>,
    (at, dedup_key): (Timestamp, &str),
    net: &Arc<dyn Net>,
    (tls_clients, files): (&TlsClients, &SettingFiles),
) -> Result<(), Failure> {
    let settings = given.settings;
    // What cannot be sent need not be begun.
    let letter = letter::write(given, at, dedup_key)?;
    let (host, port) =
        settings.host_port("smarthost").ok_or_else(|| Failure::lasting(Reason::Configuration, "smarthost is empty"))?;
    let port = port_number(port)?;
    let credentials = Credentials {
        user: settings.text("auth_username").unwrap_or_default().to_owned(),
        identity: settings.text("auth_identity").unwrap_or_default().to_owned(),
        password: secret_or_file(settings, "auth_password", files).await?,
        secret: secret_or_file(settings, "auth_secret", files).await?,
    };
    let privacy = match settings.flag("require_tls") {
        _ if settings.flag("force_implicit_tls") || port == IMPLICIT_TLS_PORT => Privacy::FromTheBegin,
        true => Privacy::Negotiated,
        false => Privacy::None,
    };
    let tls = match privacy {
        Privacy::None => None,
        _ => Some(tls_clients.setup(settings.one("tls_config"), files).await?),
    };
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let stream = net.connect(&address).await.map_err(|error| Failure::of_network("connecting", &error))?;
    let hello = settings.text("hello").filter(|hello| !hello.is_empty()).unwrap_or("localhost");
    let mut conversation = Conversation::begin(stream, (host, hello), tls.as_ref(), privacy).await?;
    conversation.authenticate(&credentials).await?;
    conversation.hand_over(&letter).await
}

fn port_number(port: &str) -> Result<u16, Failure> {
    let named = PORT_NAMES.iter().find(|(name, _)| *name == port).map(|(_, number)| *number);
    let number = named.or_else(|| port.parse().ok());
    number.ok_or_else(|| Failure::lasting(Reason::Configuration, format!("smarthost's port {port:?} is none")))
}
