use futures_util::future::join_all;

use super::{super::ApiTokenAuthenticator, *};
use crate::{
    clock,
    credential::{Answer, Authenticator as _, Caller, Presented},
    kv::{Key, Memory, Value},
    owner_records::OwnerRecord,
    provider::Providers,
    secret::Secret,
};

fn keys(secrets: &[&str]) -> KeyRing {
    let secrets: Vec<_> = secrets
        .iter()
        .map(|text| Secret::new((*text).to_owned()))
        .collect();
    KeyRing::new(&secrets, "app.example.com")
}

fn tokens_in(store: &Arc<dyn Store>, secrets: &[&str]) -> Arc<ApiTokens> {
    let keys = Arc::new(ArcSwap::from_pointee(keys(secrets)));
    let revocations = Arc::new(Revocations::new(Duration::from_hours(1)));
    let tokens = ApiTokens::start(Arc::clone(store), keys, revocations, Arc::default());
    Arc::new(tokens)
}

fn facts(subject: &str, groups: &[&str]) -> Facts {
    Facts {
        identity: Identity {
            groups: groups.iter().map(|group| Text::from(*group)).collect(),
            ..Identity::of("corp", subject)
        },
        provider_fingerprint: [3; 8],
    }
}

fn user(subject: &str) -> UserKey {
    UserKey::new("corp", subject)
}

fn wanted(name: &str) -> Wanted {
    Wanted {
        name: name.to_owned(),
        scopes: vec!["read".to_owned()],
        routes: Vec::new(),
        days: 30,
    }
}

fn settings(max_per_user: usize) -> ApiTokenSettings {
    ApiTokenSettings {
        owner_idle: days(30),
        max_days: 365,
        max_per_user,
        max_login_age: Duration::from_mins(15),
        scopes: vec!["read".to_owned()],
    }
}

/// From one address.
fn caller() -> Caller {
    Caller {
        address: Some([192, 0, 2, 1].into()),
        now: clock::now(),
    }
}

async fn bring(gate: &ApiTokenAuthenticator, text: &str) -> Result<Arc<Verified>, Refused> {
    let presented = Presented::Bearer(text);
    match gate.authenticate(&presented, caller()) {
        Answer::Pending(pending) => pending.await,
        Answer::Known(known) => known,
        Answer::NotMine => panic!("it is a token"),
    }
}

async fn found(tokens: &Arc<ApiTokens>, made: &Made) -> Option<Arc<Verified>> {
    let hash = Token::parse(&made.text).unwrap().hash();
    let found = tokens.find(&hash, caller()).await.unwrap();
    found
        .as_ref()
        .as_ref()
        .map(|found| Arc::clone(&found.verified))
}

