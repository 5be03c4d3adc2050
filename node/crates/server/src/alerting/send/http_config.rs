//! How receivers are reached over HTTP: what `http_config` says, made ready for use.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bellwether_alert::notify::config::Secret;
use bellwether_alert::notify::config::settings::{Setting, Settings};
use url::Url;

use super::failure::{Failure, Reason};
use super::files::SettingFiles;
use super::tls::{self, TlsClients, TlsSetup};

/// Headers that would change what a request is, and not what it says.
const OWN_HEADERS: [HeaderName; 5] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE];

/// See the module.
pub struct HttpSetup {
    /// Towards addresses with `https`: what is wrong with it concerns nobody else.
    pub tls: Result<TlsSetup, Failure>,
    /// Headers of every request, that which authorizes included.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether answers that name another address are followed.
    pub follows_redirects: bool,
    /// Who is asked to connect.
    pub proxy: Option<Proxy>,
    /// Where a token is had before each request.
    pub oauth2: Option<Box<OAuth2>>,
}

/// A proxy of HTTP.
pub struct Proxy {
    /// `host:port`
    pub address: String,
    /// Headers for it alone.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Client credentials (RFC 6749, section 4.4).
pub struct OAuth2 {
    /// Where tokens are had.
    pub token_url: Url,
    /// Who asks.
    pub client_id: String,
    /// His password.
    pub client_secret: Secret,
    /// What else is said, scopes included.
    pub parameters: BTreeMap<String, String>,
    /// How that is reached.
    pub setup: HttpSetup,
}

impl HttpSetup {
    /// Reads the settings and the files that they name.
    pub async fn read(
        settings: Option<&Settings>,
        tls_clients: &TlsClients,
        files: &SettingFiles,
    ) -> Result<HttpSetup, Failure> {
        let none = Settings::default();
        let http = settings.unwrap_or(&none);
        if let Some(refusal) = refusal(http) {
            return Err(Failure::lasting(Reason::Configuration, refusal));
        }
        let mut headers = own_headers(http, files).await?;
        if let Some(authorization) = authorization(http, files).await? {
            headers.push((header::AUTHORIZATION, secret_value("http_config's authorization", &authorization)?));
        }
        let oauth2 = match http.one("oauth2") {
            Some(oauth2) => Some(Box::new(OAuth2::read(oauth2, tls_clients, files).await?)),
            None => None,
        };
        Ok(HttpSetup {
            tls: tls_clients.setup(http.one("tls_config"), files).await,
            headers,
            follows_redirects: http.get("follow_redirects").is_none() || http.flag("follow_redirects"),
            proxy: Proxy::read(http)?,
            oauth2,
        })
    }
}

impl OAuth2 {
    async fn read(settings: &Settings, tls_clients: &TlsClients, files: &SettingFiles) -> Result<OAuth2, Failure> {
        let url = Url::parse(settings.text("token_url").unwrap_or_default()).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let mut parameters = settings.map("endpoint_params").cloned().unwrap_or_default();
        parameters.insert("grant_type".to_owned(), "client_credentials".to_owned());
        if !settings.list("scopes").is_empty() {
            parameters.insert("scope".to_owned(), settings.list("scopes").join(" "));
        }
        let setup = HttpSetup {
            tls: tls_clients.setup(settings.one("tls_config"), files).await,
            headers: Vec::new(),
            follows_redirects: true,
            proxy: Proxy::read(settings)?,
            oauth2: None,
        };
        Ok(OAuth2 {
            token_url: url
                .ok_or_else(|| Failure::of_settings("oauth2.token_url is no address of the form http(s)://host/.."))?,
            client_id: settings.text("client_id").unwrap_or_default().to_owned(),
            client_secret: Secret::new(secret_or_file(settings, "client_secret", files).await?.unwrap_or_default()),
            parameters,
            setup,
        })
    }
}

impl Proxy {
    fn read(settings: &Settings) -> Result<Option<Proxy>, Failure> {
        let Some(text) = settings.text("proxy_url").filter(|text| !text.is_empty()) else { return Ok(None) };
        let wrong = || Failure::of_settings("proxy_url is no address of the form http://host:port");
        let url = Url::parse(text).ok().filter(|url| url.scheme() == "http").ok_or_else(wrong)?;
        let host = url.host_str().ok_or_else(wrong)?;
        let mut headers = Vec::new();
        if !url.username().is_empty() {
            let basic = basic(&decoded(url.username()), &decoded(url.password().unwrap_or_default()));
            headers.push((header::PROXY_AUTHORIZATION, secret_value("proxy_url's password", &basic)?));
        }
        if let Some(Setting::SecretLists(lists)) = settings.get("proxy_connect_header") {
            for (name, values) in lists {
                for value in values {
                    headers.push((header_name(name)?, secret_value("proxy_connect_header", value.reveal())?));
                }
            }
        }
        Ok(Some(Proxy { address: format!("{host}:{}", url.port_or_known_default().unwrap_or(80)), headers }))
    }
}

/// What of `http_config` is not done. Files are another question.
pub fn refusal(http: &Settings) -> Option<String> {
    let parts = [Some(http), http.one("oauth2")];
    for part in parts.into_iter().flatten() {
        if part.flag("proxy_from_environment") {
            return Some("proxy_from_environment is not supported: write proxy_url".to_owned());
        }
        if part.is_set("no_proxy") {
            return Some("no_proxy is not supported: give those receivers an http_config without proxy_url".to_owned());
        }
        let proxy = part.text("proxy_url").unwrap_or_default();
        if !proxy.is_empty() && !proxy.starts_with("http://") {
            return Some("proxy_url is not supported: only proxies at http:// are".to_owned());
        }
        if let Some(refusal) = part.one("tls_config").and_then(tls::refusal) {
            return Some(refusal);
        }
    }
    let of_store = [
        ("basic_auth", "username_ref"),
        ("basic_auth", "password_ref"),
        ("authorization", "credentials_ref"),
        ("oauth2", "client_secret_ref"),
    ];
    let set = of_store.iter().find(|(part, name)| http.one(part).is_some_and(|part| part.is_set(name)));
    set.map(|(part, name)| format!("{part}.{name} is not supported: there is no store of secrets"))
}

/// What tells a receiver that a request is one that it has had already
/// (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>).
pub fn idempotency_key(key: &str) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_str(&format!("\"{key}\"")).ok()?;
    Some((HeaderName::from_static("idempotency-key"), value))
}

