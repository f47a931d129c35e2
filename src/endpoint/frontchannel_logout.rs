//! `PREFIX/frontchannel_logout/PROVIDER`: the provider's sign-out page loads this in a frame to report that a session there has ended
//! (OpenID Connect Front-Channel Logout 1.0).
//!
//! Browsers send no cookies into another site's frame, so only `sid` says which sessions end. The request is not signed. Whoever knows
//! a `sid` can end its sessions, and anybody can make the gate remember forged ones. So the endpoint exists only if the operator
//! enables it, and its revocations cannot displace others.

use std::time::Instant;

use http::Response;
use url::Url;

use super::login_request::parameter;
use crate::{
    answer::{Reject, reply},
    clean::CleanRequest,
    clock,
    login::{LoginClient, LoginError},
    observe::{
        Record, Verdict,
        audit::{Entry, Event},
    },
    response::Body,
    session::{
        StoreError, Unavailable,
        revocation::{Full, Revocation, Target},
    },
    snapshot::Snapshot,
};

pub(super) async fn serve(
    snapshot: &Snapshot,
    request: &CleanRequest,
    provider: &str,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    record.verdict = Verdict::FrontchannelLogout;
    let provider = snapshot
        .providers
        .find(provider)
        .filter(|provider| provider.tells_of_logouts() && provider.profile().frontchannel_logout);
    let provider = provider.ok_or(Reject::NotFound)?;
    let query = request.query();
    let (Some(iss), Some(sid)) = (parameter(query, "iss"), parameter(query, "sid")) else {
        return Err(Reject::BadRequest("iss and sid are missing".into()));
    };
    if sid.is_empty() || sid.len() > LONGEST {
        return Err(Reject::BadRequest("sid is empty or too long".into()));
    }
    if let Err(error) = provider.check_issuer(Some(&iss)).await {
        record.detail = Some(error.to_string());
        return Err(Reject::BadRequest("iss is not the provider".into()));
    }
    // Anybody can make one up, and each is remembered.
    let client = LoginClient {
        address: request.client.address,
        known: None,
    };
    snapshot
        .logins
        .admit_logout(&client, Instant::now())
        .map_err(|wait| LoginError::TooMany { wait })?;
    snapshot
        .sessions
        .revocations
        .revoke_unsigned(Revocation {
            target: Target::provider_session(&provider.profile().name, &sid),
            not_before: clock::now(),
        })
        .map_err(|Full| StoreError("too many front-channel logouts are remembered".to_owned()))
        .map_err(Unavailable::from)?;
    let revoked = Entry {
        provider: Some(provider.profile().name.as_str().into()),
        credential: Some("provider"),
        object: Some(format!("sid {sid}").into()),
        ..Entry::of(Event::Revocation)
    };
    snapshot.audit.record(&revoked.with_request(record));
    let origin = Url::parse(&iss).map(|issuer| issuer.origin().ascii_serialization());
    Ok(reply::framed(origin.as_deref().unwrap_or("'none'")))
}

/// Bytes of a `sid`.
const LONGEST: usize = 1_024;
