//! `ext_authz_listen`: Envoy asks over gRPC (`envoy.service.auth.v3.Authorization`) whether a request may pass.
//!
//! The question is the whole request, so the verdict and the refusal are those of the reverse proxy. The gate believes what a client of
//! this listener says about a request, the client's address included: it is only for Envoy. Such a client learns nothing that the
//! same cookie would not show at the public address.
//!
//! A failure is never a yes. A call that cannot be answered ends with a status that Envoy takes for a no, unless its
//! `failure_mode_allow` says otherwise.

mod answer;
mod call;
pub mod message;
mod question;

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub use self::question::{MAX_MESSAGE, NoQuestion, Question};
use self::{
    answer::Passing,
    call::{CallBody, Failure},
};
use crate::{
    answer::Reject,
    audience::Audience,
    clean::{client, given_request_id},
    door::Narrowing,
    endpoint::{
        auth::refuse_held_back,
        held_back::{self, HeldBack},
    },
    listen::{Accepted, Listener, Stream, WorkerHandle},
    observe::{Record, Recorder, Throttled, Verdict},
    snapshot::Snapshot,
};

/// Questions at the same time on one connection.
const STREAMS: u32 = 1024;
/// Questions at the same time on all connections.
const CHECKS: usize = 8192;
/// How long an answer may take, including the arrival of the question. Envoy waits 200 ms by default.
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a new connection may stay without a question.
const FIRST_QUESTION: Duration = Duration::from_secs(30);
/// How long a new connection waits for one without a question to close, where there are too many.
const CLOSE_PATIENCE: Duration = Duration::from_millis(50);
/// How often a peer is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);
/// The metadata of a call, in bytes.
const MAX_METADATA: u32 = 16 * 1024;
/// How long connections may take to end once a stop has begun.
const CLOSE_GRACE: Duration = Duration::from_secs(8);
/// How long accepting pauses when the system has no more file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// The interval between two log lines about the same problem.
const TELL: Duration = Duration::from_secs(10);

/// What answers.
pub struct Server {
    current: Arc<ArcSwap<Snapshot>>,
    recorder: Recorder,
    checks: Semaphore,
}

impl Server {
    /// Answers by the configuration of the moment.
    pub fn new(current: Arc<ArcSwap<Snapshot>>) -> Self {
        let recorder = current.load().metrics.recorder();
        Self {
            current,
            recorder,
            checks: Semaphore::new(CHECKS),
        }
    }

