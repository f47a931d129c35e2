//! Replaces the configuration while the gate runs.
//!
//! The new one is read, checked and built completely before anything changes. If anything fails, nothing changes. Running requests finish
//! under the configuration that they began with.

use std::{collections::HashSet, io, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;

use super::{
    Signals, bounds, build, listeners::Listeners, services::Services,
    side_listeners::SideListeners, watch::Watch,
};
use crate::{
    api_token::settings::ServiceToken,
    clock,
    config::{Config, Loaded, Report},
    issuer::settings::CLIENT,
    listen::{self, Admission, WorkerConfig, WorkerHandle},
    observe::{
        audit::{Entry, Event},
        log,
    },
    session::revocation::{Revocation, Target},
    snapshot::Snapshot,
};

/// Where a configuration is read from again.
pub struct ReloadFrom {
    /// Reads it.
    pub load: Arc<dyn Fn() -> Result<Loaded, Report> + Send + Sync>,
    /// The files that it came from.
    pub files: Vec<PathBuf>,
}

/// All that a reload changes.
pub(super) struct Reloads<'s> {
    pub(super) source: Option<ReloadFrom>,
    /// The configuration that runs.
    pub(super) running: Config,
    pub(super) services: &'s Services,
    pub(super) current: Arc<ArcSwap<Snapshot>>,
    pub(super) admission: Arc<Admission>,
    pub(super) listeners: Listeners,
    pub(super) side_listeners: SideListeners,
    pub(super) workers: Arc<Vec<WorkerHandle>>,
}

impl Reloads<'_> {
    /// Reloads on each SIGHUP, and when one of the configuration's files has changed, for ever. Dropped for a stop, which does
    /// not wait for what may never have been read.
    pub(super) async fn run(&mut self, signals: &mut Signals) {
        let files = self.source.as_ref().map(|source| source.files.clone());
        let mut watch = Watch::new(files.unwrap_or_default());
        loop {
            tokio::select! {
                () = signals.hangup() => self.services.audit.reopen(),
                () = watch.changed() => {}
            }
            if let Some(files) = self.reload().await {
                watch.follow(files);
            }
        }
    }

    /// Reads the configuration again and works by it, or says why not. Gives the files that it came from, if it could be
    /// read.
    async fn reload(&mut self) -> Option<Vec<PathBuf>> {
        let Some(source) = &self.source else {
            tracing::warn!("there is no configuration to read again");
            return None;
        };
        let load = Arc::clone(&source.load);
        let loaded = tokio::task::spawn_blocking(move || load()).await;
        let outcomes = &self.services.metrics.reloads;
        let loaded = match loaded {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(report)) => {
                outcomes.refused(report.to_string());
                self.record("refused", None);
                tracing::error!(
                    report = %report,
                    "the configuration has errors; nothing has changed, and the earlier one is in force"
                );
                return None;
            }
            Err(error) => {
                outcomes.refused(error.to_string());
                self.record("refused", Some(error.to_string()));
                tracing::error!(%error, "the configuration could not be read");
                return None;
            }
        };
        let files = loaded.files.clone();
        match self.adopt(loaded).await {
            Ok(kept) => {
                let keys = kept.join(", ");
                let waiting = (!keys.is_empty()).then(|| format!("waits for a restart: {keys}"));
                self.record("applied", waiting);
                self.services.metrics.reloads.applied(kept);
            }
            Err(error) => {
                self.record("refused", Some(error.to_string()));
                self.services.metrics.reloads.refused(error.to_string());
                tracing::error!(
                    %error,
                    "the configuration cannot be put in force; nothing has changed, and the earlier one is in force"
                );
            }
        }
        Some(files)
    }

    fn record(&self, outcome: &str, detail: Option<String>) {
        self.services.audit.record(&Entry {
            outcome: Some(outcome),
            detail: detail.map(Into::into),
            ..Entry::of(Event::Reload)
        });
    }

    /// Puts it in force. Gives the keys that a reload does not change and that have changed.
    async fn adopt(&mut self, loaded: Loaded) -> io::Result<Vec<&'static str>> {
        let mut config = loaded.config;
        let kept = keep_until_restart(&mut config, &self.running);
        let opened = self.listeners.bind(&config.listen)?;
        let side_opened = self.side_listeners.bind(&config)?;
        let tls = config.tls.as_ref().map(listen::tls::acceptor).transpose()?;
        let is_tls = tls.is_some();
        let earlier = self.current.load_full();
        let snapshot = build::snapshot(&config, self.services, Some(&earlier))?;
        let snapshot = Arc::new(snapshot);

        // Nothing fails from here on.
        for warning in loaded.warnings {
            tracing::warn!("{warning}");
        }
        log::adopt(&config.log);
        let bounds = bounds(&config);
        let connection_limit = &self.services.connection_limit;
        connection_limit.adopt(bounds.capacity.upstreams);
        self.admission.adopt(bounds);
        build::adopt(&config, &snapshot, self.services);
        for worker in &*self.workers {
            let (snapshot, tls) = (Arc::clone(&snapshot), tls.clone());
            let grace = config.shutdown_grace;
            let adopted = WorkerConfig {
                snapshot,
                tls,
                connection_limit: Arc::clone(connection_limit),
                grace,
            };
            worker.adopt(adopted).await;
        }
        self.current.store(snapshot);
        let (current, workers) = (&self.current, &self.workers);
        self.side_listeners
            .adopt(&config, side_opened, current, workers);
        self.listeners.open(opened, &self.workers, is_tls);
        self.listeners.retain(&config.listen);
        self.end_what_was_taken_out(&config);
        self.running = config;
        tracing::info!("the configuration was read again and is in force");
        if !kept.is_empty() {
            tracing::warn!(
                keys = kept.join(", "),
                "these keys have changed and wait for a restart; until then their earlier values are in force"
            );
        }
        Ok(kept)
    }

    /// Ends what is open by credentials that `config` names no more. Each replica reads its own file, and so tells nobody.
    fn end_what_was_taken_out(&self, config: &Config) {
        let left = named(config);
        let now = clock::now();
        for target in named(&self.running).difference(&left) {
            self.services.revocations.learn(Revocation {
                target: *target,
                not_before: now,
            });
        }
    }
}

