use super::*;
use crate::identity::Identity;

fn session(subject: &str, created_at: u64) -> Session {
    let identity = Identity::of("corp", subject);
    Session {
        provider_session: Some("sid-1".into()),
        ..Session::begin([7; 16], [2; 16], Timestamp(created_at), identity)
    }
}

fn revoked(target: Target, not_before: u64) -> Revocations {
    let revocations = Revocations::new(Duration::from_hours(1));
    revocations.revoke(Revocation {
        target,
        not_before: Timestamp(not_before),
    });
    revocations
}

#[test]
fn each_target_ends_its_sessions_and_no_others() {
    for target in [
        Target::Session([7; 16]),
        Target::user("corp", "ada"),
        Target::provider_session("corp", "sid-1"),
        Target::Everybody,
    ] {
        let revocations = revoked(target, 100);
        assert!(revocations.has_revoked(&session("ada", 99)), "{target:?}");
        assert!(revocations.has_revoked(&session("ada", 100)), "{target:?}");
        let is_one = target == Target::Session([7; 16]);
        assert_eq!(
            revocations.has_revoked(&session("ada", 101)),
            is_one,
            "{target:?}"
        );
    }
    for target in [
        Target::Session([8; 16]),
        Target::user("corp", "bob"),
        Target::user("corpa", "da"),
        Target::provider_session("other", "sid-1"),
    ] {
        let revocations = revoked(target, 100);
        assert!(!revocations.has_revoked(&session("ada", 1)), "{target:?}");
    }
}

#[test]
fn nothing_revoked_is_nothing_ended() {
    let revocations = Revocations::new(Duration::from_hours(1));
    assert!(!revocations.has_revoked(&session("ada", 0)));
}

#[test]
fn an_older_revocation_does_not_undo_a_newer_one() {
    for target in [Target::Session([7; 16]), Target::Everybody] {
        let revocations = revoked(target, 100);
        let changes = revocations.changes();
        let not_before = Timestamp(50);
        revocations.learn(Revocation { target, not_before });
        assert!(revocations.has_revoked(&session("ada", 100)));
        assert!(!changes.has_changed().unwrap());
    }
}

#[tokio::test]
async fn what_is_revoked_here_goes_out_and_what_is_learnt_does_not() {
    let revocations = Revocations::new(Duration::from_hours(1));
    let (vouched, mut out) = mpsc::channel(8);
    let (unsigned, mut unsigned_out) = mpsc::channel(1);
    let (grants, mut grants_out) = mpsc::channel(1);
    revocations.tell(Feeds {
        vouched,
        unsigned,
        grants,
    });
    let here = Revocation {
        target: Target::Session([1; 16]),
        not_before: Timestamp(1),
    };
    let elsewhere = Revocation {
        target: Target::Session([2; 16]),
        ..here
    };
    let mut changes = revocations.changes();
    revocations.learn(elsewhere);
    revocations.revoke(here);
    assert!(changes.has_changed().unwrap());
    assert_eq!(*changes.borrow_and_update(), 2);
    assert_eq!(out.recv().await, Some(here));
    assert!(out.try_recv().is_err());

    // Neither waits for the other, and what was told is not told again.
    revocations.revoke(here);
    let frame = |sid: &str| Revocation {
        target: Target::provider_session("corp", sid),
        ..here
    };
    assert_eq!(revocations.revoke_unsigned(frame("1")), Ok(()));
    assert_eq!(revocations.revoke_unsigned(frame("2")), Err(Full));
    revocations.revoke(frame("2"));
    assert_eq!(out.recv().await, Some(frame("2")));
    assert_eq!(unsigned_out.recv().await, Some(frame("1")));
    assert!(unsigned_out.try_recv().is_err());
    let grant = Revocation {
        target: Target::Grant([3; 16]),
        ..here
    };
    revocations.revoke(grant);
    assert_eq!(grants_out.recv().await, Some(grant));
    assert!(out.try_recv().is_err());
}

