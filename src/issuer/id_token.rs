//! What clients learn of who has signed in (OpenID Connect Core 1.0 §§2 and 5). Pure.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{client::sha256, signing::IssuerKeys};
use crate::{
    clock::Timestamp,
    identity::Identity,
    jose::{self, Algorithm, Audience, Expected},
    text::Text,
};

/// The scope that asks for an ID token.
pub const OPENID: &str = "openid";
/// The scopes that ask for claims (§5.4), and the one for groups that most providers have.
pub const SCOPES: [&str; 4] = [OPENID, "profile", "email", "groups"];

/// What an ID token is about.
pub struct Login<'a> {
    /// Who.
    pub identity: &'a Identity,
    /// What the client may learn.
    pub scopes: &'a [String],
    /// The client's `client_id`.
    pub client_id: &'a str,
    /// The name of the session in which they agreed.
    pub sid: &'a str,
    /// What the client sent along, where this answers that request.
    pub nonce: Option<&'a str>,
    /// The access token that comes with it.
    pub access_token: &'a str,
    /// From when to when it counts.
    pub times: (Timestamp, Timestamp),
}

/// The stable name of somebody, for all clients alike.
pub fn subject(identity: &Identity) -> String {
    format!("{}:{}", identity.provider, identity.subject)
}

/// What these scopes tell of somebody (§5.1); what is not known is left out.
pub fn claims<S: AsRef<str>>(identity: &Identity, scopes: &[S]) -> Map<String, Value> {
    let has = |name: &str| scopes.iter().any(|scope| scope.as_ref() == name);
    let mut claims = Map::new();
    let mut say = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    say("sub", subject(identity).into());
    if has("profile") {
        say("preferred_username", identity.user().as_str().into());
        if let Some(name) = &identity.name {
            say("name", name.as_str().into());
        }
        if let Some(picture) = &identity.picture {
            say("picture", picture.as_str().into());
        }
    }
    if has("email")
        && let Some(email) = &identity.email
    {
        say("email", email.as_str().into());
        // No other address is kept.
        say("email_verified", true.into());
    }
    if has("groups") {
        let groups = identity.groups.iter().map(Text::as_str);
        say("groups", groups.collect::<Vec<_>>().into());
    }
    claims
}

/// The ID token of a login.
pub fn write(login: &Login<'_>, issuer: &str, keys: &IssuerKeys) -> String {
    let mut claims = claims(login.identity, login.scopes);
    let mut say = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    let (issued_at, expires_at) = login.times;
    say("iss", issuer.into());
    say("aud", login.client_id.into());
    say("iat", issued_at.0.into());
    say("exp", expires_at.0.into());
    say("sid", login.sid.into());
    say("at_hash", half_hash(login.access_token).into());
    let authentication = &login.identity.authentication;
    if let Some(at) = authentication.at {
        say("auth_time", at.0.into());
    }
    if let Some(acr) = &authentication.acr {
        say("acr", acr.as_str().into());
    }
    if let Some(nonce) = login.nonce {
        say("nonce", nonce.into());
    }
    keys.sign("JWT", &claims)
}

/// The left half of SHA-256 (§3.1.3.6).
fn half_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(&sha256(token.as_bytes())[..16])
}

/// Whom an ID token of ours was about, and for which client.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// Who.
    pub subject: String,
    /// The `client_id`.
    pub client_id: String,
}

