//! `PREFIX/account/grants`: users list and end the grants that they have given to clients.

use http::{Response, StatusCode};
use serde::Serialize;

use super::{
    account::{has_token, signed_in},
    ending::{ended, which},
    form::Form,
    issuer::trail,
    sign_out::is_own_form,
};
use crate::{
    answer::{Reject, reply},
    clean::CleanRequest,
    clock::{self, Timestamp},
    issuer::{GrantId, Kept},
    observe::{Record, Verdict},
    response::Body,
    session::{Session, SessionLookup, directory::UserKey},
    snapshot::Snapshot,
    when,
};

/// A grant as programs are shown it.
#[derive(Serialize)]
pub struct ListedGrant {
    id: String,
    client: String,
    name: String,
    leads_to: String,
    resource: String,
    scopes: Vec<String>,
    since: String,
    until: String,
    last_used: String,
}

impl ListedGrant {
    /// One of `user`'s.
    pub fn of(user: &UserKey, grant: &Kept) -> Self {
        Self {
            id: GrantId::of(user, grant.id).to_string(),
            client: grant.client.clone(),
            name: grant.name.clone(),
            leads_to: grant.leads_to.clone(),
            resource: grant.resource.clone(),
            scopes: grant.scopes.clone(),
            since: when::rfc3339(grant.created_at),
            until: when::rfc3339(grant.ends_at),
            last_used: when::rfc3339(grant.used_at),
        }
    }
}

/// Lists them. People see them on the account's page.
pub(super) async fn list(
    snapshot: &Snapshot,
    request: &CleanRequest,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    #[derive(Serialize)]
    struct Answer {
        grants: Vec<ListedGrant>,
    }
    let visitor = Visitor::read(snapshot, request, record).await?;
    let user = UserKey::of(&visitor.session()?.identity);
    let listed = snapshot.kept_grants.list(&user, visitor.now).await;
    let listed = listed?;
    if request.audience.is_person() {
        let account = snapshot.site.path("account");
        return Ok(reply::redirect(StatusCode::SEE_OTHER, &account));
    }
    let grants = listed
        .iter()
        .map(|grant| ListedGrant::of(&user, grant))
        .collect();
    Ok(reply::json(StatusCode::OK, &Answer { grants }))
}

/// Ends one, or all, as a form of the account's page asks.
pub(super) async fn end_by_form(
    snapshot: &Snapshot,
    request: Box<CleanRequest>,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    let visitor = Visitor::read(snapshot, &request, record).await?;
    let session = visitor.session()?;
    let (is_own, audience) = (is_own_form(snapshot, &request), request.audience);
    let form = Form::read(request.body).await?;
    if !is_own || !has_token(snapshot, session, &form) {
        return Err(Reject::StaleForm);
    }
    let id = which(&form, GrantId::parse)?;
    let count = visitor.end(id.as_ref(), record).await?;
    Ok(if audience.is_person() {
        reply::redirect(StatusCode::SEE_OTHER, &snapshot.site.path("account"))
    } else {
        ended(count)
    })
}

/// Ends the one that the address names: for programs.
pub(super) async fn end(
    snapshot: &Snapshot,
    request: &CleanRequest,
    id: &str,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    let visitor = Visitor::read(snapshot, request, record).await?;
    if !is_own_form(snapshot, request) {
        return Err(Reject::StaleForm);
    }
    let id = GrantId::parse(id).ok_or(Reject::NotFound)?;
    match visitor.end(Some(&id), record).await? {
        0 => Err(Reject::NotFound),
        count => Ok(ended(count)),
    }
}

/// Whoever visits with a session, where clients may have grants.
struct Visitor<'s> {
    snapshot: &'s Snapshot,
    visit: SessionLookup,
    now: Timestamp,
}

impl<'s> Visitor<'s> {
    async fn read(
        snapshot: &'s Snapshot,
        request: &CleanRequest,
        record: &mut Record,
    ) -> Result<Self, Reject> {
        record.verdict = Verdict::Account;
        snapshot.issuer.as_ref().ok_or(Reject::NotFound)?;
        let now = clock::now();
        let visit = snapshot.sessions.visit(&request.head.headers, now).await?;
        let visitor = Self {
            snapshot,
            visit,
            now,
        };
        record.note_identity(Some(&visitor.session()?.identity));
        Ok(visitor)
    }

    fn session(&self) -> Result<&Session, Reject> {
        signed_in(self.snapshot, &self.visit)
    }

    /// How many were ended.
    async fn end(&self, id: Option<&GrantId>, record: &mut Record) -> Result<usize, Reject> {
        let session = self.session()?;
        let user = UserKey::of(&session.identity);
        let grants = &self.snapshot.kept_grants;
        let ended = match id {
            // Another's is as good as none.
            Some(id) if !id.is_of(&user) => Ok(Vec::new()),
            Some(id) => grants
                .end(id.name(), self.now)
                .await
                .map(|ended| ended.into_iter().collect()),
            None => grants.end_all(&user, self.now).await,
        };
        let ended = ended?;
        for grant in &ended {
            let user = &**session.identity.user();
            tracing::info!(
                user,
                client = grant.client,
                "a grant was ended by its owner"
            );
            trail::ended(self.snapshot, &session.identity, grant, "owner", record);
        }
        record.detail = Some(format!("ended {} grants", ended.len()));
        Ok(ended.len())
    }
}