/// What is open by the credentials that `config` names: service tokens, passwords, and clients that act for themselves.
fn named(config: &Config) -> HashSet<Target> {
    let tokens = config.service_tokens.iter().map(ServiceToken::target);
    let users = config.users.iter();
    let passwords = users.flat_map(|users| users.htpasswd.targets());
    let clients = config.issuer.iter().flat_map(|issuer| &issuer.clients);
    let machines = clients.filter(|client| client.machine.is_some());
    let machines = machines.map(|client| Target::user(CLIENT, &client.id));
    tokens.chain(passwords).chain(machines).collect()
}

macro_rules! kept_keys {
    ($($key:literal: $($field:ident).+;)*) => {
        /// The keys that a reload does not change: threads, stores and names hang on them.
        #[cfg(test)]
        const KEPT: &[&str] = &[$($key),*];

        fn keep(new: &mut Config, running: &Config) -> Vec<&'static str> {
            let mut kept = Vec::new();
            $(if new.$($field).+ != running.$($field).+ {
                new.$($field).+ = running.$($field).+.clone();
                kept.push($key);
            })*
            kept
        }
    };
}

kept_keys! {
    "workers": workers;
    "public_url": public_url;
    "state": state;
    "session.store": session.store;
    "session.shared": session.shared;
    "session.max_sessions": session.max_sessions;
    "session.cookie_name": session.cookie_name;
    "session.lifetime": session.lifetime;
    "session.idle_timeout": session.idle_timeout;
}

/// Puts the running values of what a reload does not change into `new`, and says which differed.
pub fn keep_until_restart(new: &mut Config, running: &Config) -> Vec<&'static str> {
    let mut kept = keep(new, running);
    // What people make has to be kept where the file says, and that waits for the restart, too.
    if kept.contains(&"state") && new.api_tokens != running.api_tokens {
        new.api_tokens.clone_from(&running.api_tokens);
        kept.push("api_tokens");
    }
    // Without a secret in the file each reading makes one of its own.
    if new.session.ephemeral && running.session.ephemeral {
        new.session.secrets.clone_from(&running.session.secrets);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_documented() {
        let manual = include_str!("../../docs/reload.md");
        let (_, section) = manual.split_once("## What needs a restart").unwrap();
        let (_, keys) = section.split_once("in force:\n\n").unwrap();
        let (keys, _) = keys.split_once("\n\n").unwrap();
        let keys: Vec<_> = keys.split('`').skip(1).step_by(2).collect();
        assert_eq!(keys, KEPT);
    }
}
