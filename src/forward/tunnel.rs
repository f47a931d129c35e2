//! Upgraded connections: after a `101`, bytes in both directions until either side ends, the session that opened them
//! does, or the gate stops.

use std::{
    future, io,
    pin::{Pin, pin},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use http::HeaderValue;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    counted::Counted,
    downstream::TunnelHold,
    stream::PrefixedStream,
    websocket::{FrameTracker, close_frame},
};
use crate::{
    body_error::BodyError,
    observe::{
        Record,
        metrics::{Limit, LimitHits},
    },
    random,
};

/// "Going away" (RFC 6455 §7.4.1).
const GOING_AWAY: u16 = 1001;
/// "Policy violation" (RFC 6455 §7.4.1): the session has ended.
const POLICY_VIOLATION: u16 = 1008;
/// How long a tunnel may take to close after its session has ended, whatever the peers do.
const CLOSING_OVER: Duration = Duration::from_secs(3);
/// How long a peer may take to finish its frame and to answer a close.
const CLOSING: Duration = Duration::from_secs(2);
/// Bytes that are copied at once, in each direction.
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
        (client, hold): (OnUpgrade, Option<TunnelHold>),
        upstream: PrefixedStream,
        protocol: &HeaderValue,
        limits: TunnelLimits,
        end: Option<impl Future<Output = ()> + Send + 'static>,
        record: oneshot::Receiver<Box<Record>>,
    ) {
        let has_frames = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
        let stop = Stop {
            gate: self.stop.clone(),
            tunnel: self.stop.child_token(),
        };
        self.running.spawn(async move {
            // A client that never switches leaves nothing to carry; its connection closes by itself.
            let Ok(client) = client.await else { return };
            let _hold = hold;
            let mut record = Unfinished(record.await.ok());
            let mut upstream = Counted::new(upstream);
            let carried = carry_both(client, &mut upstream, has_frames, limits, &stop);
            let over = async {
                match end {
                    Some(end) => end.await,
                    None => future::pending().await,
                }
                stop.tunnel.cancel();
                sleep(CLOSING_OVER).await;
            };
            let limit = tokio::select! {
                limit = carried => limit,
                () = over => None,
            };
            if let Some(mut record) = record.0.take() {
                record.received().add(upstream.written);
                record.note_sent(upstream.read);
                if let Some(error) = stop.error().or(limit) {
                    error.note(&mut record);
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

/// How long a tunnel waits for its ends.
#[derive(Clone)]
pub(super) struct TunnelLimits {
    /// For the other side to move, once one side has closed.
    pub(super) close: Duration,
    /// For the client to take what was sent.
    pub(super) write: Duration,
    /// Counts how often one of these was reached.
    pub(super) hits: LimitHits,
}

impl TunnelLimits {
    fn reached(&self, limit: Limit, error: BodyError) -> Broken {
        self.hits.hit(limit);
        Broken::Limit(error)
    }
}

/// The record of a tunnel. It is in here until the tunnel has ended by itself.
struct Unfinished(Option<Box<Record>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(record) = &mut self.0 {
            record.note_lost();
        }
    }
}

/// What keeps a direction from its end.
enum Broken {
    /// A limit was reached.
    Limit(BodyError),
    /// A peer is gone, or does not finish in time what it was to finish.
    Lost,
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Lost
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
    fn error(&self) -> Option<BodyError> {
        if self.gate.is_cancelled() {
            Some(BodyError::Stopping)
        } else {
            self.tunnel.is_cancelled().then_some(BodyError::SessionOver)
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

/// Carries both directions to their ends; the limit that was reached, if one was.
async fn carry_both(
    client: Upgraded,
    upstream: &mut Counted<PrefixedStream>,
    has_frames: bool,
    limits: TunnelLimits,
    stop: &Stop,
) -> Option<BodyError> {
    let (mut from_client, mut to_client) = split(TokioIo::new(client));
    let (mut from_upstream, mut to_upstream) = split(upstream);
    let frames = |mask| has_frames.then(|| (FrameTracker::default(), mask));
    let (down, up) = (frames(None), frames(Some(random::bytes())));
    let moved = AtomicU64::new(0);
    let ended = {
        let down = carry(
            &mut from_upstream,
            &mut to_client,
            down,
            (Some(&limits), &moved),
            stop,
        );
        let up = carry(&mut from_client, &mut to_upstream, up, (None, &moved), stop);
        let (mut down, mut up) = (pin!(down), pin!(up));
        tokio::select! {
            ended = &mut down => join(ended, up, &moved, &limits).await,
            ended = &mut up => join(ended, down, &moved, &limits).await,
        }
    };
    match ended {
        Err(Broken::Limit(error)) => return Some(error),
        Ok(Ended::Closed) => {
            // The client answers a close with a close, then with the end of the connection.
            let _ = timeout(CLOSING, discard(&mut from_client)).await;
        }
        Ok(Ended::Finished) | Err(Broken::Lost) => {}
    }
    None
}

/// How both directions ended, of which one has already: an error on either side ends both, and a side that does not
/// move any more once the other has closed has nothing to say either.
async fn join(
    first: Result<Ended, Broken>,
    mut other: Pin<&mut impl Future<Output = Result<Ended, Broken>>>,
    moved: &AtomicU64,
    limits: &TunnelLimits,
) -> Result<Ended, Broken> {
    let first = first?;
    loop {
        let before = moved.load(Ordering::Relaxed);
        match timeout(limits.close, other.as_mut()).await {
            Ok(ended) => return ended.map(|ended| first.max(ended)),
            Err(_) if moved.load(Ordering::Relaxed) == before => {
                return Err(limits.reached(Limit::TunnelCloseTimeout, BodyError::HalfClosed));
            }
            Err(_) => {}
        }
    }
}

/// How one direction came to its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    /// The sender has nothing more to say.
    Finished,
    /// The tunnel is to close, and the receiver was told.
    Closed,
}

/// Carries one direction to its end. `frames` are WebSocket's, where there are some, with the mask of its sender;
/// each write may take as long as `limits` say, and counts as a move.
async fn carry(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    frames: Option<(FrameTracker, Option<[u8; 4]>)>,
    (limits, moved): (Option<&TunnelLimits>, &AtomicU64),
    stop: &Stop,
) -> Result<Ended, Broken> {
    let (mut tracker, mask) = frames.unzip();
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
        if let Some(tracker) = &mut tracker {
            tracker.follow(&buffer[..length]);
        }
        let write = async {
            to.write_all(&buffer[..length]).await?;
            to.flush().await
        };
        match limits {
            Some(limits) => timeout(limits.write, write)
                .await
                .map_err(|_| limits.reached(Limit::WriteTimeout, BodyError::Stalled))??,
            None => write.await?,
        }
        moved.fetch_add(1, Ordering::Relaxed);
    }
    let (Some(mut tracker), Some(mask)) = (tracker, mask) else {
        // What has no frames has no way to say farewell.
        return Err(Broken::Lost);
    };
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
    timeout(CLOSING, finish).await.map_err(|_| Broken::Lost)??;
    Ok(Ended::Closed)
}

async fn discard(from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while from.read(&mut buffer).await? > 0 {}
    Ok(())
}
