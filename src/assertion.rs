//! The signed assertion: a short JWT that tells an app who the user is, so that the app need not trust everybody who reaches it.
//!
//! Anybody who reaches the app without the gate can write a header, but nobody can forge a signature. The assertion names the app
//! (`aud`), so that one app cannot use it at another. It lasts a minute, so that a leaked one is soon useless. It is signed once for a
//! session, an app and a route, and reused for half of that time.
//!
//! The keys are derived from `session.secret`: whoever shares the secret has the same keys, and they rotate with it.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    access::Principal,
    clock::Timestamp,
    credential::Verified,
    jose::sign::{PublicKeys, SigningKeys},
    lru_map::{self, LruMap, Used},
    route::Route,
    session::{Session, directory::SessionName, seal::KeyRing},
    text::Text,
};

/// Signs assertions under one configuration.
pub struct Assertions {
    keys: SigningKeys,
    /// `public_url`, without a slash at its end.
    issuer: String,
    /// What each app calls itself, by the places of upstreams.
    audiences: Vec<String>,
    /// The bytes of the longest assertion: those of the longest header.
    max_bytes: usize,
    signed: LruMap<Key, Signed>,
}

/// What an assertion is about. A session's identity changes with its generation alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    proof: Proof,
    /// The place of the route in memory, which is its own for as long as the configuration is somebody's.
    route: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Proof {
    Session {
        id: [u8; 16],
        generation: u64,
    },
    /// The place of what is known of it in memory.
    Credential(usize),
}

impl lru_map::Key for Key {
    /// A session's id is random, and nobody chooses places in memory.
    fn bits(&self) -> u64 {
        /// Carries what is different to the upper bits: places in memory are alike there.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let proof = match self.proof {
            Proof::Session { id, generation } => id.bits() ^ generation,
            Proof::Credential(place) => place as u64,
        };
        let spread = (proof ^ (self.route as u64).rotate_left(32)).wrapping_mul(SPREAD);
        spread ^ (spread >> 32)
    }
}

struct Signed {
    at: Timestamp,
    token: Arc<str>,
    /// Held, so that its place in memory becomes nobody else's.
    _credential: Option<Arc<Verified>>,
}

impl Used for Signed {
    /// What was signed first is the first to be useless.
    fn used_at(&self) -> Timestamp {
        self.at
    }

    fn weight(&self) -> usize {
        self.token.len().saturating_add(ENTRY_BYTES)
    }
}

/// What has proven who it is.
#[derive(Clone, Copy)]
pub enum Proven<'a> {
    /// A session.
    Session(&'a Session),
    /// Another credential.
    Credential(&'a Arc<Verified>),
}

impl<'a> Proven<'a> {
    fn principal(self) -> Principal<'a> {
        match self {
            Self::Session(session) => session.principal(),
            Self::Credential(verified) => verified.as_ref().into(),
        }
    }

    fn name(self) -> Proof {
        match self {
            Self::Session(session) => Proof::Session {
                id: session.id,
                generation: session.generation,
            },
            Self::Credential(verified) => Proof::Credential(Arc::as_ptr(verified).addr()),
        }
    }
}

/// The claims. Those of registered names mean what RFC 7519 §4.1 and OpenID Connect Core §2 say.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    /// `PROVIDER:SUBJECT`, as in `X-User-Id`.
    sub: String,
    iat: u64,
    exp: u64,
    /// The session's name, as the admin listener has it; no credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    /// The name an app shows, as in `X-User`.
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    /// There where an address is: only such are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    groups: Vec<&'a str>,
    /// How many groups are not there because there are too many.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups_missing: Option<u64>,
    provider: &'a str,
    /// What a credential may be used for (RFC 8693 §4.2), where it is bound to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// The client that a credential was given to (RFC 8693 §4.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    /// The rule by which they passed.
    route: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
}

impl Assertions {
    /// By keys that follow from `secrets`, for the gate of this name.
    pub fn new(
        secrets: &KeyRing,
        gate: &str,
        issuer: String,
        audiences: Vec<String>,
        max_bytes: usize,
    ) -> Self {
        let seeds = secrets.indices().map(|index| {
            move |number: u8| {
                let input = [&[number], gate.as_bytes()].concat();
                secrets.derive_with(index, "assertion key", &input)
            }
        });
        Self {
            keys: SigningKeys::derive(seeds),
            issuer,
            audiences,
            max_bytes,
            signed: LruMap::new(CACHE_BYTES, SERVES),
        }
    }