    /// Accepts connections on `listener`, until `stop`, and has `workers` serve them, `most` at once. One that has not asked
    /// anything yet makes room for one more.
    pub async fn serve(
        self,
        listener: Listener,
        most: usize,
        workers: Arc<Vec<WorkerHandle>>,
        stop: CancellationToken,
    ) {
        tracing::info!(address = listener.place(), "ext_authz listening");
        let server = Arc::new(self);
        let mut room = Room::new(most);
        let trouble = Throttled::new(TELL);
        let mut next = 0_usize;
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let accepted = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if let Some(held_back) = trouble.turn(Instant::now()) {
                        tracing::warn!(
                            %error,
                            held_back,
                            "ext_authz_listen cannot accept connections for the moment; raise the limit on open files if it was reached"
                        );
                    }
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = sleep(PAUSE) => continue,
                    }
                }
            };
            let Some(place) = room.place().await else {
                if let Some(held_back) = trouble.turn(Instant::now()) {
                    tracing::warn!(
                        held_back,
                        connections = most,
                        "ext_authz_listen refused a connection: all that it may have ask questions; if these are few, raise \
                         the limit on open files (LimitNOFILE, ulimit -n)"
                    );
                }
                continue;
            };
            next = next.wrapping_add(1);
            let (server, stop) = (Arc::clone(&server), stop.clone());
            let served = Box::pin(async move { server.connection(accepted, &place, stop).await });
            if !workers[next % workers.len()].run(served) {
                tracing::debug!("an ext_authz connection was lost: its worker takes no more");
            }
        }
    }

    async fn connection(
        self: Arc<Self>,
        accepted: Accepted,
        place: &Place,
        stop: CancellationToken,
    ) {
        match accepted.into_stream() {
            Ok((Stream::Tcp(stream), _)) => self.speak(stream, place, stop).await,
            Ok((Stream::Unix(stream), _)) => self.speak(stream, place, stop).await,
            Err(error) => tracing::debug!(%error, "ext_authz connection lost"),
        }
    }

    /// Speaks HTTP/2 until the peer ends it.
    async fn speak<S>(self: Arc<Self>, stream: S, place: &Place, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let asks = &place.asks;
        let service = service_fn({
            let asks = Arc::clone(asks);
            move |request| {
                asks.has_begun.store(true, Ordering::Relaxed);
                let server = Arc::clone(&self);
                async move { Ok::<_, Infallible>(server.call(request).await) }
            }
        });
        let window = u32::try_from(MAX_MESSAGE).unwrap_or(u32::MAX);
        let mut protocol = http2::Builder::new(TokioExecutor::new());
        protocol
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(PING))
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(MAX_METADATA)
            .initial_stream_window_size(window)
            .initial_connection_window_size(4 * window);
        let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
        let unused = async {
            sleep(FIRST_QUESTION).await;
            if asks.has_begun.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = unused => return,
            () = asks.evicted.cancelled() => return,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match timeout(CLOSE_GRACE, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "ext_authz connection ended");
        }
    }

    async fn call(&self, request: Request<Incoming>) -> Response<CallBody> {
        // What is refused has its line, too.
        let mut record = self.recorder.begin(request.method(), request.uri().path());
        let answer = self.checked(request, &mut record).await;
        answer.unwrap_or_else(|failure| {
            record.verdict = match failure {
                Failure::InvalidArgument | Failure::Unimplemented => Verdict::BadRequest,
                Failure::DeadlineExceeded | Failure::ResourceExhausted => Verdict::Unavailable,
            };
            record.note_answer(StatusCode::OK);
            call::fail(failure)
        })
    }

    async fn checked(
        &self,
        request: Request<Incoming>,
        record: &mut Record,
    ) -> Result<Response<CallBody>, Failure> {
        let kind = request.headers().get(CONTENT_TYPE);
        let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if request.method() != Method::POST || !is_grpc || request.uri().path() != CHECK {
            return Err(Failure::Unimplemented);
        }
        let Ok(_place) = self.checks.try_acquire() else {
            return Err(Failure::ResourceExhausted);
        };
        let answer = timeout(CHECK_TIMEOUT, self.answer(request, record)).await;
        answer.unwrap_or(Err(Failure::DeadlineExceeded))
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        record: &mut Record,
    ) -> Result<Response<CallBody>, Failure> {
        let body = Limited::new(request.into_body(), MAX_MESSAGE + 5);
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(Failure::ResourceExhausted);
            }
            Err(_) => return Err(Failure::InvalidArgument),
        };
        // The one configuration under which it is answered, whatever comes meanwhile.
        let snapshot = self.current.load_full();
        let answer = match Question::read(&body, &snapshot.normalizer.public_origin) {
            Ok(question) => check(&snapshot, &question, record).await,
            Err(NoQuestion::Unreadable) => return Err(Failure::InvalidArgument),
            Err(NoQuestion::Compressed) => return Err(Failure::Unimplemented),
            Err(NoQuestion::Flawed(flaw)) => {
                let reject = Reject::BadRequest(flaw.to_string().into());
                refuse(&snapshot, &reject, Audience::Program, record)
            }
        };
        Ok(call::answer(&answer))
    }
}

