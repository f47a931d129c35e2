//! Health checks: asks the addresses of an app in the background. One task for each app and process, whatever the number of
//! workers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, header::HOST};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    ForwardError,
    backend::Backend,
    settings::{HealthSettings, HostRule, UpstreamAddress, UpstreamSettings},
    stream::Stream,
};

/// How long a probe may take, connecting included.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks them as `settings` say, if they do.
pub(super) fn start(
    settings: &UpstreamSettings,
    backends: &[Arc<Backend>],
) -> Option<AbortOnDropHandle<()>> {
    let health = settings.health.clone()?;
    let probes = settings.addresses.iter().zip(backends);
    let probes: Vec<_> = probes
        .map(|(address, backend)| Probe {
            backend: Arc::clone(backend),
            host: host(address, &settings.host),
            http2: settings.http2,
        })
        .collect();
    let task = tokio::spawn(run(probes, health));
    Some(AbortOnDropHandle::new(task))
}

struct Probe {
    backend: Arc<Backend>,
    host: String,
    http2: bool,
}

fn host(address: &UpstreamAddress, rule: &HostRule) -> String {
    match (rule, address) {
        (HostRule::Name(name), _) => String::from_utf8_lossy(name.as_bytes()).into_owned(),
        (HostRule::Pass, UpstreamAddress::Network(uri)) => {
            let authority = uri.authority();
            authority.map_or_else(String::new, ToString::to_string)
        }
        (HostRule::Pass, UpstreamAddress::Unix(_)) => "localhost".to_owned(),
    }
}

async fn run(probes: Vec<Probe>, health: HealthSettings) {
    let mut ticks = interval(health.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        join_all(probes.iter().map(|probe| probe.look(&health.path))).await;
    }
}

impl Probe {
    async fn look(&self, path: &str) {
        let answer = timeout(PROBE_TIMEOUT, async {
            let stream = self.backend.connect().await?;
            Ok(self.ask(stream, path).await == Some(true))
        });
        let is_well = match answer.await {
            Ok(Ok(is_well)) => is_well,
            // That says nothing of the app.
            Ok(Err(ForwardError::NoRoom)) => return,
            Ok(Err(_)) | Err(_) => false,
        };
        self.backend.probed(is_well);
    }

    /// Whether the answer says that all is well: 2xx or 3xx. None where there is no answer.
    async fn ask(&self, stream: Stream, path: &str) -> Option<bool> {
        let stream = TokioIo::new(stream);
        let uri = if self.http2 {
            format!("http://{}{path}", self.host)
        } else {
            path.to_owned()
        };
        let mut request = Request::get(uri);
        if !self.http2 {
            request = request
                .header(HOST, &self.host)
                .header("connection", "close");
        }
        let request = request.body(Empty::<Bytes>::new()).ok()?;
        let status = if self.http2 {
            let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
            let (mut sender, connection) = handshake.await.ok()?;
            tokio::select! {
                answer = sender.send_request(request) => answer.ok()?.status(),
                _ = connection => return None,
            }
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(stream).await.ok()?;
            let answer = sender.send_request(request);
            tokio::pin!(answer);
            tokio::select! {
                answer = &mut answer => answer.ok()?.status(),
                // It may close behind its answer.
                _ = connection => answer.await.ok()?.status(),
            }
        };
        Some(status.is_success() || status.is_redirection())
    }
}
