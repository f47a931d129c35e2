use socket2::SockRef;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use super::*;
use crate::{listen::settings::ListenAddress, observe::metrics::Connections};

const SOON: Duration = Duration::from_secs(5);

fn listener() -> Listener {
    Listener::bind(&ListenAddress::Tcp(([127, 0, 0, 1], 0).into())).unwrap()
}

/// Peers can vanish without a word. Every listener is bound the same way, and what it accepts is watched.
#[tokio::test]
async fn accepted_connections_are_asked_for_signs_of_life() {
    let listener = listener();
    let _client = TcpStream::connect(listener.place()).await.unwrap();
    let accepted = listener.accept().await.unwrap();
    let socket = SockRef::from(&accepted.socket);
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), 60);
    assert_eq!(socket.tcp_keepalive_interval().unwrap().as_secs(), 15);
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
    let user_timeout = socket.tcp_user_timeout().unwrap().unwrap();
    assert_eq!(user_timeout.as_secs(), 120);
}

/// A worker that takes nothing makes nobody wait: who comes too many is told so, and a stop is heard.
#[tokio::test]
async fn the_acceptor_never_waits_for_a_worker() {
    const WAITING: usize = 2;
    let bounds = Bounds {
        capacity: Capacity::of(100, 100),
        trusted_proxies: Vec::new(),
    };
    let (worker, _held) = WorkerHandle::stuck(WAITING);
    let workers = Arc::new(vec![worker]);
    let stop = CancellationToken::new();
    let acceptor = Acceptor {
        admission: Admission::new(bounds, Connections::default()),
        workers: Arc::clone(&workers),
        is_tls: Arc::default(),
        is_proxied: Arc::default(),
        stop: stop.clone(),
    };
    let listener = listener();
    let place = listener.place();
    let accepting = tokio::spawn(async move { acceptor.accept(listener).await });
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        waiting.push(TcpStream::connect(&place).await.unwrap());
    }
    for _ in 0..3 {
        let mut refused = TcpStream::connect(&place).await.unwrap();
        let mut answer = String::new();
        let read = timeout(SOON, refused.read_to_string(&mut answer)).await;
        read.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    assert_eq!(workers[0].load(), WAITING);
    stop.cancel();
    timeout(SOON, accepting).await.unwrap().unwrap();
}
