//! One session: carries what a client says to a command and back, until one of them ends.
//!
//! What a client sends and what it is sent are carried apart, so that a command that does not read
//! can still write. The command is ended by dropping it, when the client is gone or the server stops.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tracing::debug;

use super::channels::{self, ERRORS, End, OUTPUT, Said};
use super::runtime::{ContainerCommand, ExecEvent};
use super::streams::{PART, Stream, watch_fd};
use super::upgrade::Socket;
use crate::server::stopped;

/// How often the client is asked whether it is still there. A client that is gone shows by it even
/// when the command reads nothing of what it sent last.
pub(super) const PING: Duration = Duration::from_secs(5);
/// How long a client may take to say farewell.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long a command may take to start.
const START: Duration = Duration::from_secs(30);
/// What a client says before its command has started is kept for it up to this, in bytes; then the
/// client has to wait.
const MOST_EARLY: usize = 1 << 20;
/// What a message that is kept takes besides its content, in bytes.
const KEPT: usize = 64;
/// What a command wrote before it ended is still carried, if whoever it left behind does not write on
/// for ever.
const MOST_LEFT: usize = 1 << 20;
/// What ends input on a terminal, as it is typed.
const END_OF_INPUT: &[u8] = &[4];

/// Which streams the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) input: bool,
    pub(super) output: bool,
    pub(super) errors: bool,
    pub(super) terminal: bool,
}

pub(super) type Sender = SplitSink<Socket, Message>;
pub(super) type Receiver = SplitStream<Socket>;

/// Runs a session to its end.
pub(super) async fn run(
    socket: Socket,
    command: Box<dyn ContainerCommand>,
    wanted: Wanted,
    closes: bool,
    mut stop: watch::Receiver<bool>,
) {
    let (mut to_client, mut from_client) = socket.split();
    let end = tokio::select! {
        end = join(command, wanted, closes, &mut to_client, &mut from_client) => end,
        () = stopped(&mut stop) => Some(End::Failed("the API server stops".to_owned())),
    };
    if let Some(end) = end {
        farewell_in_time(&mut to_client, &mut from_client, &end).await;
    }
}

/// Tells how it ended, if the client hears of it soon.
pub(super) async fn farewell_in_time(
    to_client: &mut Sender,
    from_client: &mut Receiver,
    end: &End,
) {
    let told = farewell(to_client, from_client, end);
    if timeout(FAREWELL, told).await.is_err() {
        debug!("a client does not hear the end of its command");
    }
}

/// Tells how it ended and closes the connection in good order, so that nothing gets lost.
async fn farewell(to_client: &mut Sender, from_client: &mut Receiver, end: &End) {
    let close = Message::Close(Some(CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    }));
    for message in [Message::Binary(channels::outcome(end)), close] {
        if let Err(error) = to_client.send(message).await {
            return debug!(%error, "a client does not hear the end of its command");
        }
    }
    while let Some(Ok(_)) = from_client.next().await {}
}

/// `None` if the client is gone.
async fn join(
    command: Box<dyn ContainerCommand>,
    wanted: Wanted,
    closes: bool,
    to_client: &mut Sender,
    from_client: &mut Receiver,
) -> Option<End> {
    // So clients know that they are heard, though the command may be silent.
    let first = match (wanted.output, wanted.errors) {
        (true, _) => OUTPUT,
        (false, true) => ERRORS,
        (false, false) => channels::OUTCOME,
    };
    send(to_client, channels::message(first, &[])).await?;
    let mut early = Vec::new();
    let started = tokio::select! {
        started = in_time(Running::start(command, wanted)) => started,
        () = linger(to_client, from_client, &mut early) => return None,
    };
    let (mut running, joined) = match started {
        Ok(started) => started,
        Err(end) => return Some(end),
    };
    let Joined { input, outputs } = joined;
    let heard = hear(early, from_client, input, wanted.terminal, closes);
    let told = tell(to_client, &mut running, &outputs);
    tokio::select! {
        () = heard => None,
        end = told => end,
    }
}

/// What comes of a start, if it comes soon.
async fn in_time<T>(start: impl Future<Output = Result<T, End>>) -> Result<T, End> {
    let late = |_| {
        let seconds = START.as_secs();
        Err(End::Failed(format!("it did not start within {seconds} s")))
    };
    timeout(START, start).await.unwrap_or_else(late)
}