#[tokio::test]
async fn what_is_made_is_found_listed_and_ended() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let tokens = tokens_in(&store, &["one"]);
    let now = clock::now();
    let make = |name| {
        let tokens = &tokens;
        async move {
            let facts = facts("ada", &["admins"]);
            tokens.make(&facts, &wanted(name), &settings(2), now).await
        }
    };
    let first = make("first").await.ok().unwrap();
    let second = make("second").await.ok().unwrap();
    assert_eq!(make("third").await.err(), Some(MakeError::TooMany(2)));

    let verified = found(&tokens, &first).await.unwrap();
    assert_eq!(verified.identity.groups, ["admins".into()]);
    assert_eq!(verified.scopes, Some(vec!["read".into()]));
    let list = tokens.list(&user("ada"), now).await.unwrap();
    let names: Vec<_> = list.iter().map(|listed| &*listed.name).collect();
    assert_eq!(names, ["second", "first"]);
    assert_eq!(list[1].start, first.text[..10]);
    assert!(tokens.list(&user("bob"), now).await.unwrap().is_empty());

    let name = TokenName::parse(&first.listed.id.to_string()).unwrap();
    assert!(name.is_of(&user("ada")) && !name.is_of(&user("bob")));
    assert_eq!(
        tokens
            .end(&name, now)
            .await
            .unwrap()
            .map(|listed| listed.name),
        Some("first".to_owned())
    );
    assert_eq!(tokens.end(&name, now).await.unwrap(), None);
    assert!(found(&tokens, &first).await.is_none());
    assert!(found(&tokens, &second).await.is_some());
    assert_eq!(tokens.end_all(&user("ada"), now).await.unwrap().len(), 1);
    assert!(found(&tokens, &second).await.is_none());
    assert!(
        store
            .scan("api-tokens".to_owned(), 9)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        store
            .scan("api-token-owners".to_owned(), 9)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn nothing_at_rest_says_who_it_is_or_opens_anything() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let tokens = tokens_in(&store, &["one"]);
    let now = clock::now();
    let made = tokens
        .make(
            &facts("ada-lovelace", &["admins"]),
            &wanted("my laptop"),
            &settings(9),
            now,
        )
        .await
        .ok()
        .unwrap();
    for group in ["api-tokens", "api-token-owners"] {
        for (name, bytes) in store.scan(group.to_owned(), 9).await.unwrap() {
            let whole = [&name[..], &bytes].concat();
            for secret in ["ada-lovelace", "admins", "my laptop", &made.text[4..]] {
                let found = whole
                    .windows(secret.len())
                    .any(|part| part == secret.as_bytes());
                assert!(!found, "{secret} in {group}");
            }
        }
    }
    // Another secret opens nothing; the earlier one on the list does.
    assert!(found(&tokens_in(&store, &["two"]), &made).await.is_none());
    assert!(
        found(&tokens_in(&store, &["two", "one"]), &made)
            .await
            .is_some()
    );
    // It is not lost where it does not open: another replica may have the secret already.
    let other = tokens_in(&store, &["two"]);
    let (ada, another) = (facts("ada-lovelace", &[]), wanted("b"));
    let again = other.make(&ada, &another, &settings(9), now).await;
    assert!(again.is_err());
    other.note_owner(&ada, now).await;
    assert!(other.end(&made.listed.id, now).await.is_err());
    assert!(found(&tokens_in(&store, &["one"]), &made).await.is_some());
    // Whoever is thrown out here is out for those who can open it, too.
    let other = tokens_in(&store, &["two"]);
    let owner = user("ada-lovelace");
    let records = store.scan("api-tokens".to_owned(), 9).await.unwrap();
    other.end_all(&owner, now).await.unwrap();
    assert!(found(&tokens_in(&store, &["one"]), &made).await.is_none());
    // A record in another owner's place opens nothing either.
    let (_, record) = records.into_iter().next().unwrap();
    let end = now.after(Duration::from_mins(1));
    let bob = key_of(&user("bob"));
    let value = Value { bytes: record, end };
    store
        .put(Key::new(Record::GROUP, bob), value)
        .await
        .unwrap();
    assert!(tokens.list(&user("bob"), now).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_last_login_counts_and_everybodys_can_be_ended() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let tokens = tokens_in(&store, &["one"]);
    let earlier = Timestamp(clock::now().0 - 100);
    let made = tokens
        .make(
            &facts("ada", &["admins"]),
            &wanted("a"),
            &settings(9),
            earlier,
        )
        .await
        .ok()
        .unwrap();
    assert!(found(&tokens, &made).await.is_some());
    let now = clock::now();
    tokens.note_owner(&facts("ada", &[]), now).await;
    tokens.note_owner(&facts("bob", &["admins"]), now).await;
    let verified = found(&tokens, &made).await.unwrap();
    assert!(verified.identity.groups.is_empty());
    // The word of a refresh that was before that login comes late.
    tokens
        .note_owner(&facts("ada", &["admins"]), Timestamp(now.0 - 50))
        .await;
    let verified = found(&tokens, &made).await.unwrap();
    assert!(verified.identity.groups.is_empty());

    tokens.end_everybodys(Timestamp(now.0 - 1)).await.unwrap();
    assert!(found(&tokens, &made).await.is_none());
    assert!(tokens.list(&user("ada"), now).await.unwrap().is_empty());
    // What was ended so takes no place.
    let later = tokens
        .make(&facts("ada", &[]), &wanted("b"), &settings(1), now)
        .await
        .ok()
        .unwrap();
    assert!(found(&tokens, &later).await.is_some());
}

/// Else a token would pass where a second factor is asked for, because its owner has shown theirs to some browser.
#[tokio::test]
async fn a_login_of_the_owner_makes_no_token_fresh() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let tokens = tokens_in(&store, &["one"]);
    let now = clock::now();
    let mut owner = facts("ada", &[]);
    owner.identity.authentication = Authentication {
        at: Some(now),
        acr: Some("mfa".into()),
    };
    let made = tokens.make(&owner, &wanted("a"), &settings(9), now).await;
    let made = made.ok().unwrap();
    tokens.note_owner(&owner, now).await;
    let verified = found(&tokens, &made).await.unwrap();
    assert_eq!(verified.identity.authentication, Authentication::default());
}

#[tokio::test]
async fn many_at_once_lose_nothing_and_stay_within_the_bound() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let tokens = tokens_in(&store, &["one"]);
    let now = clock::now();
    let tries = (0..8).map(|number| {
        let tokens = Arc::clone(&tokens);
        tokio::spawn(async move {
            let wanted = wanted(&number.to_string());
            tokens
                .make(&facts("ada", &[]), &wanted, &settings(5), now)
                .await
                .is_ok()
        })
    });
    let mut made = 0;
    for one in tries.collect::<Vec<_>>() {
        made += usize::from(one.await.unwrap());
    }
    assert_eq!(made, 5);
    assert_eq!(tokens.list(&user("ada"), now).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_use_is_written_down() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let tokens = tokens_in(&store, &["one"]);
    let now = clock::now();
    let made = tokens
        .make(&facts("ada", &[]), &wanted("a"), &settings(9), now)
        .await
        .ok()
        .unwrap();
    let hash = Token::parse(&made.text).unwrap().hash();
    let known = tokens.find(&hash, caller()).await.unwrap();
    tokens.note_use(&hash, known.as_ref().as_ref().unwrap(), now);
    for _ in 0..1_000 {
        let list = tokens.list(&user("ada"), now).await.unwrap();
        if let Some(used_at) = list[0].used_at {
            assert_eq!(used_at.0 % 60, 0);
            assert!(now.since(used_at) < MINUTE);
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the use is never seen");
}

/// A program begins with many requests at once, when the gate has just started: they are no guesses.
#[tokio::test]
async fn many_requests_with_one_new_token_count_as_one() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let tokens = tokens_in(&store, &["one"]);
    let made = tokens
        .make(&facts("ada", &[]), &wanted("a"), &settings(9), clock::now())
        .await
        .ok()
        .unwrap();
    let gate = ApiTokenAuthenticator::new(
        Arc::clone(&tokens),
        settings(9),
        Arc::new(Providers::none()),
    );
    let all = join_all((0..100).map(|_| bring(&gate, &made.text))).await;
    let throttled = |refused: &Refused| matches!(refused, Refused::Throttled(_));
    assert!(!all.iter().any(|one| one.as_ref().is_err_and(throttled)));
    // One that there is not counts each time, however many bring it at once.
    let false_one = format::generate(random::bytes());
    let all = join_all((0..100).map(|_| bring(&gate, &false_one))).await;
    assert!(all.iter().any(|one| one.as_ref().is_err_and(throttled)));
}