fn small() -> Revocations {
    let capacity = Capacity {
        authenticated: 100,
        unauthenticated: 50,
        grants: 100,
    };
    Revocations::bounded(Duration::from_hours(1), capacity)
}

#[test]
fn a_flood_of_what_nobody_signed_is_refused_and_drives_nothing_out() {
    let revocations = small();
    let not_before = Timestamp(1_000);
    let frame = |sid: &str| Revocation {
        target: Target::provider_session("corp", sid),
        not_before,
    };
    let own = Target::Session([7; 16]);
    revocations.revoke(Revocation {
        target: own,
        not_before,
    });
    assert_eq!(revocations.revoke_unsigned(frame("sid-1")), Ok(()));
    let mut refused = 0;
    for number in 0..2_000 {
        refused += usize::from(
            revocations
                .revoke_unsigned(frame(&number.to_string()))
                .is_err(),
        );
    }
    assert_eq!(refused, 2_000 - 49);
    assert!(
        revocations.has_revoked(&session("ada", 1_000)),
        "signed out"
    );
    let framed = Session {
        id: [8; 16],
        ..session("bob", 900)
    };
    assert!(
        revocations.has_revoked(&framed),
        "the frame that was accepted"
    );
    let other = Session {
        provider_session: Some("sid-2".into()),
        ..framed
    };
    assert!(
        !revocations.has_revoked(&other),
        "nobody else's session ended"
    );
    // Where others remember as many, it is the same.
    let revocations = small();
    revocations.note_unsigned_elsewhere(50);
    assert_eq!(revocations.revoke_unsigned(frame("sid-1")), Err(Full));
}

#[test]
fn beyond_the_bound_whoever_signed_out_stays_out() {
    let revocations = small();
    for number in 0..150_u8 {
        revocations.revoke(Revocation {
            target: Target::Session([number; 16]),
            not_before: Timestamp(1_000 + u64::from(number)),
        });
        revocations.authenticated.run_pending_tasks();
    }
    for number in 0..150_u8 {
        let signed_out = Session {
            id: [number; 16],
            ..session("ada", 500 + u64::from(number))
        };
        assert!(revocations.has_revoked(&signed_out), "{number}");
    }
    // Hearing of the oldest again, from other replicas, drives out nobody else's.
    for number in 0..150_u8 {
        revocations.learn(Revocation {
            target: Target::Session([number; 16]),
            not_before: Timestamp(1_000 + u64::from(number)),
        });
        revocations.authenticated.run_pending_tasks();
    }
    let fresh = Session {
        id: [200; 16],
        ..session("ada", 1_100)
    };
    assert!(
        !revocations.has_revoked(&fresh),
        "of after what was forgotten"
    );
    let old = Session {
        created_at: Timestamp(1_000),
        ..fresh
    };
    assert!(revocations.has_revoked(&old), "of before");
}

/// Anybody who may sign in begins and ends grants without end. That ends access tokens, which are renewed, and nobody's session.
#[test]
fn a_flood_of_grants_that_end_ends_no_session() {
    let revocations = small();
    for number in 0..150_u8 {
        revocations.revoke(Revocation {
            target: Target::Grant([number; 16]),
            not_before: Timestamp(1_000 + u64::from(number)),
        });
        revocations.grants.run_pending_tasks();
    }
    let begun = Session {
        id: [200; 16],
        ..session("ada", 10)
    };
    assert!(!revocations.has_revoked(&begun));
    // A token of a grant that is forgotten is over with those of its time, and none is that was given since.
    assert!(revocations.has_revoked_tokens_of(Timestamp(1_000)));
    assert!(!revocations.has_revoked_tokens_of(Timestamp(1_100)));
    assert!(revocations.has_revoked_id(&[149; 16]));
}

