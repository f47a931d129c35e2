//! Who it is after a refresh: with a new ID token, with userinfo alone, with neither.

use serde_json::json;

use super::{
    super::scripted::{Answer, Scripted},
    tests::{NOW, claims, provider, redeem},
    *,
};
use crate::{
    access::{Allow, allow},
    jose::TestKey,
};

/// A login, in which the ID token and userinfo say this.
struct SignedIn {
    server: Scripted,
    key: TestKey,
    provider: Oidc,
    allow: Allow,
    identity: Identity,
}

fn joined(base: Value, more: &Value) -> Value {
    let mut base = base;
    for (name, value) in more.as_object().unwrap() {
        base[name] = value.clone();
    }
    base
}

impl SignedIn {
    async fn with(allow: Allow, token: &Value, userinfo: Option<&Value>) -> Self {
        let server = Scripted::start().await;
        let key = TestKey::ec("a");
        server.publish(&[&key]);
        say(&server, userinfo);
        let id_token = key.sign(&joined(claims(&server), token));
        let answer = json!({
            "access_token": "at", "token_type": "Bearer", "refresh_token": "rt", "id_token": id_token,
        });
        server.answer("/token", Answer::json(&answer.to_string()));
        let headers = [HeaderSource::Name, HeaderSource::Email];
        let provider = provider(&server, allow.clone(), &headers);
        let grant = redeem(&provider).await;
        let identity = grant.unwrap_or_else(|error| panic!("{error}")).identity;
        Self {
            server,
            key,
            provider,
            allow,
            identity,
        }
    }

    /// Who it is when the provider says this at a refresh.
    async fn again(
        &self,
        token: Option<&Value>,
        userinfo: Option<&Value>,
    ) -> Result<Identity, ProviderError> {
        say(&self.server, userinfo);
        match token {
            Some(token) => self.signed_again(token).await,
            None => self.holder_of(None).await,
        }
    }

    /// The same with a new ID token, whatever userinfo does.
    async fn signed_again(&self, token: &Value) -> Result<Identity, ProviderError> {
        let mut token = joined(claims(&self.server), token);
        token.as_object_mut().unwrap().remove("nonce");
        self.holder_of(Some(&self.key.sign(&token))).await
    }

    async fn holder_of(&self, id_token: Option<&str>) -> Result<Identity, ProviderError> {
        let tokens = GrantTokens {
            access: "at".into(),
            refresh: None,
            id: id_token.map(Text::from),
            expires: None,
        };
        let refreshed = RefreshedTokens {
            tokens: &tokens,
            previous: &self.identity,
            now: Timestamp(NOW + 60),
        };
        self.provider.identify(&refreshed).await
    }

    fn passes(&self, identity: &Identity) -> bool {
        allow::check(&self.allow, identity).is_ok()
    }
}

fn say(server: &Scripted, userinfo: Option<&Value>) {
    let answer = match userinfo {
        Some(userinfo) => Answer::json(&joined(json!({ "sub": "1" }), userinfo).to_string()),
        None => Answer::status(503),
    };
    server.answer("/userinfo", answer);
}

/// Core §5.3.2: what is not said is left out; some write null.
#[tokio::test]
async fn null_is_silence_in_an_id_token() {
    let groups = json!({ "groups": ["ops"], "preferred_username": "ada", "name": "Ada" });
    let email = json!({ "email": "a@x.example", "email_verified": true });
    let nulls = json!({ "groups": null, "preferred_username": null, "name": null });
    for token in [email.clone(), joined(email, &nulls)] {
        let ada = SignedIn::with(Allow::Anyone, &token, Some(&groups)).await;
        assert_eq!(ada.identity.user().as_str(), "ada");
        for status in [401, 403, 404, 500] {
            ada.server.answer("/userinfo", Answer::status(status));
            let again = ada.signed_again(&token).await.unwrap();
            // What userinfo told is not known now, and stands as it was.
            assert_eq!(again, ada.identity, "{status} {token}");
        }
        let again = ada.again(Some(&token), Some(&groups)).await.unwrap();
        assert_eq!(again, ada.identity, "{token}");
        let lost = joined(groups.clone(), &json!({ "groups": null }));
        let again = ada.again(Some(&token), Some(&lost)).await.unwrap();
        assert!(again.groups.is_empty(), "{token}");
    }
}

#[tokio::test]
async fn null_within_an_object_is_silence_too() {
    let roles = |of: Value| json!({ "name": "Ada", "email": "a@x.example", "email_verified": true, "realm": { "roles": of } });
    let allow = || Allow::for_test(&[("claims.realm.roles", &["ops"])]);
    let token = roles(Value::Null);
    let ada = SignedIn::with(allow(), &token, Some(&roles(json!(["ops"])))).await;
    assert!(ada.passes(&ada.identity));
    let again = ada.again(Some(&token), Some(&roles(json!(["ops"])))).await;
    assert_eq!(again.unwrap(), ada.identity);
    for lost in [json!(["dev"]), Value::Null] {
        let again = ada.again(Some(&token), Some(&roles(lost))).await.unwrap();
        assert!(!ada.passes(&again));
    }
}