    /// What verifies them.
    pub fn keys(&self) -> PublicKeys<'_> {
        self.keys.public()
    }

    /// The assertion of whoever was `proven`, for the app behind `route`. None where it fits into no header.
    pub fn of(&self, proven: Proven<'_>, route: &Route, now: Timestamp) -> Option<Arc<str>> {
        let key = Key {
            proof: proven.name(),
            route: std::ptr::from_ref(route).addr(),
        };
        let known = self.signed.read(&key, |signed| {
            let serves = now >= signed.at && now.since(signed.at) < SERVES;
            serves.then(|| Arc::clone(&signed.token))
        });
        if let Some(token) = known.flatten() {
            return Some(token);
        }
        let token: Arc<str> = self.sign(proven, route, now)?.into();
        let signed = Signed {
            at: now,
            token: Arc::clone(&token),
            _credential: match proven {
                Proven::Session(_) => None,
                Proven::Credential(verified) => Some(Arc::clone(verified)),
            },
        };
        self.signed.insert(key, signed, now);
        Some(token)
    }

    fn sign(&self, proven: Proven<'_>, route: &Route, now: Timestamp) -> Option<String> {
        let principal = proven.principal();
        let identity = principal.identity;
        let authentication = &identity.authentication;
        let mut claims = Claims {
            iss: &self.issuer,
            aud: self.audiences.get(route.upstream)?,
            sub: format!("{}:{}", &*identity.provider, &*identity.subject),
            iat: now.0,
            exp: now.after(LASTS).0,
            sid: match proven {
                Proven::Session(session) => Some(SessionName::of(session).to_string()),
                Proven::Credential(_) => None,
            },
            user: identity.user(),
            email: identity.email.as_deref(),
            email_verified: identity.email.as_ref().map(|_| true),
            name: identity.name.as_deref(),
            groups: Vec::new(),
            groups_missing: Some(u64::MAX),
            provider: &identity.provider,
            scope: principal.scopes.map(joined),
            client_id: principal.client.map(|client| &**client),
            route: &route.name,
            auth_time: authentication.at.map(|at| at.0),
            acr: authentication.acr.as_deref(),
        };
        let bare = serde_json::to_vec(&claims).ok()?.len();
        let room = self.keys.room(self.max_bytes).checked_sub(bare)?;
        let groups = &identity.groups;
        let fit = fitting(groups, room);
        claims.groups = groups[..fit].iter().map(|group| &**group).collect();
        let missing = (groups.len() - fit).saturating_add(identity.notes.missing_groups()) as u64;
        claims.groups_missing = Some(missing).filter(|missing| *missing > 0);
        Some(self.keys.sign(&claims))
    }
}

/// Scopes as one text (RFC 6749 §3.3).
fn joined(scopes: &[Text]) -> String {
    let scopes: Vec<&str> = scopes.iter().map(|scope| &**scope).collect();
    scopes.join(" ")
}

/// How many groups fit into `room`, from the first, as JSON with a comma each.
fn fitting(groups: &[Text], mut room: usize) -> usize {
    let fits = |group: &&Text| {
        let length = serde_json::to_string(&***group).map_or(usize::MAX, |json| json.len());
        match room.checked_sub(length.saturating_add(1)) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        }
    };
    groups.iter().take_while(fits).count()
}

