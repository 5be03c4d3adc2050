//! Sends one request over HTTP/1.1, on a connection of its own, and reads the begin of the answer. Whoever calls sets the
//! deadline.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{self, HeaderName, HeaderValue, Method, Uri, header};
use bytes::Bytes;
use futures::StreamExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

use super::failure::{Failure, Reason};
use super::http_config::{HttpSetup, OAuth2, Proxy, basic, decoded};
use super::request::{Answer, Request};
use crate::env::{Net, Stream};

/// Bytes of an answer that are read; the rest is nobody's concern.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Bytes of a proxy's answer before the connection is ours.
const PROXY_ANSWER_BYTES_MAX: usize = 16 << 10;
/// Addresses that answers may name one after the other.
const REDIRECTS_MAX: usize = 10;
/// Who sends.
const USER_AGENT: &str = concat!("Bellwether/", env!("CARGO_PKG_VERSION"));

/// Sends requests.
pub struct HttpClient {
    net: Arc<dyn Net>,
}

/// A request on its way, which redirects change.
struct Hop {
    method: Method,
    url: Url,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl HttpClient {
    /// Over a network.
    pub fn new(net: Arc<dyn Net>) -> HttpClient {
        HttpClient { net }
    }

    /// Sends a request, and follows where it is sent on to.
    pub async fn exchange(&self, request: &Request, setup: &HttpSetup) -> Result<Answer, Failure> {
        let mut headers = [request.headers.as_slice(), &setup.headers].concat();
        if let Some(oauth2) = &setup.oauth2 {
            let token = Box::pin(self.token(oauth2)).await.map_err(|failure| failure.while_doing("oauth2"))?;
            headers.push((header::AUTHORIZATION, token));
        }
        let Request { method, url, body, .. } = request;
        let mut hop = Hop { method: method.clone(), url: url.clone(), headers, body: body.clone() };
        for _ in 0..=REDIRECTS_MAX {
            let (answer, next) = self.hop(&hop, setup).await?;
            match next.filter(|_| setup.follows_redirects) {
                Some(next) => hop = hop.redirected(answer.status, &next)?,
                None => return Ok(answer),
            }
        }
        Err(Failure::lasting(
            Reason::ClientError,
            format!("the receiver sends on to more than {REDIRECTS_MAX} addresses"),
        ))
    }

    async fn token(&self, oauth2: &OAuth2) -> Result<HeaderValue, Failure> {
        #[derive(Deserialize)]
        struct Token {
            access_token: String,
        }
        let secret = oauth2.client_secret.reveal();
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&oauth2.parameters).finish();
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))];
        let url = oauth2.token_url.clone();
        let request =
            Request { method: Method::POST, url, headers, body: form.into(), hidden: vec![secret.to_owned()] };
        // RFC 6749, section 2.3.1: both are encoded as in a form first.
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let authorization = basic(&encoded(&oauth2.client_id), &encoded(secret));
        let request = request.with_secret_header(header::AUTHORIZATION, &authorization)?;
        let answer = Box::pin(self.exchange(&request, &oauth2.setup)).await?;
        answer.check_status(&request)?;
        let none = || Failure::lasting(Reason::ClientError, "there is no access_token in the answer");
        let token: Token = serde_json::from_slice(&answer.body).map_err(|_| none())?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.access_token)).map_err(|_| none())?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// One answer, and where it sends on to.
    async fn hop(&self, hop: &Hop, setup: &HttpSetup) -> Result<(Answer, Option<String>), Failure> {
        let (stream, target) = self.connect(&hop.url, setup).await?;
        let mut request = hop.request(target)?;
        if let Some(proxy) = setup.proxy.as_ref().filter(|_| hop.url.scheme() == "http") {
            request.headers_mut().extend(proxy.headers.iter().cloned());
        }
        let broken = |error: hyper::Error| Failure::passing(Reason::Unreachable, format!("HTTP: {error}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let (parts, body) = response.into_parts();
            let location = parts.headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let next = location.filter(|_| matches!(parts.status.as_u16(), 301 | 302 | 303 | 307 | 308));
            let mut body = Body::new(body).into_data_stream();
            let mut read = Vec::new();
            while let Some(part) = body.next().await
                && read.len() < ANSWER_BYTES_MAX
            {
                // What came before it broke off may say enough.
                let Ok(part) = part else { break };
                read.extend_from_slice(&part[..part.len().min(ANSWER_BYTES_MAX - read.len())]);
            }
            Ok((Answer { status: parts.status.as_u16(), body: read }, next))
        };
        let carried = async {
            // How it ends is told by the exchange.
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            answer = exchange => answer,
            never = carried => never,
        }
    }

    /// A connection to an address, and what to ask there for.
    async fn connect(&self, url: &Url, setup: &HttpSetup) -> Result<(Box<dyn Stream>, String), Failure> {
        let host = url.host_str().unwrap_or_default();
        let address = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
        let is_tls = url.scheme() == "https";
        let mut target = url.path().to_owned();
        if let Some(query) = url.query() {
            target = format!("{target}?{query}");
        }
        let mut stream = match &setup.proxy {
            Some(proxy) => {
                let mut stream = self.dial(&proxy.address, "connecting to the proxy").await?;
                if is_tls {
                    tunnel(&mut stream, &address, proxy).await?;
                } else {
                    target = format!("http://{address}{target}");
                }
                stream
            }
            None => self.dial(&address, "connecting").await?,
        };
        if is_tls {
            stream = setup.tls.clone()?.connect(host, stream).await?;
        }
        Ok((stream, target))
    }

    async fn dial(&self, address: &str, doing: &str) -> Result<Box<dyn Stream>, Failure> {
        self.net.connect(address).await.map_err(|error| Failure::of_network(doing, &error))
    }
}

