//! What the audit trail, and the log, say of grants.

use crate::{
    answer::Reject,
    decide::Deny,
    identity::Identity,
    issuer::{Agreement, Found, Kept, resource::Resource},
    observe::{
        Record,
        audit::{Entry, Event},
    },
    route::Route,
    snapshot::Snapshot,
};

/// Somebody has let a client act for them.
pub(in crate::endpoint) fn made(
    snapshot: &Snapshot,
    identity: &Identity,
    agreement: &Agreement,
    record: &Record,
) {
    tracing::info!(
        client = agreement.client,
        name = agreement.name,
        user = &**identity.user(),
        provider = &*identity.provider,
        leads_to = agreement.leads_to,
        resource = agreement.resource,
        "a client may act for somebody"
    );
    let entry = Entry {
        object: Some(agreement.client.as_str().into()),
        detail: Some(format!("{} for {}", agreement.leads_to, agreement.resource).into()),
        ..Entry::of(Event::GrantMade)
    };
    snapshot
        .audit
        .record(&entry.about(identity).with_request(record));
}

/// A grant of `identity`'s was ended by `whom`.
pub(in crate::endpoint) fn ended(
    snapshot: &Snapshot,
    identity: &Identity,
    grant: &Kept,
    whom: &str,
    record: &Record,
) {
    let entry = Entry {
        outcome: Some(whom),
        object: Some(grant.client.as_str().into()),
        detail: Some(grant.name.as_str().into()),
        ..Entry::of(Event::GrantEnded)
    };
    snapshot
        .audit
        .record(&entry.about(identity).with_request(record));
}

/// The rules of `route` keep out somebody in whose name a client asks for a token.
pub(super) fn denied(
    snapshot: &Snapshot,
    identity: &Identity,
    client: &str,
    (route, deny): (&Route, Deny),
    record: &Record,
) {
    let rule = Reject::of(deny, route, String::new).detail();
    let entry = Entry {
        rule: Some(rule.unwrap_or_else(|| route.name.clone()).into()),
        object: Some(client.into()),
        ..Entry::of(Event::Denied)
    };
    snapshot
        .audit
        .record(&entry.about(identity).with_request(record));
}

/// A client got a token for itself.
pub(super) fn token_made(
    snapshot: &Snapshot,
    identity: &Identity,
    client: &str,
    resource: &Resource,
    record: &Record,
) {
    let entry = Entry {
        object: Some(client.into()),
        detail: Some(format!("for {}", resource.to_text()).into()),
        ..Entry::of(Event::TokenMade)
    };
    snapshot
        .audit
        .record(&entry.about(identity).with_request(record));
}

/// A client has ended a token of its own.
pub(super) fn token_ended(snapshot: &Snapshot, identity: &Identity, client: &str, record: &Record) {
    let entry = Entry {
        outcome: Some("client"),
        object: Some(client.into()),
        ..Entry::of(Event::TokenEnded)
    };
    snapshot
        .audit
        .record(&entry.about(identity).with_request(record));
}

/// What was used before came again.
pub(super) fn reused(snapshot: &Snapshot, found: &Found, record: &Record) {
    ended(
        snapshot,
        &found.facts.identity,
        &found.grant,
        "reuse",
        record,
    );
}
