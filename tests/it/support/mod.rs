//! What the tests are built of: a house (the real binary), a browser persona, an upstream that tells what it saw,
//! and two providers: npm's strict one, and one that misbehaves on command.

pub mod behaviour;
pub mod between;
pub mod browser;
pub mod envoy;
pub mod h2;
pub mod house;
pub mod jar;
pub mod keys;
pub mod node_provider;
pub mod ports;
pub mod process;
pub mod provider;
pub mod python;
pub mod raw;
pub mod redis;
pub mod server;
pub mod servers;
pub mod tls;
pub mod upstream;
pub mod websocket;

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

pub use browser::{Browser, Reply};
pub use house::House;
pub use provider::ScriptedProvider;
pub use upstream::Upstream;

/// A connection, within TLS or not.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection of either kind.
pub type Stream = Box<dyn Duplex>;

/// Connects, within TLS (HTTP/1.1) where `tls`.
pub async fn connect(address: SocketAddr, tls: bool) -> Stream {
    let stream = TcpStream::connect(address)
        .await
        .unwrap_or_else(|error| panic!("{address} does not accept: {error}"));
    stream.set_nodelay(true).expect("a socket option");
    if tls {
        Box::new(tls::client(stream, &[b"http/1.1"]).await)
    } else {
        Box::new(stream)
    }
}

/// A house with an echo upstream and the scripted provider, as most tests want it.
pub async fn standard() -> (House, Upstream, ScriptedProvider) {
    standard_with(|plan| plan).await
}

/// As [`standard`], with something more in the plan.
pub async fn standard_with(
    change: impl FnOnce(house::Plan) -> house::Plan,
) -> (House, Upstream, ScriptedProvider) {
    arranged(|_| {}, change).await
}

/// As [`standard_with`], with a provider that behaves so from the start: discovery is read once.
pub async fn arranged(
    behave: impl FnOnce(&mut behaviour::Behaviour),
    change: impl FnOnce(house::Plan) -> house::Plan,
) -> (House, Upstream, ScriptedProvider) {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    provider.set(behave);
    let plan = House::plan().upstream(&upstream).provider(&provider);
    let house = change(plan).start().await;
    (house, upstream, provider)
}
