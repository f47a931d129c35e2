use std::time::Duration;

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// A socket whose sends wait, and its peer.
async fn pair(queue: &SendQueue) -> (QueuedSocket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let near = TcpStream::connect(address).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    // As little as the kernel lets it be, so that it takes less than is written.
    socket2::SockRef::from(&near)
        .set_send_buffer_size(4096)
        .unwrap();
    let near = QueuedSocket::new(TcpSocket::new(near), queue.clone());
    (near, far)
}

fn running() -> SendQueue {
    let queue = SendQueue::default();
    tokio::spawn(queue.clone().run());
    queue
}

/// What has come without waiting.
fn arrived(far: &TcpStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 64 * 1024];
    rustix::net::recv(far, &mut bytes[..], rustix::net::RecvFlags::DONTWAIT)
        .ok()
        .map(|(length, _)| bytes[..length].to_vec())
}

#[tokio::test]
async fn sends_wait_until_whatever_is_ready_has_had_its_turn() {
    let queue = running();
    let (mut one, far_one) = pair(&queue).await;
    let (mut two, far_two) = pair(&queue).await;
    tokio::task::yield_now().await;
    one.write_all(b"first ").await.unwrap();
    two.write_all(b"second").await.unwrap();
    one.write_all(b"third").await.unwrap();
    one.flush().await.unwrap();
    assert_eq!((arrived(&far_one), arrived(&far_two)), (None, None));
    tokio::task::yield_now().await;
    assert_eq!(arrived(&far_one).unwrap(), b"first third");
    assert_eq!(arrived(&far_two).unwrap(), b"second");
}

#[tokio::test]
async fn the_first_does_not_wait_for_more_than_so_many() {
    let queue = running();
    let mut pairs = Vec::new();
    for _ in 0..MAX_QUEUED {
        pairs.push(pair(&queue).await);
    }
    for (near, _) in &mut pairs[1..] {
        near.write_all(b"x").await.unwrap();
    }
    assert!(pairs.iter().all(|(_, far)| arrived(far).is_none()));
    pairs[0].0.write_all(b"x").await.unwrap();
    for (_, far) in &pairs {
        assert_eq!(arrived(far).unwrap(), b"x");
    }
    assert_eq!(queue.round().spare.len(), MAX_QUEUED);
}

#[tokio::test]
async fn what_is_to_be_sent_now_is_and_an_end_comes_behind_it() {
    let queue = running();
    let (mut near, mut far) = pair(&queue).await;
    near.write_all(b"now").await.unwrap();
    poll_fn(|context| QueuedSocket::poll_sent(&near, context))
        .await
        .unwrap();
    assert_eq!(arrived(&far).unwrap(), b"now");
    near.write_all(b"last").await.unwrap();
    near.shutdown().await.unwrap();
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"last");

    let (mut near, mut far) = pair(&queue).await;
    near.write_all(b"dropped").await.unwrap();
    drop(near);
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"dropped");
}

#[tokio::test]
async fn a_peer_that_is_gone_is_told_of_with_the_next_write() {
    let queue = running();
    let (mut near, far) = pair(&queue).await;
    socket2::SockRef::from(&far)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(far);
    let failed = async {
        loop {
            // The first counts as written.
            if let Err(error) = near.write_all(b"x").await {
                break error;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, failed).await.unwrap();
    // And whoever asks again hears it again.
    near.flush().await.unwrap_err();
    assert!(near.into_socket().into_stream().is_err());
}

#[tokio::test]
async fn a_socket_is_given_up_when_nothing_waits_on_it() {
    let queue = running();
    let (mut near, _far) = pair(&queue).await;
    near.write_all(b"x").await.unwrap();
    let other = near.clone();
    let Err(socket) = near.into_socket().into_stream() else {
        panic!("somebody else holds it");
    };
    drop(other);
    assert!(socket.into_stream().is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the sizes, and however little the kernel takes, nothing is lost, doubled or out of order.
    #[test]
    fn bytes_arrive_in_order(
        pieces in proptest::collection::vec((0_usize..9_000, any::<bool>(), 0_u8..4), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let queue = running();
            let (mut near, mut far) = pair(&queue).await;
            let mut expected = Vec::new();
            for (number, (length, _, _)) in (0_u8..).zip(&pieces) {
                expected.extend(std::iter::repeat_n(number, *length));
            }
            let reader = tokio::spawn(async move {
                let mut read = Vec::new();
                let mut buffer = [0; 1000];
                loop {
                    match far.read(&mut buffer).await.unwrap() {
                        0 => return read,
                        length => read.extend_from_slice(&buffer[..length]),
                    }
                }
            });
            for (number, (length, is_vectored, pause)) in (0_u8..).zip(&pieces) {
                let piece = vec![number; *length];
                let mut rest = &piece[..];
                while !rest.is_empty() {
                    let written = if *is_vectored {
                        let (one, two) = rest.split_at(rest.len() / 3);
                        let slices = [IoSlice::new(one), IoSlice::new(two)];
                        near.write_vectored(&slices).await.unwrap()
                    } else {
                        near.write(rest).await.unwrap()
                    };
                    rest = &rest[written..];
                }
                match pause {
                    0 => near.flush().await.unwrap(),
                    1 => tokio::task::yield_now().await,
                    2 => poll_fn(|context| QueuedSocket::poll_sent(&near, context))
                        .await
                        .unwrap(),
                    _ => {}
                }
            }
            near.shutdown().await.unwrap();
            let read = timeout(SOON, reader).await.unwrap().unwrap();
            assert!(read == expected);
        });
    }
}
