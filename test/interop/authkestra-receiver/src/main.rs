//! A receiver of pushed security events on the published crate: it verifies the SET, decodes the CAEP event, keeps
//! each jti once and words the answer of RFC 8935. The crate brings no HTTP server, so axum stands in front of it.
//!
//! The one argument is JSON: `issuer`, `audience`, `port`, and the transmitter's `jwks` as fetched by the test, since the
//! crate leaves the fetching of keys to its user. Each event that it took is one line of JSON on standard output. It ends
//! with its standard input.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use authkestra_ssf::{
    CaepEvent, HandlerError, InMemorySetReplayGuard, PushReceiver, SecurityEventToken, SetHandler,
    SetVerifier, StaticKeyResolver,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Response, header};
use axum::response::IntoResponse;
use axum::routing::post;
use jsonwebtoken::{Algorithm, DecodingKey, jwk::JwkSet};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, stdin};
use tokio::net::TcpListener;

const REMEMBERED: Duration = Duration::from_secs(3600);

struct PrintingHandler;

#[async_trait::async_trait]
impl SetHandler for PrintingHandler {
    async fn handle(&self, set: &SecurityEventToken, event: &CaepEvent) -> Result<(), HandlerError> {
        let known = !matches!(event, CaepEvent::Unknown { .. });
        let line = json!({ "event_type": event.event_type_uri(), "known": known, "claims": set });
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .map_err(|error| HandlerError::Internal(error.to_string()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let argument = std::env::args().nth(1).ok_or("the configuration is missing")?;
    let config: Value = serde_json::from_str(&argument)?;
    let text = |name: &str| config[name].as_str().ok_or(format!("{name} is missing"));
    let jwks: JwkSet = serde_json::from_value(config["jwks"].clone())?;
    let mut keys = StaticKeyResolver::new();
    for jwk in &jwks.keys {
        let kid = jwk.common.key_id.clone().ok_or("a key without kid")?;
        keys = keys.with_key(kid, DecodingKey::from_jwk(jwk)?);
    }
    let verifier = SetVerifier::builder(text("issuer")?)
        .audience(text("audience")?)
        .algorithms([Algorithm::RS256])
        .key_resolver(Arc::new(keys))
        .max_age(REMEMBERED)
        .replay_guard(Arc::new(InMemorySetReplayGuard::new(REMEMBERED)))
        .build()?;
    let receiver = PushReceiver::new(Arc::new(verifier)).with_handler(Arc::new(PrintingHandler));
    let app = Router::new().route("/events", post(receive)).with_state(Arc::new(receiver));
    let port: u16 = config["port"].as_u64().ok_or("port is missing")?.try_into()?;
    let ended = async { drop(stdin().read(&mut [0]).await) };
    axum::serve(TcpListener::bind(("127.0.0.1", port)).await?, app).with_graceful_shutdown(ended).await?;
    Ok(())
}

/// Carries the request to the crate and the crate's answer back.
async fn receive(
    State(receiver): State<Arc<PushReceiver>>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let answer = receiver.receive(content_type, &body).await;
    let mut response = Response::builder().status(answer.status());
    if let Some(value) = answer.content_type() {
        response = response.header(header::CONTENT_TYPE, value);
    }
    if let Some(value) = answer.content_language() {
        response = response.header(header::CONTENT_LANGUAGE, value);
    }
    response.body(axum::body::Body::from(answer.body().to_vec())).expect("a valid answer")
}
