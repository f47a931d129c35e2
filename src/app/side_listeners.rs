//! The listeners apart from the public ones, which a reload may change: for operators, for Envoy and for the app.

use std::{io, sync::Arc};

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::listeners;
use crate::{
    admin,
    config::Config,
    ext_authz,
    listen::{self, Listener, SideEnd, WorkerHandle, settings::ListenAddress},
    observe::{Recorder, metrics::Metrics},
    snapshot::Snapshot,
};

/// Where they listen now.
pub(super) struct SideListeners {
    recorder: Arc<Recorder>,
    /// Connections of each at once.
    most: usize,
    admin: Side,
    ext_authz: Side,
    app: Side,
}

/// Sockets that are bound and accept nothing yet; none where it is listened at already, or nowhere.
pub(super) struct Opened {
    admin: Option<Listener>,
    ext_authz: Option<Listener>,
    app: Option<Listener>,
}

impl SideListeners {
    /// Each may have `most` connections at once.
    pub(super) fn new(most: usize, metrics: &Metrics, stop: &CancellationToken) -> Self {
        Self {
            recorder: Arc::new(metrics.recorder()),
            most,
            admin: Side::new(stop),
            ext_authz: Side::new(stop),
            app: Side::new(stop),
        }
    }

    /// Binds what `config` names, as far as it is not listened at already.
    ///
    /// # Errors
    /// Of the first that cannot be bound; then nothing has changed.
    pub(super) fn bind(&self, config: &Config) -> io::Result<Opened> {
        let ext_authz = config.ext_authz_listen.as_ref();
        Ok(Opened {
            admin: self
                .admin
                .bind("admin_listen", config.admin_listen.as_ref())?,
            ext_authz: self.ext_authz.bind("ext_authz_listen", ext_authz)?,
            app: self.app.bind("app.listen", of_app(config))?,
        })
    }

    /// Answers where `config` says from here on, and nowhere else.
    pub(super) fn adopt(
        &mut self,
        config: &Config,
        opened: Opened,
        current: &Arc<ArcSwap<Snapshot>>,
        workers: &Arc<Vec<WorkerHandle>>,
    ) {
        let (most, now) = (self.most, || Arc::clone(current));
        self.admin.adopt(
            config.admin_listen.as_ref(),
            opened.admin,
            |listener, end| admin::serve(listener, most, now(), end),
        );
        let ext_authz = config.ext_authz_listen.as_ref();
        self.ext_authz
            .adopt(ext_authz, opened.ext_authz, |listener, end| {
                ext_authz::Server::new(now()).serve(listener, most, Arc::clone(workers), end.stop)
            });
        let recorder = &self.recorder;
        self.app.adopt(of_app(config), opened.app, |listener, end| {
            listen::app::serve(listener, most, now(), Arc::clone(recorder), end)
        });
    }

    /// Waits until the listeners have ended and have let go of the workers. Call it after the stop.
    pub(super) async fn close(self) {
        for side in [self.admin, self.ext_authz, self.app] {
            side.accepting.join_all().await;
        }
    }
}

/// How many of them `config` names.
pub(super) fn count(config: &Config) -> usize {
    let named = [
        config.admin_listen.as_ref(),
        config.ext_authz_listen.as_ref(),
        of_app(config),
    ];
    named.into_iter().flatten().count()
}

fn of_app(config: &Config) -> Option<&ListenAddress> {
    config.app.as_ref()?.listen.as_ref()
}

/// One of them.
struct Side {
    stop: CancellationToken,
    open: Option<(ListenAddress, SideEnd)>,
    accepting: JoinSet<()>,
}

impl Side {
    fn new(stop: &CancellationToken) -> Self {
        Self {
            stop: stop.clone(),
            open: None,
            accepting: JoinSet::new(),
        }
    }

    fn bind(&self, key: &str, wanted: Option<&ListenAddress>) -> io::Result<Option<Listener>> {
        let open = self.open.as_ref().map(|(open, _)| open);
        listeners::bind(key, wanted.filter(|wanted| Some(*wanted) != open))
    }

    fn adopt<F>(
        &mut self,
        wanted: Option<&ListenAddress>,
        opened: Option<Listener>,
        serve: impl FnOnce(Listener, SideEnd) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some((_, end)) = self.open.take_if(|(open, _)| Some(&*open) != wanted) {
            end.removal.cancel();
            end.stop.cancel();
        }
        if let (Some(wanted), Some(listener)) = (wanted, opened) {
            let end = SideEnd {
                stop: self.stop.child_token(),
                removal: CancellationToken::new(),
            };
            self.open = Some((wanted.clone(), end.clone()));
            self.accepting.spawn(serve(listener, end));
        }
        while self.accepting.try_join_next().is_some() {}
    }
}
