//! Looking on at a container that runs: GET and POST of `pods/NAME/attach`.
//!
//! What it writes is in its log already, each line with its stream; who is attached follows both from
//! now on. Containers of the lab read nothing, so there is nothing to attach an input to.

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll, select_all};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Message;

use super::channels::{self, ERRORS, End, OUTPUT};
use super::session::{PING, Receiver, Sender, Wanted, farewell_in_time, ping, send};
use super::upgrade::Socket;
use crate::handlers::Call;
use crate::logs;
use crate::server::stopped;
use crate::status::ApiError;

/// What a container writes, and on which channel it goes.
pub(super) type Shown = SelectAll<BoxStream<'static, (u8, Bytes)>>;

/// Finds the container and what it writes.
pub(super) async fn find(call: &Call, wanted: &Wanted) -> Result<Shown, ApiError> {
    let object = call.object()?;
    let pod = object.value();
    let container = logs::container(call, &pod)?;
    if wanted.input && reads(&pod, &container) {
        return Err(ApiError::not_served(&format!(
            "pods/attach to the standard input of container {container:?} (its field stdin)"
        )));
    }
    let mut shown = Vec::new();
    // A terminal has one output, and so has what looks like one.
    for (is_wanted, channel, stream) in [
        (wanted.output, OUTPUT, "stdout"),
        (wanted.errors, ERRORS, "stderr"),
    ] {
        if is_wanted {
            let written = logs::from_now(call, &container, stream).await?;
            shown.push(written.map(move |bytes| (channel, bytes)).boxed());
        }
    }
    Ok(select_all(shown))
}

/// Whether a container wants to be given something to read.
fn reads(pod: &Value, container: &str) -> bool {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
    containers
        .into_iter()
        .flatten()
        .any(|one| one["name"] == container && one["stdin"] == true)
}

/// Shows what is written until the container ends or the client has seen enough.
pub(super) async fn run(socket: Socket, mut shown: Shown, mut stop: watch::Receiver<bool>) {
    let (mut to_client, mut from_client) = socket.split();
    let end = tokio::select! {
        end = show(&mut shown, &mut to_client) => end,
        () = leaves(&mut from_client) => None,
        () = stopped(&mut stop) => Some(End::Failed("the API server stops".to_owned())),
    };
    if let Some(end) = end {
        farewell_in_time(&mut to_client, &mut from_client, &end).await;
    }
}

/// `None` if the client is gone.
async fn show(shown: &mut Shown, to_client: &mut Sender) -> Option<End> {
    send(to_client, channels::message(OUTPUT, &[])).await?;
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            next = shown.next() => match next {
                Some((channel, bytes)) => {
                    send(to_client, channels::message(channel, &bytes)).await?;
                }
                None => return Some(End::Code(0)),
            },
            _ = pings.tick() => ping(to_client).await?,
        }
    }
}

/// Waits until the client is gone; what it says until then is for nobody.
async fn leaves(from_client: &mut Receiver) {
    while let Some(Ok(message)) = from_client.next().await {
        if matches!(message, Message::Close(_)) {
            return;
        }
    }
}
