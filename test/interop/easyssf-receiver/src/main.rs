//! A receiver of security events on the published crate: discovery, tokens, stream, keys, verification, polling,
//! acknowledging and the push endpoint are its own. Here are only its start, its end and what it prints.
//!
//! The one argument is its configuration as JSON (keys as in the crate's documentation). The address of the push
//! endpoint comes from it. Each event that it took is one line of JSON on standard output. It ends with its standard input.

use std::error::Error;
use std::io::Write;

use easyssf_receiver::SsfReceiver;
use easyssf_receiver::config::SsfReceiverConfig;
use easyssf_receiver::event::SsfEventContext;
use easyssf_receiver_axum::push_router_for;
use serde_json::json;
use tokio::io::{AsyncReadExt, stdin};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let argument = std::env::args().nth(1).ok_or("the configuration is missing")?;
    let config: SsfReceiverConfig = serde_json::from_str(&argument)?;
    let endpoint = config.transmitter.push.delivery_endpoint_url.clone();
    let receiver = SsfReceiver::builder(config)
        .handler(|context: SsfEventContext| async move {
            let token = context.event_token();
            print_line(json!({
                "delivery": context.delivery_method().uri(),
                "session_id": context.subject().session_id(),
                "user": context.subject().user_identifier().and_then(|user| user.value()),
                "claims": token.claims(),
            }));
            Ok(())
        })
        .build()?;
    receiver.start();

    if let Some(url) = endpoint {
        let address = (url.host_str().unwrap_or_default(), url.port().unwrap_or_default());
        let listener = TcpListener::bind(address).await?;
        axum::serve(listener, push_router_for(&receiver)).with_graceful_shutdown(end_of_input()).await?;
    } else {
        end_of_input().await;
    }
    receiver.shutdown().await;
    Ok(())
}

/// Standard input is open for as long as the test lives.
async fn end_of_input() {
    let _ = stdin().read(&mut [0]).await;
}

fn print_line(value: serde_json::Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}").and_then(|()| out.flush()).expect("standard output is open");
}