/// How long an assertion lasts.
const LASTS: Duration = Duration::from_mins(1);
/// For how long it is given again: what an app gets lasts at least as long.
const SERVES: Duration = Duration::from_secs(30);
/// Signed assertions that are remembered, in bytes: of some twenty thousand sessions.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// What an entry takes beside its text, about; what is known of a credential is kept elsewhere, too.
const ENTRY_BYTES: usize = 250;

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::Value;

    use super::*;
    use crate::{
        credential::{self, Voucher},
        identity::{Authentication, Identity},
        secret::Secret,
        tokens::Tokens,
    };

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn assertions(max_bytes: usize) -> Assertions {
        let secrets = KeyRing::new(&[Secret::new("one".to_owned())], "app.example gate");
        let audiences = ["default", "wiki"].map(str::to_owned).to_vec();
        let issuer = "https://app.example".to_owned();
        Assertions::new(&secrets, "app.example gate", issuer, audiences, max_bytes)
    }

    fn session(groups: usize) -> Session {
        let identity = Identity {
            login: Some("ada".into()),
            email: Some("ada@example.com".into()),
            groups: (0..groups)
                .map(|n| format!("group \"{n}\"").into())
                .collect(),
            authentication: Authentication {
                at: Some(Timestamp(NOW.0 - 9)),
                acr: Some("gold".into()),
            },
            ..Identity::of("corp", "1")
        };
        Session::begin([7; 16], [2; 16], NOW, identity)
    }

    fn route(upstream: usize) -> Route {
        Route {
            upstream,
            ..Route::login()
        }
    }

    fn of(
        assertions: &Assertions,
        session: &Session,
        route: &Route,
        now: Timestamp,
    ) -> Option<Arc<str>> {
        assertions.of(Proven::Session(session), route, now)
    }

    fn claims(token: &str) -> Value {
        let payload = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }

    #[test]
    fn it_says_who_is_there_to_one_app_for_a_minute() {
        let (assertions, session) = (assertions(8_192), session(2));
        let claims = claims(&of(&assertions, &session, &route(1), NOW).unwrap());
        let expected = serde_json::json!({
            "iss": "https://app.example", "aud": "wiki", "sub": "corp:1", "iat": NOW.0, "exp": NOW.0 + 60,
            "sid": SessionName::of(&session).to_string(), "user": "ada", "email": "ada@example.com", "email_verified": true,
            "groups": ["group \"0\"", "group \"1\""], "provider": "corp", "route": "the default",
            "auth_time": NOW.0 - 9, "acr": "gold",
        });
        assert_eq!(claims, expected);
    }

    #[test]
    fn it_is_given_again_for_half_its_time_to_the_same_app_only() {
        let (assertions, session) = (assertions(8_192), session(0));
        let (first, second) = (route(0), route(1));
        let token = of(&assertions, &session, &first, NOW).unwrap();
        let again = |now| of(&assertions, &session, &first, now).unwrap();
        assert!(Arc::ptr_eq(
            &token,
            &again(NOW.after(Duration::from_secs(29)))
        ));
        let other = of(&assertions, &session, &second, NOW).unwrap();
        assert_eq!(claims(&other)["aud"], "wiki");
        let later = again(NOW.after(Duration::from_secs(30)));
        assert_eq!(claims(&later)["exp"], NOW.0 + 90);
        // A clock that was put back makes none that lasts for longer.
        assert_eq!(claims(&again(NOW))["exp"], NOW.0 + 60);
        let refreshed = Session {
            generation: 1,
            ..session.clone()
        };
        assert!(!Arc::ptr_eq(
            &later,
            &of(&assertions, &refreshed, &first, NOW).unwrap()
        ));
    }

    #[test]
    fn a_credential_that_is_known_is_signed_for_once_and_says_its_scopes() {
        let (assertions, route) = (assertions(8_192), route(0));
        let verified = |subject: &str| {
            Arc::new(Verified {
                identity: Identity::of("corp", subject),
                tokens: Tokens::default(),
                proof: credential::Proof::Bearer,
                scopes: Some(vec!["read".into(), "write".into()]),
                client: Some("robot".into()),
                expires_at: None,
                voucher: Voucher::Provider,
                routes: None,
                grant: None,
                opener: None,
            })
        };
        let one = verified("1");
        let of = |credential: &Arc<Verified>| {
            assertions
                .of(Proven::Credential(credential), &route, NOW)
                .unwrap()
        };
        let token = of(&one);
        assert!(Arc::ptr_eq(&token, &of(&one)));
        let said = claims(&token);
        assert_eq!(said["scope"], "read write");
        assert_eq!(said["client_id"], "robot");
        assert!(said["sid"].is_null());
        // Nobody is taken for whoever was in the same place before.
        drop(one);
        for subject in 2..50 {
            let other = verified(&subject.to_string());
            assert_eq!(claims(&of(&other))["sub"], format!("corp:{subject}"));
        }
    }

    #[test]
    fn groups_that_do_not_fit_are_counted() {
        let all = assertions(8_192);
        let narrow = assertions(1_024);
        for count in 0..80 {
            let session = session(count);
            let token = of(
                &narrow,
                &session,
                &route(0),
                NOW.after(Duration::from_secs(count as u64 * 60)),
            );
            let token = token.unwrap();
            assert!(
                token.len() <= 1_024,
                "{count} groups: {} bytes",
                token.len()
            );
            let claims = claims(&token);
            let there = claims["groups"].as_array().unwrap().len();
            let missing = claims["groups_missing"].as_u64().unwrap_or_default();
            assert_eq!(there as u64 + missing, count as u64);
        }
        let every = claims(&of(&all, &session(79), &route(0), NOW).unwrap());
        assert_eq!(every["groups"].as_array().unwrap().len(), 79);
        let huge = Session {
            identity: Identity {
                name: Some("x".repeat(9_000).into()),
                ..session(0).identity
            },
            generation: 9,
            ..session(0)
        };
        assert!(of(&all, &huge, &route(0), NOW).is_none());
    }

    #[test]
    fn replicas_have_one_key_and_other_gates_another() {
        let keys = |secret: &str, gate: &str| {
            let secrets = KeyRing::new(&[Secret::new(secret.to_owned())], gate);
            let assertions =
                Assertions::new(&secrets, gate, String::new(), vec![String::new()], 8_192);
            serde_json::to_string(&assertions.keys()).unwrap()
        };
        assert_eq!(keys("one", "a"), keys("one", "a"));
        assert_ne!(keys("one", "a"), keys("one", "b"));
        assert_ne!(keys("one", "a"), keys("two", "a"));
    }
}
