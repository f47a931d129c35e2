use std::task::{Context, Waker};

use proptest::prelude::*;

use super::*;

fn admission(connections: usize, per_client: usize) -> Arc<Admission> {
    let bounds = Bounds {
        capacity: Capacity::of(connections, per_client),
        trusted_proxies: vec!["192.0.2.0/24".parse().unwrap()],
    };
    Admission::new(bounds, Connections::default())
}

fn admit(admission: &Arc<Admission>, address: &str) -> Result<Place, Full> {
    let admitted = admission.try_admit(Some(address.parse().unwrap()));
    admitted
        .map(|admitted| admitted.place)
        .map_err(NoRoom::whose)
}

fn command(place: &Place) -> Command {
    place.control().poll(&Context::from_waker(Waker::noop()))
}

#[test]
fn the_longest_idle_makes_room_and_a_busy_one_does_not() {
    let admission = admission(2, 2);
    let first = admit(&admission, "198.51.100.1").unwrap();
    let second = admit(&admission, "198.51.100.2").unwrap();
    assert!(first.set_busy());
    let third = admit(&admission, "198.51.100.3").unwrap();
    assert_eq!(
        (command(&first), command(&second)),
        (Command::Serve, Command::Close)
    );
    assert!(third.set_busy());
    assert_eq!(admit(&admission, "198.51.100.4").err(), Some(Full::Gate));
    drop(second);
    first.set_idle();
    assert!(admit(&admission, "198.51.100.4").is_ok());
    assert!(!first.set_busy());
    drop((first, third));
    assert_eq!(admission.count(), Count { open: 0, idle: 0 });
    assert!(admission.lock().clients.is_empty() && admission.lock().closing == 0);
}

#[test]
fn a_client_with_too_many_makes_room_for_itself() {
    let admission = admission(10, 2);
    let other = admit(&admission, "198.51.100.9").unwrap();
    let first = admit(&admission, "2001:db8::1").unwrap();
    let second = admit(&admission, "2001:db8::2").unwrap();
    assert!(second.set_busy());
    let third = admit(&admission, "2001:db8::3").unwrap();
    assert_eq!(
        (command(&other), command(&first)),
        (Command::Serve, Command::Close)
    );
    assert!(third.set_busy());
    assert_eq!(admit(&admission, "2001:db8::4").err(), Some(Full::Client));
    assert!(admit(&admission, "2001:db8:1::4").is_ok());
}

/// No more than half may be closing at once; the next one waits for a close, and not in vain for ever.
#[tokio::test(start_paused = true)]
async fn a_burst_waits_for_closes_and_not_for_a_stuck_worker() {
    let admission = admission(4, 9);
    let ask = || admission.admit(Some("198.51.100.1".parse().unwrap()));
    let mut places = Vec::new();
    for _ in 0..6 {
        places.push(ask().await.ok().unwrap().place);
    }
    let begun = tokio::time::Instant::now();
    assert_eq!(ask().await.err(), Some(Full::Gate));
    assert_eq!(begun.elapsed(), CLOSE_PATIENCE);
    assert_eq!(ask().await.err(), Some(Full::Gate));
    assert_eq!(
        begun.elapsed(),
        CLOSE_PATIENCE,
        "a stuck worker is waited for once"
    );
    drop(places.remove(0));
    assert!(ask().await.is_ok());
    let second = places.remove(0);
    let (admitted, ()) = tokio::join!(ask(), async {
        tokio::task::yield_now().await;
        drop(second);
    });
    assert!(admitted.is_ok());
}

#[test]
fn proxies_stand_for_many() {
    let admission = admission(10, 1);
    let places: Vec<_> = ["192.0.2.1", "192.0.2.1", "127.0.0.1", "127.0.0.1", "::1"]
        .map(|address| admit(&admission, address).unwrap())
        .into();
    assert_eq!(admission.count(), Count { open: 5, idle: 5 });
    assert!((0..9).all(|_| places[0].requests().take().is_some()));
}

#[test]
fn requests_of_a_client_are_counted_over_its_connections() {
    let admission = admission(10, 10);
    let places = [0, 1].map(|_| admit(&admission, "198.51.100.1").unwrap());
    let first = places[0].requests().take();
    let second = places[1].requests().take();
    assert!(first.is_some() && second.is_some());
    assert!(places[0].requests().take().is_none());
    drop(first);
    assert!(places[1].requests().take().is_some());
}

proptest! {
    /// Whatever happens, no more than there may be, and nothing is left at the end.
    #[test]
    fn books_balance(steps in proptest::collection::vec((0_u8..4, 0_u8..5, 0_usize..8), 0..200)) {
        let admission = admission(4, 2);
        let mut places: Vec<Place> = Vec::new();
        for (step, address, which) in steps {
            match step {
                0 => places.extend(admit(&admission, &format!("198.51.100.{address}"))),
                1 if which < places.len() => drop(places.swap_remove(which)),
                2 if which < places.len() => _ = places[which].set_busy(),
                3 if which < places.len() => places[which].set_idle(),
                _ => {}
            }
            let count = admission.count();
            prop_assert!(count.open <= 4 && count.idle <= count.open);
        }
        places.clear();
        let book = admission.lock();
        prop_assert!(book.open == 0 && book.closing == 0 && book.clients.is_empty());
        prop_assert!(book.idle.is_empty() && book.idle_of_clients.is_empty());
    }
}
