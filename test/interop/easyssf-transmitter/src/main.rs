//! A transmitter of security events on the published crate `easyssf-test`. The crate answers as a transmitter does
//! (metadata, keys, tokens, streams, polls) and builds and signs SETs, all in memory: here it is put on a port.
//!
//! The one argument is JSON: `port` to listen on, `host` and port as in the issuer (https, so TLS ends before this
//! process). A line on standard input, `{"event_type", "user", "session", "claims"}`, becomes a signed SET: it is queued
//! for polls and printed as a line of JSON. The line `{}` prints what receivers acknowledged and reported.

use std::error::Error;
use std::io::Write;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use easyssf_receiver::http::{SsfHttpClient, SsfHttpRequest};
use easyssf_test::subjects::{complex, iss_sub, opaque};
use easyssf_test::{MetadataLocation, TestTransmitter};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::net::TcpListener;
use url::Url;

const MAX_BODY: usize = 1024 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let argument = std::env::args().nth(1).ok_or("the configuration is missing")?;
    let config: Value = serde_json::from_str(&argument)?;
    let port: u16 = config["port"].as_u64().ok_or("port is missing")?.try_into()?;
    let transmitter = TestTransmitter::with_metadata(MetadataLocation::Ssf, config["host"].as_str());
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let app = Router::new().fallback(answer).with_state(transmitter.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    print_line(json!({ "issuer": transmitter.issuer() }))?;

    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let command: Value = serde_json::from_str(&line)?;
        print_line(obey(&transmitter, &command)?)?;
    }
    Ok(())
}

fn obey(transmitter: &TestTransmitter, command: &Value) -> Result<Value, Box<dyn Error>> {
    let text = |name: &str| command[name].as_str().ok_or(format!("{name} is missing"));
    if command.as_object().is_some_and(|members| members.is_empty()) {
        return Ok(json!({
            "streams": transmitter.streams(),
            "acknowledged": transmitter.acknowledged_sets(),
            "errors": transmitter.reported_errors(),
            "queued": transmitter.queued_set_count(),
        }));
    }
    let subject = complex(Some(iss_sub(transmitter.issuer(), text("user")?)), Some(opaque(text("session")?)));
    let mut claims = transmitter.set_claims(text("event_type")?, Some(subject));
    claims.extend(command["claims"].as_object().cloned().unwrap_or_default());
    let set = transmitter.sign_set(&claims);
    transmitter.queue_set(&set);
    Ok(json!({ "set": set, "claims": claims }))
}

/// Carries a request to the crate and the crate's answer back.
async fn answer(State(transmitter): State<TestTransmitter>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let url =
        Url::parse(transmitter.issuer()).and_then(|base| base.join(&parts.uri.to_string())).expect("a URL");
    let mut asked = SsfHttpRequest::of(parts.method.as_str(), url);
    for (name, value) in &parts.headers {
        asked = asked.with_header(name.as_str(), value.to_str().unwrap_or_default());
    }
    if !bytes.is_empty() {
        asked.body = Some(String::from_utf8_lossy(&bytes).into_owned());
    }
    let answered = transmitter.execute(asked).await.expect("the transmitter always answers");
    let mut response = Response::builder().status(answered.status);
    for (name, value) in &answered.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answered.body)).expect("a valid answer")
}

fn print_line(value: Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}
