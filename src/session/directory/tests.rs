use std::{net::Ipv4Addr, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::session::revocation::{Revocation, Target};

const LIFETIMES: Lifetimes = Lifetimes {
    lifetime: Duration::from_hours(10),
    idle_timeout: Duration::from_hours(1),
};
const START: Timestamp = Timestamp(1_000_000);
const HOME: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
const WORK: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)));

struct House {
    presence: ActiveSessions,
    revocations: Arc<Revocations>,
}

fn house(knowledge: Completeness) -> House {
    let revocations = Arc::new(Revocations::new(LIFETIMES.lifetime));
    let directory = Arc::new(InProcess::new(1_000, LIFETIMES));
    House {
        presence: ActiveSessions::new(directory, Arc::clone(&revocations), LIFETIMES, knowledge),
        revocations,
    }
}

impl House {
    async fn names(&self, subject: &str, now: Timestamp) -> Vec<SessionName> {
        let listed = self
            .presence
            .list(&UserKey::new("corp", subject), now)
            .await;
        listed.unwrap().iter().map(Entry::name).collect()
    }
}

fn session(id: u8, subject: &str, created_at: Timestamp) -> Session {
    let identity = Identity::of("corp", subject);
    Session::begin([id; 16], [0; 16], created_at, identity)
}

fn sighting(session: &Session, address: Option<IpAddr>, now: Timestamp) -> Activity<'_> {
    Activity {
        session,
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"),
        address,
        now,
    }
}

fn later(seconds: u64) -> Timestamp {
    START.after(Duration::from_secs(seconds))
}

#[tokio::test]
async fn each_user_has_their_own_sessions_and_the_last_seen_comes_first() {
    let house = house(Completeness::WholeStore);
    let [first, second] = [session(1, "ada", START), session(2, "ada", later(10))];
    let other = session(3, "bob", START);
    for seen in [&first, &second, &other] {
        house.presence.note(&sighting(seen, HOME, seen.created_at));
    }
    let [one, two] = [&first, &second].map(SessionName::of);
    assert_eq!(house.names("ada", later(20)).await, [two, one]);
    assert_eq!(
        house.names("bob", later(20)).await,
        [SessionName::of(&other)]
    );
    assert_eq!(house.names("eve", later(20)).await, []);

    house.presence.note(&sighting(&first, WORK, later(70)));
    assert_eq!(house.names("ada", later(80)).await, [one, two]);
    let found = house.presence.find(&one, later(80)).await.unwrap().unwrap();
    assert_eq!((found.address, found.seen_at), (WORK, later(70)));
    assert_eq!(found.mark.created_at(), START);
    assert_eq!(&*found.device, "Firefox on Linux");
}

#[tokio::test]
async fn what_has_ended_is_not_listed() {
    let house = house(Completeness::WholeStore);
    let sessions = [1, 2, 3].map(|id| session(id, "ada", START));
    for session in &sessions {
        house.presence.note(&sighting(session, HOME, START));
    }
    house.revocations.revoke(Revocation {
        target: Target::Session([1; 16]),
        not_before: later(1),
    });
    house.presence.forget(&SessionName::of(&sessions[1])).await;
    let third = SessionName::of(&sessions[2]);
    assert_eq!(house.names("ada", later(3_600)).await, [third]);
    assert_eq!(house.names("ada", later(3_660)).await, [], "idle");
    let mut seen = 0;
    while seen < 36_000 {
        seen += 3_000;
        house
            .presence
            .note(&sighting(&sessions[2], HOME, later(seen)));
    }
    assert_eq!(house.names("ada", later(35_999)).await, [third]);
    assert_eq!(house.names("ada", later(36_000)).await, [], "absolute");
}

#[tokio::test]
async fn a_login_takes_the_place_of_the_session_before() {
    let house = house(Completeness::WholeStore);
    let [old, new] = [session(1, "ada", START), session(2, "ada", later(5))];
    house
        .presence
        .begin(&sighting(&old, HOME, START), None)
        .await;
    let begun = sighting(&new, HOME, later(5));
    house.presence.begin(&begun, Some(&old)).await;
    assert_eq!(house.names("ada", later(6)).await, [SessionName::of(&new)]);
}

#[tokio::test]
async fn somebody_who_signs_in_over_and_over_is_bounded() {
    let house = house(Completeness::WholeStore);
    for id in 0..=255 {
        let session = session(id, "ada", later(u64::from(id)));
        house
            .presence
            .note(&sighting(&session, HOME, session.created_at));
    }
    let names = house.names("ada", later(300)).await;
    assert_eq!(names.len(), 50);
    let last = session(255, "ada", later(255));
    assert_eq!(names[0], SessionName::of(&last));
}

#[test]
fn a_request_is_noted_about_once_a_minute() {
    let now = later(1_000);
    let seen_at = |seconds_ago: u64| Session {
        seen_at: Timestamp(now.0 - seconds_ago),
        ..session(1, "ada", START)
    };
    let cookie = house(Completeness::CookiesSince(START)).presence;
    assert!(!cookie.is_due(&seen_at(0), now) && !cookie.is_due(&seen_at(59), now));
    assert!(cookie.is_due(&seen_at(60), now));
    let restarted = house(Completeness::CookiesSince(Timestamp(now.0 - 5))).presence;
    assert!(
        restarted.is_due(&seen_at(5), now),
        "sealed by a process before"
    );
    assert!(!restarted.is_due(&seen_at(4), now));

    let store = house(Completeness::WholeStore).presence;
    let now = Timestamp(60 * 20_000);
    let seen_at = |seconds| Session {
        seen_at: Timestamp(seconds),
        ..session(1, "ada", START)
    };
    assert!(store.is_due(&seen_at(now.0 - 1), now));
    assert!(!store.is_due(&seen_at(now.0), Timestamp(now.0 + 59)));
}

#[test]
fn a_name_is_no_id_and_each_has_its_own() {
    let name = SessionName::of(&session(1, "ada", START));
    assert_ne!(name.session, [1; 16]);
    assert_ne!(name, SessionName::of(&session(2, "ada", START)));
    assert_ne!(name, SessionName::of(&session(1, "bob", START)));
    assert_eq!(name.to_string().len(), 43);
}

proptest! {
    #[test]
    fn names_are_read_as_written(id: [u8; 16], subject: String) {
        let identity = Identity::of("corp", &subject);
        let name = SessionName::of(&Session::begin(id, [0; 16], START, identity));
        prop_assert_eq!(SessionName::parse(&name.to_string()), Some(name));
    }

    #[test]
    fn any_text_is_read_without_harm(text in "\\PC{0,60}|[A-Za-z0-9_-]{43}") {
        if let Some(name) = SessionName::parse(&text) {
            prop_assert_eq!(name.to_string(), text);
        }
    }
}