#[test]
fn a_clock_that_is_ahead_ends_nobody_for_good() {
    let revocations = small();
    for number in 0..150_u8 {
        revocations.revoke(Revocation {
            target: Target::Session([number; 16]),
            not_before: Timestamp(u64::MAX),
        });
    }
    revocations.authenticated.run_pending_tasks();
    let soon = clock::now().after(Duration::from_secs(5));
    let fresh = Session {
        id: [200; 16],
        ..session("ada", soon.0)
    };
    assert!(!revocations.has_revoked(&fresh));
}

#[test]
fn what_the_common_memory_lost_is_found() {
    let revocations = Revocations::new(Duration::from_hours(1));
    let (ada, bob) = (Target::user("corp", "ada"), Target::user("corp", "bob"));
    let (one, old) = (Target::Session([1; 16]), Target::Session([9; 16]));
    let learn = |target, not_before| {
        revocations.learn(Revocation {
            target,
            not_before: Timestamp(not_before),
        });
    };
    for (target, not_before) in [(ada, 100), (bob, 200), (one, 150), (old, 10)] {
        learn(target, not_before);
    }
    revocations.learn_unsigned(Revocation {
        target: Target::provider_session("corp", "sid"),
        not_before: Timestamp(170),
    });
    let lost = |kind, there: &[(Target, u64)]| -> Vec<u64> {
        let there = there.iter().map(|(target, at)| (*target, Timestamp(*at)));
        let there: HashMap<_, _> = there.collect();
        let lost = revocations.lost(kind, &there, Duration::from_secs(250), Timestamp(300));
        let mut times: Vec<_> = lost.iter().map(|lost| lost.not_before.0).collect();
        times.sort_unstable();
        times
    };
    let all = [(ada, 100), (bob, 200), (one, 150)];
    assert!(lost(Kind::Vouched, &all).is_empty());
    let three = [100, 150, 200];
    assert_eq!(
        lost(Kind::Vouched, &[]),
        three,
        "the old one ended with its session"
    );
    assert_eq!(
        lost(Kind::Vouched, &[(ada, 101), (bob, 199), (one, 20)]),
        [200]
    );
    assert_eq!(lost(Kind::Unsigned, &all), [170]);
    learn(Target::Everybody, 120);
    assert_eq!(lost(Kind::Vouched, &all), [120]);
    assert_eq!(
        lost(Kind::Vouched, &[]),
        [120, 150, 200],
        "one word for all of before"
    );
    let lifetime = Duration::from_secs(250);
    let later = revocations.lost(Kind::Vouched, &HashMap::new(), lifetime, Timestamp(10_000));
    let times: Vec<_> = later.iter().map(|lost| lost.not_before.0).collect();
    assert_eq!(times, [120], "it stands for what was longer, maybe");
    learn(Target::Grant([1; 16]), 160);
    assert_eq!(lost(Kind::Grants, &[]), [160]);
    assert!(lost(Kind::Grants, &[(Target::Grant([1; 16]), 5)]).is_empty());
    learn(Target::AccessTokens, 170);
    assert_eq!(lost(Kind::Grants, &[]), [170]);
}

#[tokio::test]
async fn what_finds_no_place_in_the_queue_is_not_forgotten() {
    let revocations = Revocations::new(Duration::from_hours(1));
    let (feed, _queue) = mpsc::channel(1);
    revocations.tell(Feeds {
        vouched: feed.clone(),
        unsigned: feed.clone(),
        grants: feed,
    });
    let revoke = |name| {
        revocations.revoke(Revocation {
            target: Target::user("corp", name),
            not_before: Timestamp(100),
        });
    };
    revoke("ada");
    let take_overflow = || revocations.take_overflow(Kind::Vouched);
    assert!(!take_overflow());
    revoke("bob");
    assert!(!revocations.take_overflow(Kind::Grants));
    assert!(take_overflow() && !take_overflow());
    assert!(!revocations.are_told(Duration::ZERO).await);
    let there = HashMap::new();
    let lost = revocations.lost(
        Kind::Vouched,
        &there,
        Duration::from_hours(1),
        Timestamp(101),
    );
    assert_eq!(lost.len(), 2);
}