/// Reads a hint. It may have expired (RP-Initiated Logout §2), but is no older than `lasts`: what was given in a session is of no use when
/// no such session goes on.
pub fn hint(
    text: &str,
    issuer: &str,
    keys: &IssuerKeys,
    (now, lasts): (Timestamp, Duration),
) -> Option<Hint> {
    #[derive(Deserialize)]
    struct Claims {
        sub: String,
        aud: String,
        iat: u64,
    }
    let claims: Claims = jose::claimed(text)?;
    let issued_at = Timestamp(claims.iat);
    if now >= issued_at.after(lasts) {
        return None;
    }
    let audience = [claims.aud];
    let expected = Expected {
        issuer,
        issues: |issuer, iss| issuer == iss,
        algorithms: &[Algorithm::ES256],
        types: &["JWT"],
        audience: Audience::Resource(&audience),
        max_age: None,
        may_lack_exp: false,
        // It may have ended; that it was one is what counts.
        now: issued_at,
    };
    let verified = jose::verify(text, &keys.verifier, &expected).ok()?;
    let [client_id] = audience;
    verified.kind.map(|_| Hint {
        subject: claims.sub,
        client_id,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        issuer::signing::{DEFAULT_AGE, KeptKeys, Signing},
        jose::sign::SigningKey,
        secret::Secret,
        session::seal::KeyRing,
    };

    const ISSUER: &str = "https://app.example";

    fn keys(number: u8) -> Arc<IssuerKeys> {
        let ring = KeyRing::new(&[Secret::new("one".to_owned())], "app.example gate");
        let seals = Arc::new(arc_swap::ArcSwap::from_pointee(ring));
        let kept = Arc::new(KeptKeys::new(Arc::new(crate::kv::Memory::default()), seals));
        let key = SigningKey::of(&[number; 32]).unwrap();
        let signing = Signing::new(vec![key], &kept, DEFAULT_AGE);
        signing.at_hand().unwrap()
    }

    fn ada() -> Identity {
        Identity {
            login: Some("ada".into()),
            email: Some("ada@example.com".into()),
            groups: vec!["staff".into()],
            ..Identity::of("corp", "1")
        }
    }

    #[test]
    fn each_scope_tells_its_own_and_nothing_that_is_not_known() {
        let claims_of = |scopes: &[&str]| Value::from(claims(&ada(), scopes));
        assert_eq!(claims_of(&["openid"]), json!({"sub": "corp:1"}));
        assert_eq!(
            claims_of(&["profile"]),
            json!({"sub": "corp:1", "preferred_username": "ada"})
        );
        assert_eq!(
            claims_of(&["email", "groups"]),
            json!({"sub": "corp:1", "email": "ada@example.com", "email_verified": true, "groups": ["staff"]})
        );
        let nobody = Identity::of("corp", "2");
        assert_eq!(
            Value::from(claims(&nobody, &["email"])),
            json!({"sub": "corp:2"})
        );
    }

    #[test]
    fn a_token_of_ours_is_a_hint_for_as_long_as_a_session_and_no_other_is_one() {
        let (identity, scopes) = (ada(), ["openid".to_owned()]);
        let login = Login {
            identity: &identity,
            scopes: &scopes,
            client_id: "wiki",
            sid: "s",
            nonce: Some("n"),
            // The example of OpenID Connect Core, appendix A.3.
            access_token: "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y",
            times: (Timestamp(1), Timestamp(601)),
        };
        let text = write(&login, ISSUER, &keys(1));
        let (week, early) = (Duration::from_hours(7 * 24), Timestamp(9_000));
        let read =
            |text: &str, issuer: &str, keys: &IssuerKeys| hint(text, issuer, keys, (early, week));
        let said = read(&text, ISSUER, &keys(1)).unwrap();
        let late = Timestamp(1).after(week);
        assert_eq!(hint(&text, ISSUER, &keys(1), (late, week)), None);
        assert_eq!((&*said.subject, &*said.client_id), ("corp:1", "wiki"));
        let payload = URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap());
        let claims: Value = serde_json::from_slice(&payload.unwrap()).unwrap();
        assert_eq!(claims["at_hash"], "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(claims["nonce"], "n");
        assert_eq!(read(&text, ISSUER, &keys(2)), None);
        assert_eq!(read(&text, "https://other.example", &keys(1)), None);
        let access = keys(1).sign("at+jwt", &claims);
        assert_eq!(read(&access, ISSUER, &keys(1)), None);
        for text in ["", ".", "..", "a.b.c", &text[1..], &text[..text.len() - 4]] {
            assert_eq!(read(text, ISSUER, &keys(1)), None, "{text}");
        }
    }
}
