//! `sidegate demo`: a whole login without a file, an account or a network.
//!
//! [`start`] puts a small app and two users on loopback, and makes a [`Config`] for each of two gates: one in front of the app, and one that
//! signs people in, as its OpenID provider (`[issuer]`). Both are the real one. Cookies ignore ports, so the first is `localhost` and the
//! other `127.0.0.1`: neither sees the other's cookies.

pub mod app;
mod event;
mod mcp;
mod page;
mod plan;
mod server;
#[cfg(test)]
mod tests;
mod users;
mod websocket;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread::JoinHandle,
};

use tokio_util::sync::CancellationToken;

use self::{
    plan::{Addresses, Plan},
    users::PickerSettings,
};
use crate::{config::Config, random};

/// A demo whose app and users are there already; only the gates are missing.
#[derive(Debug)]
pub struct Demo {
    /// The configuration of the gate in front of the app.
    pub config: Config,
    /// The configuration of the gate that signs people in.
    pub provider: Config,
    /// What to print before the gates serve.
    pub banner: String,
    /// Keeps app and users there.
    pub servers: Servers,
}

/// The app and the users, on a thread of their own so that they do not care how the gates run.
/// Dropping this stops them.
#[derive(Debug)]
pub struct Servers {
    /// Where the app listens.
    pub app: SocketAddr,
    /// Where the users are.
    pub users: SocketAddr,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// Starts app and users on free ports of 127.0.0.1, and plans a gate for `port`: a given port must
/// be free (0 takes any), and without one the first free from 4180 on is taken. With `mcp` the gate gives tokens for the app's server of the
/// Model Context Protocol.
pub fn start(port: Option<u16>, mcp: bool) -> io::Result<Demo> {
    let gate = plan::gate_addresses(port)?;
    let app = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let users = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let at = Addresses {
        gate,
        app: app.local_addr()?,
        provider: plan::free_address()?,
        users: users.local_addr()?,
    };
    let plan = Plan::new(at, random::bytes(), random::bytes(), mcp);
    let banner = plan.banner();
    let servers = Servers::start(app, users, plan.picker())?;
    Ok(Demo {
        config: plan.gate_config(),
        provider: plan.provider_config(),
        banner,
        servers,
    })
}

impl Servers {
    fn start(app: TcpListener, users: TcpListener, picker: PickerSettings) -> io::Result<Self> {
        let (app_address, users_address) = (app.local_addr()?, users.local_addr()?);
        let shutdown = CancellationToken::new();
        let end = shutdown.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (app, users) = {
            let _inside = runtime.enter();
            (listener(app)?, listener(users)?)
        };
        let thread = std::thread::Builder::new()
            .name("demo".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::join!(
                        app::serve(app, end.clone()),
                        users::serve(users, picker, end.clone()),
                    )
                });
            })?;
        Ok(Self {
            app: app_address,
            users: users_address,
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
