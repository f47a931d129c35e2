//! `sidegate demo`: a whole login without a file, an account or a network.
//!
//! [`start`] puts a small app and a small OpenID provider on loopback, and makes the [`Config`] of the gate in front of them. The gate itself is
//! the real one. Cookies ignore ports, so the gate is `localhost` and the provider is `127.0.0.1`: neither sees the other's cookies.

pub mod app;
mod event;
mod mcp;
mod page;
mod plan;
pub mod provider;
mod server;
#[cfg(test)]
mod tests;
mod websocket;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread::JoinHandle,
};

use tokio_util::sync::CancellationToken;

use self::{plan::Plan, provider::DemoProviderConfig};
use crate::{config::Config, random};

/// A demo whose app and provider run already; only the gate is missing.
#[derive(Debug)]
pub struct Demo {
    /// The gate's configuration.
    pub config: Config,
    /// What to print before the gate serves.
    pub banner: String,
    /// Keeps app and provider running.
    pub servers: Servers,
}

/// The app and the provider, on a thread of their own so that they do not care how the gate runs.
/// Dropping this stops them.
#[derive(Debug)]
pub struct Servers {
    /// Where the app listens.
    pub app: SocketAddr,
    /// Where the provider listens.
    pub provider: SocketAddr,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// Starts app and provider on free ports of 127.0.0.1, and plans a gate for `port`: a given port must
/// be free (0 takes any), and without one the first free from 4180 on is taken. With `mcp` the gate gives tokens for the app's server of the
/// Model Context Protocol.
pub fn start(port: Option<u16>, mcp: bool) -> io::Result<Demo> {
    let listen = plan::gate_addresses(port)?;
    let app = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let provider = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let plan = Plan::new(
        listen,
        app.local_addr()?,
        provider.local_addr()?,
        random::bytes(),
        random::bytes(),
        mcp,
    );
    let banner = plan.banner();
    let servers = Servers::start(app, provider, plan.provider_config())?;
    Ok(Demo {
        config: plan.gate_config(),
        banner,
        servers,
    })
}

impl Servers {
    fn start(
        app: TcpListener,
        provider: TcpListener,
        config: DemoProviderConfig,
    ) -> io::Result<Self> {
        let (app_address, provider_address) = (app.local_addr()?, provider.local_addr()?);
        let shutdown = CancellationToken::new();
        let end = shutdown.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (app, provider) = {
            let _inside = runtime.enter();
            (listener(app)?, listener(provider)?)
        };
        let thread = std::thread::Builder::new()
            .name("demo".to_owned())
            .spawn(move || {
                let both = async {
                    tokio::join!(
                        app::serve(app, end.clone()),
                        provider::serve(provider, config, end.clone()),
                    )
                };
                let ((), served) = runtime.block_on(both);
                if let Err(error) = served {
                    tracing::error!(%error, "the demo provider cannot serve");
                }
            })?;
        Ok(Self {
            app: app_address,
            provider: provider_address,
            shutdown,
            thread: Some(thread),
        })
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported when it happened, and there is nothing left to save.
            let _ = thread.join();
        }
    }
}

fn listener(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}
