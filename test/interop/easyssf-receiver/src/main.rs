//! A receiver of security events on the published crate: discovery, tokens, stream, keys, verification, polling,
//! acknowledging and the push endpoint are its own. Here are only its start, its end, what it is told and what it prints.
//!
//! The one argument is its configuration as JSON (keys as in the crate's documentation). The address of the push
//! endpoint comes from it. Each event that it took is one line of JSON on standard output. A line on standard input is
//! something to ask of the transmitter, answered by a line with the member `done`; it ends with its standard input.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use easyssf_receiver::SsfReceiver;
use easyssf_receiver::config::SsfReceiverConfig;
use easyssf_receiver::event::SsfEventContext;
use easyssf_receiver_axum::push_router_for;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::net::TcpListener;
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let argument = std::env::args().nth(1).ok_or("the configuration is missing")?;
    let config: SsfReceiverConfig = serde_json::from_str(&argument)?;
    let endpoint = config.transmitter.push.delivery_endpoint_url.clone();
    let receiver = SsfReceiver::builder(config).handler(print_event).build()?;
    if let Some(url) = endpoint {
        let address = (url.host_str().unwrap_or_default(), url.port().unwrap_or_default());
        let listener = TcpListener::bind(address).await?;
        let router = push_router_for(&receiver);
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
    receiver.start();

    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let command: Map<String, Value> = serde_json::from_str(&line)?;
        print_line(json!({ "done": obey(&receiver, &command).await? }));
    }
    receiver.shutdown().await;
    Ok(())
}

/// `{"status": …}`, `{"add": subject}`, `{"remove": subject}`, or `{}` for a verification, on the stream of the receiver.
async fn obey(receiver: &SsfReceiver, command: &Map<String, Value>) -> Result<Value, Box<dyn Error>> {
    let transmitter = &receiver.transmitters().all()[0];
    let client = transmitter.stream_client().ok_or("no stream client")?;
    // The package registers its stream in the background.
    let stream_id = loop {
        match transmitter.receiver_stream().stream_id() {
            Some(id) => break id,
            None => sleep(Duration::from_millis(20)).await,
        }
    };
    let Some((name, value)) = command.iter().next() else {
        return Ok(
            json!({ "state": transmitter.stream_verification().request_verification(client, &stream_id).await? }),
        );
    };
    let subject = value.as_object().cloned().unwrap_or_default();
    match name.as_str() {
        "add" => client.add_subject(&stream_id, &subject, true).await?,
        "remove" => client.remove_subject(&stream_id, &subject).await?,
        _ => {
            client.update_status(&stream_id, value.as_str().unwrap_or_default(), Some("an exercise")).await?;
            let read = client.status(&stream_id).await?;
            return Ok(json!({ "status": read.status, "reason": read.reason }));
        }
    }
    Ok(json!({}))
}

async fn print_event(context: SsfEventContext) -> Result<(), easyssf_receiver::BoxError> {
    print_line(json!({
        "delivery": context.delivery_method().uri(),
        "session_id": context.subject().session_id(),
        "user": context.subject().user_identifier().and_then(|user| user.value()),
        "claims": context.event_token().claims(),
    }));
    Ok(())
}

fn print_line(value: Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}").and_then(|()| out.flush()).expect("standard output is open");
}
