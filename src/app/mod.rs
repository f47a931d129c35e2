//! The whole gate: built from a configuration, and run until it is stopped.
//!
//! [`Services`] live as long as the process. [`build`] makes a [`Snapshot`](crate::snapshot::Snapshot) from them and a configuration, and
//! [`reload`] replaces it.

mod build;
mod listeners;
mod reload;
mod services;
mod side_listeners;
mod signals;
mod watch;

use std::{io, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::time::{sleep, timeout};

pub(crate) use self::build::site;
use self::{
    listeners::Listeners, reload::Reloads, services::Services, side_listeners::SideListeners,
};
pub use self::{
    reload::{ReloadFrom, keep_until_restart},
    signals::Signals,
};
use crate::{
    config::Config,
    forward::ConnectionLimit,
    listen::{self, Admission, Bounds, Capacity, OpenFiles, WorkerConfig, WorkerHandle},
    observe::{
        audit::{Entry, Event},
        metrics::Metrics,
    },
    session::{refresh::Refresher, token_revoker::TokenRevoker},
    stopping::LONGEST_WAIT,
};

/// Serves until SIGTERM, SIGINT or SIGQUIT, then finishes what runs, within the grace. A second signal ends at
/// once. On SIGHUP, and when one of its files changes, the configuration is read again from `source`, if there is one.
///
/// # Errors
/// When a socket cannot be bound, a certificate cannot be read, or a worker cannot be started.
pub async fn run(
    config: Config,
    source: Option<ReloadFrom>,
    mut signals: Signals,
) -> io::Result<()> {
    let stop = signals.stop();
    let metrics = Arc::<Metrics>::default();
    let bounds = bounds(&config);
    let capacity = bounds.capacity;
    tracing::info!(
        connections = capacity.connections,
        per_client = capacity.per_client,
        to_apps = capacity.upstreams,
        "room for connections"
    );
    let admission = Admission::new(bounds, metrics.connections.clone());
    let mut listeners = Listeners::new(Arc::clone(&admission), stop.clone());
    let opened = listeners.bind(&config.listen)?;
    let mut side_listeners = SideListeners::new(capacity.aside, &metrics, &stop);
    let side_opened = side_listeners.bind(&config)?;
    let tls = config.tls.as_ref().map(listen::tls::acceptor).transpose()?;

    let connection_limit = ConnectionLimit::new(capacity.upstreams);
    let services = Services::start(&config, Arc::clone(&metrics), Arc::clone(&connection_limit))?;
    let snapshot = Arc::new(build::snapshot(&config, &services, None)?);
    build::adopt(&config, &snapshot, &services);
    let current = Arc::new(ArcSwap::new(Arc::clone(&snapshot)));
    let worker = WorkerConfig {
        snapshot,
        tls,
        connection_limit,
        grace: config.shutdown_grace,
    };
    let workers = (0..config.workers)
        .map(|number| WorkerHandle::start(number, worker.clone()))
        .collect::<io::Result<Vec<_>>>()?;
    let workers = Arc::new(workers);
    side_listeners.adopt(&config, side_opened, &current, &workers);
    listeners.open(opened, &workers, worker.tls.is_some());
    services.audit.record(&Entry::of(Event::Start));

    let mut reloads = Reloads {
        source,
        running: config,
        services: &services,
        current,
        admission,
        listeners,
        side_listeners,
        workers,
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = reloads.run(&mut signals) => {}
    }

    let Reloads {
        admission,
        listeners,
        side_listeners,
        workers,
        running,
        ..
    } = reloads;
    listeners.close().await;
    side_listeners.close().await;
    tracing::info!("stopping: finishing what runs");
    finish_connections(admission, workers).await;
    let grace = running.shutdown_grace;
    finish(&services.refresher, &services.token_revoker, grace).await;
    if let Some(redis) = &services.redis {
        redis.finish().await;
    }
    services.audit.record(&Entry::of(Event::Stop));
    services.audit.finish();
    tracing::info!("stopped");
    Ok(())
}

/// What the configuration says of connections, as far as there are files and memory for them.
fn bounds(config: &Config) -> Bounds {
    let files = OpenFiles {
        limit: listen::allow_open_files(),
        workers: config.workers,
        side_listeners: side_listeners::count(config),
    };
    let capacity = Capacity::new(&config.limits, files, listen::memory_limit());
    let asked = config.limits.connections;
    if let Some(asked) = asked.filter(|asked| *asked as usize > capacity.connections) {
        tracing::warn!(
            asked,
            connections = capacity.connections,
            open_files = files.limit,
            "limits.connections is more than the limit on open files allows, so there are fewer; raise that limit \
             (ulimit -n, LimitNOFILE) or lower limits.connections"
        );
    }
    Bounds {
        capacity,
        trusted_proxies: config.trusted_proxies.clone(),
    }
}

/// Waits for what clients have under way. Connections that have nothing, or half a head, do not hold it up.
async fn finish_connections(admission: Arc<Admission>, workers: Arc<Vec<WorkerHandle>>) {
    tokio::spawn(async move {
        sleep(LONGEST_WAIT).await;
        admission.close_all_idle();
    });
    if let Some(workers) = Arc::into_inner(workers) {
        let _ = tokio::task::spawn_blocking(|| WorkerHandle::finish_all(workers)).await;
    }
}

/// Finishes what runs in the background, within `grace`; a second signal does not wait.
async fn finish(refresher: &Refresher, token_revoker: &TokenRevoker, grace: Duration) {
    // One after the other: a refresh may bring tokens that are to be taken back.
    let finished = async {
        refresher.finish().await;
        token_revoker.finish().await;
    };
    if timeout(grace, finished).await.is_err() {
        tracing::warn!(
            "the grace is over; refreshes and token revocations that still ran are lost"
        );
    }
}
