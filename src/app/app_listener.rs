//! The app's own listener, which a reload may change.

use std::{io, sync::Arc};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::listeners;
use crate::{
    config::Config,
    listen::{self, Listener, settings::ListenAddress},
    observe::{Recorder, metrics::Metrics},
    snapshot::Snapshot,
};

/// Where the app asks now.
pub(super) struct AppListener {
    recorder: Arc<Recorder>,
    stop: CancellationToken,
    open: Option<(ListenAddress, CancellationToken)>,
}

/// A socket that is bound and accepts nothing yet; none where it is listened at already, or nowhere.
pub(super) struct Opened(Option<Listener>);

impl AppListener {
    pub(super) fn new(metrics: &Metrics, stop: CancellationToken) -> Self {
        Self {
            recorder: Arc::new(metrics.recorder()),
            stop,
            open: None,
        }
    }

    /// Binds what `config` names, if it is not listened at already.
    ///
    /// # Errors
    /// When it cannot be bound; then nothing has changed.
    pub(super) fn bind(&self, config: &Config) -> io::Result<Opened> {
        let wanted = address(config).filter(|wanted| !self.is_open(wanted));
        Ok(Opened(listeners::bind("app.listen", wanted)?))
    }

    /// Answers where `config` says from here on, and nowhere else.
    pub(super) fn adopt(
        &mut self,
        config: &Config,
        opened: Opened,
        current: &Arc<ArcSwap<Snapshot>>,
    ) {
        let wanted = address(config);
        if let Some((_, stop)) = self.open.take_if(|(open, _)| Some(&*open) != wanted) {
            stop.cancel();
        }
        if let (Some(wanted), Opened(Some(listener))) = (wanted, opened) {
            let stop = self.stop.child_token();
            self.open = Some((wanted.clone(), stop.clone()));
            let (current, recorder) = (Arc::clone(current), Arc::clone(&self.recorder));
            tokio::spawn(listen::app::serve(listener, current, recorder, stop));
        }
    }

    fn is_open(&self, wanted: &ListenAddress) -> bool {
        self.open.as_ref().is_some_and(|(open, _)| open == wanted)
    }
}

fn address(config: &Config) -> Option<&ListenAddress> {
    config.app.as_ref()?.listen.as_ref()
}