#[tokio::test]
async fn null_is_silence_in_userinfo() {
    let token = json!({ "groups": ["ops"], "realm_access": { "roles": null } });
    let userinfo = json!({ "groups": null, "name": null });
    let ada = SignedIn::with(ops(), &token, Some(&userinfo)).await;
    let again = ada.again(None, Some(&userinfo)).await.unwrap();
    assert_eq!(again, ada.identity);
}

fn ops() -> Allow {
    Allow::for_test(&[("groups", &["ops"])])
}

#[tokio::test]
async fn a_new_id_token_is_believed_as_at_the_login() {
    let whole =
        json!({ "groups": ["ops"], "name": "Ada", "email": "a@x.example", "email_verified": true });
    let ada = SignedIn::with(ops(), &whole, Some(&json!({}))).await;
    let same = ada.again(Some(&whole), None).await.unwrap();
    assert_eq!(same, ada.identity);
    let renamed = joined(whole.clone(), &json!({ "name": "Ada King" }));
    let renamed = ada.again(Some(&renamed), None).await.unwrap();
    assert_eq!(renamed.name.as_deref(), Some("Ada King"));
    for gone in [json!({ "groups": [] }), json!({ "groups": ["dev"] })] {
        let lost = ada.again(Some(&joined(whole.clone(), &gone)), None).await;
        assert!(!ada.passes(&lost.unwrap()), "{gone}");
    }
    // Groups that the token no longer names, and userinfo does not either.
    let silent = json!({ "name": "Ada", "email": "a@x.example", "email_verified": true });
    let lost = ada.again(Some(&silent), Some(&json!({}))).await.unwrap();
    assert!(!ada.passes(&lost));
    let other = joined(whole, &json!({ "sub": "2" }));
    let other = ada.again(Some(&other), None).await.unwrap();
    assert_eq!(other.subject.as_str(), "2", "for the caller to refuse");
}

#[tokio::test]
async fn an_id_token_that_does_not_hold_is_nobodys() {
    let ada = SignedIn::with(Allow::Anyone, &json!({}), Some(&json!({}))).await;
    for bad in [
        json!({ "aud": "others" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "exp": NOW - 600 }),
        json!({ "iat": NOW + 600, "exp": NOW + 900 }),
    ] {
        let error = ada.again(Some(&bad), Some(&json!({}))).await.unwrap_err();
        assert!(matches!(error, ProviderError::IdToken(_)), "{bad}: {error}");
        assert!(!error.is_outage() && !error.ends_grant());
    }
    let forged = TestKey::ec("a").sign(&claims(&ada.server));
    assert!(ada.holder_of(Some(&forged)).await.is_err());
    assert!(ada.holder_of(Some("not.a.token")).await.is_err());
}

#[tokio::test]
async fn without_a_new_id_token_userinfo_says_who_it_is() {
    let whole = json!({
        "groups": ["ops"], "name": "Ada", "email": "a@x.example", "email_verified": true,
    });
    let ada = SignedIn::with(ops(), &whole, Some(&json!({}))).await;
    // What the login's ID token said and userinfo never knew stands.
    let silent = ada.again(None, Some(&json!({}))).await.unwrap();
    assert_eq!(silent, ada.identity);
    // An address without a word about it is the one that was vouched for, or none.
    let same = ada
        .again(None, Some(&json!({ "email": "a@x.example" })))
        .await;
    assert_eq!(same.unwrap().email.as_deref(), Some("a@x.example"));
    let other = ada
        .again(None, Some(&json!({ "email": "b@x.example" })))
        .await;
    assert_eq!(other.unwrap().email, None);
    let lost = ada.again(None, Some(&json!({ "groups": ["dev"] }))).await;
    assert!(!ada.passes(&lost.unwrap()));
    let another = ada.again(None, Some(&json!({ "sub": "2" }))).await;
    assert_eq!(another.unwrap().subject.as_str(), "2");
    assert!(ada.again(None, None).await.unwrap_err().is_outage());
}

#[tokio::test]
async fn what_userinfo_told_and_tells_no_longer_is_gone() {
    let userinfo = json!({ "groups": ["ops"], "email": "a@x.example", "email_verified": true });
    let ada = SignedIn::with(ops(), &json!({}), Some(&userinfo)).await;
    assert!(ada.passes(&ada.identity));
    assert_eq!(
        ada.again(None, Some(&userinfo)).await.unwrap(),
        ada.identity
    );
    let silent = ada.again(None, Some(&json!({}))).await.unwrap();
    assert!(!ada.passes(&silent));
    assert_eq!(silent.email, None);
    let unvouched = joined(userinfo, &json!({ "email_verified": null }));
    assert_eq!(ada.again(None, Some(&unvouched)).await.unwrap().email, None);
}

#[tokio::test]
async fn what_is_for_showing_stands_while_userinfo_is_away() {
    let token = json!({ "email": "a@x.example", "email_verified": true });
    let userinfo = json!({ "name": "Ada" });
    let ada = SignedIn::with(Allow::Anyone, &token, Some(&userinfo)).await;
    assert_eq!(ada.identity.name.as_deref(), Some("Ada"));
    let away = ada.again(Some(&token), None).await.unwrap();
    assert_eq!(away.name.as_deref(), Some("Ada"));
    assert_eq!(away.email.as_deref(), Some("a@x.example"));
}