/// The connections, as many as there may be.
struct Room {
    places: Arc<Semaphore>,
    most: usize,
    /// Those that had not asked anything when they were looked at last, the oldest first.
    silent: VecDeque<Weak<Asks>>,
}

/// The place of one connection, given back with it.
struct Place {
    asks: Arc<Asks>,
    _permit: OwnedSemaphorePermit,
}

/// Whether a connection has a question yet.
#[derive(Default)]
struct Asks {
    has_begun: AtomicBool,
    /// It has not, and another needs its place.
    evicted: CancellationToken,
}

impl Room {
    fn new(most: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most)),
            most,
            silent: VecDeque::new(),
        }
    }

    /// A place for one more. Where there is none, the connection that has said nothing for longest makes room.
    async fn place(&mut self) -> Option<Place> {
        let permit = if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            permit
        } else {
            self.longest_silent()?.evicted.cancel();
            let freed = Arc::clone(&self.places).acquire_owned();
            timeout(CLOSE_PATIENCE, freed).await.ok()?.ok()?
        };
        let asks = Arc::<Asks>::default();
        if self.silent.len() >= self.most {
            self.silent.retain(|asks| is_silent(asks).is_some());
        }
        self.silent.push_back(Arc::downgrade(&asks));
        Some(Place {
            asks,
            _permit: permit,
        })
    }

    fn longest_silent(&mut self) -> Option<Arc<Asks>> {
        while let Some(oldest) = self.silent.pop_front() {
            if let Some(oldest) = is_silent(&oldest) {
                return Some(oldest);
            }
        }
        None
    }
}

/// The connection, where it is open and has asked nothing.
fn is_silent(asks: &Weak<Asks>) -> Option<Arc<Asks>> {
    asks.upgrade()
        .filter(|asks| !asks.has_begun.load(Ordering::Relaxed))
}

async fn check(
    snapshot: &Snapshot,
    question: &Question,
    record: &mut Record,
) -> message::CheckResponse {
    let Question {
        subrequest,
        headers,
        ..
    } = question;
    if let Some(first) = subrequest.questions.first() {
        record.note_original(subrequest.method.as_ref(), &first.target);
    }
    let trusted = &snapshot.normalizer.trusted_proxies;
    // Of a source that is not told nothing is known: what a header says of it may be the client's word.
    let source = question.source;
    let client = source.and_then(|source| {
        let forwarding = snapshot.normalizer.forwarding_headers;
        client::resolve(
            Some(source),
            question.is_https,
            headers,
            trusted,
            forwarding,
        )
        .address
    });
    record.client = client;
    record.given_id = given_request_id(headers);
    let held = HeldBack {
        subrequest,
        headers,
        client,
    };
    let audience = held_back::reader(subrequest, headers);
    let return_to = held_back::return_to(&held, audience, &snapshot.site);
    let narrowing = Narrowing::read(Some(&question.narrowing));
    match held_back::judge(snapshot, &held, &narrowing, return_to, record).await {
        Ok(pass) => {
            pass.note(record);
            record.note_answer(StatusCode::OK);
            let passing = Passing {
                headers,
                app_user: pass.app_user(),
                identity_headers: &snapshot.identity_headers,
                reserved: &snapshot.normalizer.reserved,
                cookies: &snapshot.sessions.cookies,
                holds_own_credential: pass.came_with_credential()
                    || pass.writes_authorization()
                    || snapshot.authenticators.recognise(headers),
                limits: pass.limits(),
            };
            answer::pass(&passing, &pass.accompany(snapshot, &held))
        }
        Err(reject) => {
            let reject = reject.or_too_long(audience);
            refuse(snapshot, &reject, audience, record)
        }
    }
}

fn refuse(
    snapshot: &Snapshot,
    reject: &Reject,
    audience: Audience,
    record: &mut Record,
) -> message::CheckResponse {
    let response = refuse_held_back(snapshot, reject, audience, record);
    record.note_answer(response.status());
    answer::refuse(response)
}

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
