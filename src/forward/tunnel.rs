//! Upgraded connections: after a `101`, bytes in both directions until either side ends, the session that opened them
//! does, or the gate stops.

use std::{future, io, time::Duration};

use http::HeaderValue;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional, split},
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    counted::Counted,
    stream::Rewound,
    websocket::{FrameTracker, close_frame},
};
use crate::{
    observe::{self, Record},
    random,
};

/// "Going away" (RFC 6455 §7.4.1).
const GOING_AWAY: u16 = 1001;
/// "Policy violation" (RFC 6455 §7.4.1): what was allowed is so no longer.
const POLICY_VIOLATION: u16 = 1008;
/// How long a tunnel may take to close once its session has ended, whatever the peers do.
const CLOSING_OVER: Duration = Duration::from_secs(3);
/// How long a peer may take to finish its frame and to answer a close.
const CLOSING: Duration = Duration::from_secs(2);
const BUFFER: usize = 16 * 1024;

/// The upgraded connections of the process, so that a stop can end them politely and wait.
#[derive(Clone, Default)]
pub struct Tunnels {
    running: TaskTracker,
    stop: CancellationToken,
}

impl Tunnels {
    /// Opens a tunnel once the client, too, has switched to `protocol`. It closes after `end` has come. `record` comes
    /// with the answer's head, and ends with the tunnel.
    pub(super) fn open(
        &self,
        client: OnUpgrade,
        upstream: Rewound,
        protocol: &HeaderValue,
        end: Option<impl Future<Output = ()> + Send + 'static>,
        record: oneshot::Receiver<Record>,
    ) {
        let is_websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
        let stop = Stop {
            gate: self.stop.clone(),
            tunnel: self.stop.child_token(),
        };
        self.running.spawn(async move {
            // A client that never switches leaves nothing to carry; its connection closes by itself.
            let Ok(client) = client.await else { return };
            let record = record.await;
            let mut upstream = Counted::new(upstream);
            let carried = async {
                if is_websocket {
                    carry_frames(client, &mut upstream, &stop).await;
                } else {
                    let mut client = TokioIo::new(client);
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut upstream) => {}
                        () = stop.tunnel.cancelled() => {}
                    }
                }
            };
            let over = async {
                match end {
                    Some(end) => end.await,
                    None => future::pending().await,
                }
                stop.tunnel.cancel();
                sleep(CLOSING_OVER).await;
            };
            tokio::select! {
                () = carried => {}
                () = over => {}
            }
            if let Ok(mut record) = record {
                record.received().add(upstream.written);
                record.note_sent(upstream.read);
                if let Some(ended) = stop.ended() {
                    record.note_end(ended);
                }
            }
        });
    }

    /// Ends every tunnel, WebSockets by a close frame, and waits until they have ended.
    pub async fn close(&self) {
        self.stop.cancel();
        self.running.close();
        self.running.wait().await;
    }
}

/// Why a tunnel closes.
struct Stop {
    gate: CancellationToken,
    /// This one alone, or all of the gate's.
    tunnel: CancellationToken,
}

impl Stop {
    /// Why the gate closed it; none where a peer did.
    fn ended(&self) -> Option<observe::Ended> {
        if self.gate.is_cancelled() {
            Some(observe::Ended::Stop)
        } else {
            self.tunnel
                .is_cancelled()
                .then_some(observe::Ended::Session)
        }
    }

    fn code(&self) -> u16 {
        if self.gate.is_cancelled() {
            GOING_AWAY
        } else {
            POLICY_VIOLATION
        }
    }
}

async fn carry_frames(client: Upgraded, upstream: &mut Counted<Rewound>, stop: &Stop) {
    let (mut from_client, mut to_client) = split(TokioIo::new(client));
    let (mut from_upstream, mut to_upstream) = split(upstream);
    let down = carry(&mut from_upstream, &mut to_client, None, stop);
    let mask = Some(random::bytes());
    let up = carry(&mut from_client, &mut to_upstream, mask, stop);
    // An error on either side ends both.
    let Ok((down, up)) = tokio::try_join!(down, up) else {
        return;
    };
    if matches!((down, up), (Ended::Closed, _) | (_, Ended::Closed)) {
        // The client answers a close with a close, then with the end of the connection.
        let _ = timeout(CLOSING, discard(&mut from_client)).await;
    }
}

/// How one direction came to its end.
enum Ended {
    /// The sender has nothing more to say.
    Finished,
    /// The tunnel is to close, and the receiver was told.
    Closed,
}

async fn carry(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mask: Option<[u8; 4]>,
    stop: &Stop,
) -> io::Result<Ended> {
    let mut tracker = FrameTracker::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = tokio::select! {
            biased;
            () = stop.tunnel.cancelled() => break,
            length = from.read(&mut buffer) => length?,
        };
        if length == 0 {
            to.shutdown().await?;
            return Ok(Ended::Finished);
        }
        tracker.follow(&buffer[..length]);
        to.write_all(&buffer[..length]).await?;
        to.flush().await?;
    }
    let finish = async {
        while !tracker.is_between_frames() {
            let length = from.read(&mut buffer).await?;
            let end = tracker.follow(&buffer[..length]);
            to.write_all(&buffer[..end.unwrap_or(length)]).await?;
            if length == 0 || end.is_some() {
                break;
            }
        }
        to.write_all(&close_frame(stop.code(), mask)).await?;
        to.flush().await
    };
    timeout(CLOSING, finish)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(Ended::Closed)
}

async fn discard(from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while from.read(&mut buffer).await? > 0 {}
    Ok(())
}