impl Hop {
    fn request(&self, target: String) -> Result<http::Request<Body>, Failure> {
        let unfit = || Failure::lasting(Reason::Configuration, "the receiver's address cannot be asked for over HTTP");
        let uri: Uri = target.parse().map_err(|_| unfit())?;
        let host = match self.url.port() {
            Some(port) => format!("{}:{port}", self.url.host_str().unwrap_or_default()),
            None => self.url.host_str().unwrap_or_default().to_owned(),
        };
        let mut request =
            http::Request::builder().method(self.method.clone()).uri(uri).body(Body::from(self.body.clone()));
        let headers = request.as_mut().map_err(|_| unfit())?.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_str(&host).map_err(|_| unfit())?);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        if !self.url.username().is_empty() {
            let basic = basic(&decoded(self.url.username()), &decoded(self.url.password().unwrap_or_default()));
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&basic).map_err(|_| unfit())?);
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        request.map_err(|_| unfit())
    }

    /// The request that an answer asks for instead: 307 and 308 mean the same one, the others a GET of what is there
    /// (RFC 9110, section 15.4). What authorizes goes to no other host.
    fn redirected(self, status: u16, location: &str) -> Result<Hop, Failure> {
        let wrong = || Failure::lasting(Reason::ClientError, "the receiver sends on to what is no address of HTTP");
        let url = self.url.join(location).map_err(|_| wrong())?;
        if !(matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(wrong());
        }
        let mut headers = self.headers;
        if url.host_str() != self.url.host_str() {
            headers.retain(|(_, value)| !value.is_sensitive());
        }
        if matches!(status, 307 | 308) {
            return Ok(Hop { url, headers, ..self });
        }
        headers.retain(|(name, _)| *name != header::CONTENT_TYPE);
        Ok(Hop { method: Method::GET, url, headers, body: Bytes::new() })
    }
}

/// Asks a proxy for a connection (RFC 9110, section 9.3.6).
async fn tunnel(stream: &mut Box<dyn Stream>, address: &str, proxy: &Proxy) -> Result<(), Failure> {
    let mut request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n").into_bytes();
    for (name, value) in &proxy.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            request.extend_from_slice(part);
        }
    }
    request.extend_from_slice(b"\r\n");
    let broken = |error| Failure::of_network("asking the proxy", &error);
    stream.write_all(&request).await.map_err(broken)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= PROXY_ANSWER_BYTES_MAX {
            return Err(Failure::passing(Reason::Unreachable, "the proxy's answer has no end"));
        }
        // Byte by byte: what follows the answer belongs to the receiver.
        answer.push(stream.read_u8().await.map_err(broken)?);
    }
    let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    match status.first() {
        Some(b'2') => Ok(()),
        _ => {
            let status = String::from_utf8_lossy(status).into_owned();
            Err(Failure::passing(Reason::Unreachable, format!("the proxy answered {status}")))
        }
    }
}