/// Keeps what the client says early, and ends when it is gone.
async fn linger(to_client: &mut Sender, from_client: &mut Receiver, early: &mut Vec<Bytes>) {
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut room = MOST_EARLY;
    loop {
        tokio::select! {
            content = said(from_client), if room > 0 => {
                let Some(content) = content else {
                    return;
                };
                room = room.saturating_sub(content.len() + KEPT);
                early.push(content);
            }
            _ = pings.tick() => if ping(to_client).await.is_none() {
                return;
            }
        }
    }
}

/// What the client says next; `None` if it is gone.
async fn said(from_client: &mut Receiver) -> Option<Bytes> {
    loop {
        match from_client.next().await {
            Some(Ok(Message::Binary(content))) => return Some(content),
            Some(Ok(Message::Text(text))) => return Some(text.into()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            Some(Ok(_)) => {}
        }
    }
}

pub(super) async fn send(to_client: &mut Sender, message: Bytes) -> Option<()> {
    let sent = to_client.send(Message::Binary(message)).await;
    sent.inspect_err(|error| debug!(%error, "a client of a command is gone"))
        .ok()
}

/// Asks the client whether it is still there.
pub(super) async fn ping(to_client: &mut Sender) -> Option<()> {
    to_client.send(Message::Ping(Bytes::new())).await.ok()
}

/// The server's ends of a command's streams.
struct Joined {
    input: Option<Arc<Stream>>,
    outputs: Vec<(u8, Arc<Stream>)>,
}

/// Carries what the client has said and says, until it says no more.
async fn hear(
    early: Vec<Bytes>,
    from_client: &mut Receiver,
    mut input: Option<Arc<Stream>>,
    terminal: bool,
    closes: bool,
) {
    let mut early = early.into_iter();
    loop {
        let content = match early.next() {
            Some(content) => content,
            None => match said(from_client).await {
                Some(content) => content,
                None => return,
            },
        };
        let Some(stream) = &input else {
            continue;
        };
        let done = match channels::read(content, closes) {
            Said::Input(bytes) => stream.write(&bytes).await,
            Said::Size { rows, columns } if terminal => stream.resize(rows, columns),
            Said::InputEnds if terminal => stream.write(END_OF_INPUT).await,
            Said::InputEnds => Err(io::ErrorKind::UnexpectedEof.into()),
            Said::Size { .. } | Said::Nothing => Ok(()),
        };
        // A command need not read all that there is; then the rest is nobody's. A terminal goes on.
        if done.is_err() && !terminal {
            input = None;
        }
    }
}

/// Carries what the command writes, until it ends; `None` if the client is gone.
async fn tell(
    to_client: &mut Sender,
    running: &mut Running,
    outputs: &[(u8, Arc<Stream>)],
) -> Option<End> {
    let mut open: Vec<bool> = outputs.iter().map(|_| true).collect();
    let mut parts = [vec![0; PART], vec![0; PART]];
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let [first, second] = &mut parts;
        tokio::select! {
            read = read(outputs, &open, 0, first) => {
                open[0] = carry(to_client, outputs[0].0, first, read).await?;
            }
            read = read(outputs, &open, 1, second) => {
                open[1] = carry(to_client, outputs[1].0, second, read).await?;
            }
            () = running.ready() => {
                let Some(end) = running.end().await else {
                    continue;
                };
                for (channel, stream) in outputs {
                    carry_rest(to_client, *channel, stream, first).await?;
                }
                return Some(end);
            }
            _ = pings.tick() => ping(to_client).await?,
        }
    }
}

/// Reads from one of the outputs; never comes back if there is no such output any more.
async fn read(
    outputs: &[(u8, Arc<Stream>)],
    open: &[bool],
    which: usize,
    part: &mut [u8],
) -> io::Result<usize> {
    match outputs.get(which) {
        Some((_, stream)) if open[which] => stream.read(part).await,
        _ => std::future::pending().await,
    }
}

/// Sends what was read; tells whether more can come, `None` if the client is gone.
async fn carry(
    to_client: &mut Sender,
    channel: u8,
    part: &[u8],
    read: io::Result<usize>,
) -> Option<bool> {
    match read {
        Ok(0) | Err(_) => Some(false),
        Ok(length) => {
            send(to_client, channels::message(channel, &part[..length])).await?;
            Some(true)
        }
    }
}

