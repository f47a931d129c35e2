//! Authenticates a client at the token endpoint (RFC 6749 §2.3).

use http::{HeaderMap, header::AUTHORIZATION};
use percent_encoding::percent_decode_str;

use super::answer::Failure;
use crate::{
    clock,
    credential::{Presented, Schemes},
    issuer::{
        Issuer, UnknownClient,
        client::{Authentication, Client, Kind, Method},
        client_assertion::{self, claimed_client},
        error::{Code, OAuthError, invalid_request},
        parameters::Parameters,
    },
    jose::KeySet,
    login::LoginClient,
    session::seal::KeyRing,
};

/// The client of a request to the endpoint of the name `at`, proven where it has something to prove itself by.
pub(super) async fn authenticate(
    issuer: &Issuer,
    keys: &KeyRing,
    headers: &HeaderMap,
    form: &Parameters,
    (sender, at): (&LoginClient, &str),
) -> Result<Client, Failure> {
    if form.get("client_assertion").is_some() || form.get("client_assertion_type").is_some() {
        return by_assertion(issuer, keys, headers, form, (sender, at)).await;
    }
    let basic = Schemes {
        bearer: false,
        basic: true,
    };
    let presented = Presented::read(headers, basic)
        .map_err(|_| Failure::of_client("Authorization cannot be read", true))?;
    let basic = match &presented {
        Presented::Basic(basic) => {
            let decoded = decoded(basic.name()).zip(decoded(basic.password()));
            Some(decoded.ok_or_else(|| Failure::of_client("Authorization cannot be read", true))?)
        }
        _ => None,
    };
    let in_form = form.get("client_secret");
    if basic.is_some() && in_form.is_some() {
        return Err(invalid_request("a client authenticates in one way").into());
    }
    let id = match (&basic, form.get("client_id")) {
        (Some((id, _)), Some(other)) if id != other => {
            return Err(invalid_request("client_id is not who Authorization names").into());
        }
        (Some((id, _)), _) => id.as_str(),
        (None, Some(id)) => id,
        (None, None) => return Err(Failure::of_client("client_id is missing", false)),
    };
    // Whoever comes here has agreed before: a server that is away for a while ends nothing.
    let client = find(issuer, keys, id, sender, true)
        .await
        .map_err(|unknown| not_known(unknown, basic.is_some()))?;
    let secret = match (&basic, in_form) {
        (Some((_, secret)), _) if !secret.is_empty() => Some((secret.as_str(), Method::Basic)),
        (None, Some(secret)) => Some((secret, Method::Post)),
        _ => None,
    };
    let is_proven = match (&client.authentication, secret) {
        (Authentication::None, None) => true,
        (_, Some((secret, method))) => client.has_secret(secret, method),
        _ => false,
    };
    if !is_proven {
        return Err(Failure::of_client(
            "client authentication failed: wrong secret, or another method than this client's",
            basic.is_some(),
        ));
    }
    Ok(client)
}

fn not_known(unknown: UnknownClient, is_basic: bool) -> Failure {
    match unknown {
        UnknownClient::Unknown(why) => Failure::of_client(why, is_basic),
        UnknownClient::Unreachable(why) | UnknownClient::Unavailable(why) => {
            OAuthError::new(Code::TemporarilyUnavailable, why).into()
        }
    }
}

/// The client that signed an assertion (RFC 7521 §4.2): one that has keys in the configuration, or that its document names keys of.
async fn by_assertion(
    issuer: &Issuer,
    keys: &KeyRing,
    headers: &HeaderMap,
    form: &Parameters,
    (sender, at_name): (&LoginClient, &str),
) -> Result<Client, Failure> {
    if headers.contains_key(AUTHORIZATION) || form.get("client_secret").is_some() {
        return Err(invalid_request("a client authenticates in one way").into());
    }
    if form.get("client_assertion_type") != Some(client_assertion::TYPE) {
        return Err(invalid_request("this client_assertion_type is not known here").into());
    }
    let assertion = form
        .get("client_assertion")
        .ok_or_else(|| invalid_request("client_assertion is missing"))?;
    let refused = |why| Failure::of_client(why, false);
    let id = claimed_client(assertion).ok_or_else(|| refused("client_assertion is no JWT"))?;
    if form.get("client_id").is_some_and(|other| other != id) {
        return Err(invalid_request("client_id is not who client_assertion is of").into());
    }
    let not_known = |unknown| not_known(unknown, false);
    let client = find(issuer, keys, &id, sender, true)
        .await
        .map_err(not_known)?;
    let at = |name: &str| format!("{}{name}", issuer.endpoints);
    let audiences = [issuer.name.clone(), at("token"), at(at_name)];
    let now = clock::now();
    let check = |keys: &KeySet| client_assertion::check(assertion, &id, keys, &audiences, now);
    let known = issuer.keys_of(&client, sender, false).await;
    let mut checked = check(&*known.map_err(not_known)?);
    if checked.is_err() && matches!(client.authentication, Authentication::KeysAt(_)) {
        let newest = issuer.keys_of(&client, sender, true).await;
        checked = check(&*newest.map_err(not_known)?);
    }
    let assertion = checked.map_err(refused)?;
    let used = &issuer.state.assertions;
    let is_first = if client.kind == Kind::Configured {
        used.is_first(&client.id, &assertion, now).await?
    } else {
        used.is_first_of_stranger(&client.id, &assertion, now)
            .await?
    };
    if !is_first {
        return Err(refused("client_assertion was used before"));
    }
    Ok(client)
}

/// The client of an id, for whoever asks; of a document an older copy where it `takes_stale`.
pub(super) async fn find(
    issuer: &Issuer,
    keys: &KeyRing,
    id: &str,
    sender: &LoginClient,
    takes_stale: bool,
) -> Result<Client, UnknownClient> {
    match issuer.client_at_hand(id, keys)? {
        Some(client) => Ok(client),
        None => issuer.client_of_document(id, sender, takes_stale).await,
    }
}

/// Both halves are form-encoded (RFC 6749 §2.3.1); of what clients leave as it is, nothing reads differently.
fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}