/// `Basic ..` of RFC 7617.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
}

/// A part of an address as it is meant.
pub fn decoded(part: &str) -> String {
    // A name and a value of a form are written alike, but for the plus.
    let form = part.replace('+', "%2B");
    form_urlencoded::parse(form.as_bytes()).map(|(name, _)| name.into_owned()).next().unwrap_or_default()
}

async fn authorization(http: &Settings, files: &SettingFiles) -> Result<Option<String>, Failure> {
    if let Some(auth) = http.one("basic_auth") {
        let user = secret_or_file(auth, "username", files).await?.unwrap_or_default();
        let password = secret_or_file(auth, "password", files).await?.unwrap_or_default();
        return Ok(Some(basic(&user, &password)));
    }
    if let Some(auth) = http.one("authorization") {
        let kind = auth.text("type").map(str::trim).filter(|kind| !kind.is_empty()).unwrap_or("Bearer");
        let credentials = secret_or_file(auth, "credentials", files).await?;
        return Ok(credentials.map(|credentials| format!("{kind} {credentials}")));
    }
    let token = secret_or_file(http, "bearer_token", files).await?;
    Ok(token.map(|token| format!("Bearer {token}")))
}

async fn own_headers(http: &Settings, files: &SettingFiles) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
    let mut headers = Vec::new();
    for (name, header) in http.named("http_headers").into_iter().flatten() {
        let of_name = header_name(name)?;
        if OWN_HEADERS.contains(&of_name) {
            return Err(Failure::of_settings(format!("http_headers cannot have {name}")));
        }
        let secrets = header.secrets("secrets").iter().map(|secret| secret.reveal().to_owned());
        let mut values: Vec<String> = header.list("values").iter().cloned().chain(secrets).collect();
        for file in header.list("files") {
            values.push(files.read_text(file).await?);
        }
        for value in values {
            headers.push((of_name.clone(), secret_value("http_headers", &value)?));
        }
    }
    Ok(headers)
}

/// A setting, shown or not, or what is in the file of `{name}_file`.
pub async fn secret_or_file(settings: &Settings, name: &str, files: &SettingFiles) -> Result<Option<String>, Failure> {
    let inline = settings.text(name).or_else(|| settings.secret(name).map(|secret| secret.reveal()));
    if let Some(text) = inline.filter(|text| !text.is_empty()) {
        return Ok(Some(text.to_owned()));
    }
    match settings.text(&format!("{name}_file")).filter(|file| !file.is_empty()) {
        Some(file) => files.read_text(file).await.map(Some),
        None => Ok(None),
    }
}

fn header_name(name: &str) -> Result<HeaderName, Failure> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| Failure::of_settings(format!("{name:?} is no header's name")))
}

fn secret_value(what: &str, value: &str) -> Result<HeaderValue, Failure> {
    let value = HeaderValue::from_str(value);
    let mut value = value.map_err(|_| Failure::of_settings(format!("{what} has bytes that no header has")))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_addresses_are_read_as_they_are_meant() {
        assert_eq!(decoded("a%40b+c%20d"), "a@b+c d");
        assert_eq!(basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