/// Sends what was written before the end. What the command has left running may hold the stream open:
/// that is not waited for.
async fn carry_rest(
    to_client: &mut Sender,
    channel: u8,
    stream: &Stream,
    part: &mut [u8],
) -> Option<()> {
    let mut carried = 0;
    while carried < MOST_LEFT
        && let Some(length) = stream.read_now(part)
    {
        send(to_client, channels::message(channel, &part[..length])).await?;
        carried += length;
    }
    Some(())
}

/// A command that runs.
struct Running {
    command: Option<Box<dyn ContainerCommand>>,
    readable: AsyncFd<OwnedFd>,
}

impl Running {
    /// Has the command started.
    async fn start(
        command: Box<dyn ContainerCommand>,
        wanted: Wanted,
    ) -> Result<(Running, Joined), End> {
        let failed = |error: io::Error| End::Failed(format!("its streams: {error}"));
        let (lent, joined) = match wanted.terminal {
            true => (None, None),
            false => {
                let (lent, joined) = pipes(wanted).map_err(failed)?;
                (Some(lent), Some(joined))
            }
        };
        let fd = command.as_fd().try_clone_to_owned().map_err(failed)?;
        let readable = watch_fd(fd).map_err(failed)?;
        let mut running = Running {
            command: Some(command),
            readable,
        };
        running.with(|command| command.join(lent)).await?;
        running.ready().await;
        let terminal = match running.with(|command| command.next()).await? {
            ExecEvent::Started(terminal) => terminal,
            ExecEvent::Ended { code, note } => {
                return Err(note.map_or(End::Code(code), End::Failed));
            }
        };
        let joined = match (joined, terminal) {
            (Some(joined), _) => joined,
            (None, Some(terminal)) => {
                let stream = Arc::new(Stream::new(terminal).map_err(failed)?);
                Joined {
                    input: Some(Arc::clone(&stream)),
                    outputs: vec![(OUTPUT, stream)],
                }
            }
            (None, None) => return Err(End::Failed("it got no terminal".to_owned())),
        };
        Ok((running, joined))
    }

    /// Waits until something has happened.
    async fn ready(&mut self) {
        // A descriptor that cannot be waited for any more shows by the next look at it.
        if let Ok(mut guard) = self.readable.readable().await {
            guard.clear_ready();
        }
    }

    /// How it ended, if that is what has happened.
    async fn end(&mut self) -> Option<End> {
        match self.with(|command| command.next()).await {
            Ok(ExecEvent::Started(_)) => None,
            Ok(ExecEvent::Ended { code, .. }) => Some(End::Code(code)),
            Err(end) => Some(end),
        }
    }

    /// Does something that may block. Must be awaited to its end.
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut dyn ContainerCommand) -> Result<T, String> + Send + 'static,
    ) -> Result<T, End> {
        let lost = || End::Failed("nobody knows what became of it".to_owned());
        let mut command = self.command.take().ok_or_else(lost)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut *command);
            (command, result)
        });
        let (command, result) = done.await.map_err(|_| lost())?;
        self.command = Some(command);
        result.map_err(End::Failed)
    }
}

/// The pipes of a command: what is lent to it, and what stays here.
fn pipes(wanted: Wanted) -> io::Result<([OwnedFd; 3], Joined)> {
    let (input, to_command) = match wanted.input {
        true => {
            let (reader, writer) = io::pipe()?;
            (reader.into(), Some(Arc::new(Stream::new(writer.into())?)))
        }
        false => (File::open("/dev/null")?.into(), None),
    };
    let mut outputs = Vec::new();
    let mut output = |channel: u8, is_wanted: bool| -> io::Result<OwnedFd> {
        if !is_wanted {
            let nowhere = File::options().write(true).open("/dev/null")?;
            return Ok(nowhere.into());
        }
        let (reader, writer) = io::pipe()?;
        outputs.push((channel, Arc::new(Stream::new(reader.into())?)));
        Ok(writer.into())
    };
    let lent = [
        input,
        output(OUTPUT, wanted.output)?,
        output(ERRORS, wanted.errors)?,
    ];
    let joined = Joined {
        input: to_command,
        outputs,
    };
    Ok((lent, joined))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_start_has_its_time() {
        let soon = in_time(async {
            tokio::time::sleep(START / 2).await;
            Ok(7)
        });
        assert!(matches!(soon.await, Ok(7)));
        match in_time::<()>(std::future::pending()).await {
            Err(End::Failed(why)) => assert_eq!(why, "it did not start within 30 s"),
            _ => panic!("it never started"),
        }
    }
}
