//! `PREFIX/token`: a code becomes tokens, and a refresh token the next ones (RFC 6749 §§4.1.3, 5 and 6).

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{
    answer::{Failure, json as answer_json},
    client_credentials,
    client_request::ClientRequest,
    device::check_use,
    rules::{Wanted, guard},
    token_exchange, trail,
};
use crate::{
    issuer::{
        ACCESS_LASTS, Found, Issued, Refused,
        authorize::{is_verifier, scopes},
        client::Kind,
        device::Poll,
        error::{Code, OAuthError, invalid_grant, invalid_request},
        id_token::{self, Login, OPENID},
        registration::DEVICE_GRANT,
        resource::Resource,
        token::{AccessToken, Presented},
        token_exchange::TOKEN_EXCHANGE,
    },
    observe::Record,
    response::Body,
    session::Session,
};

pub(super) async fn give(
    request: &ClientRequest<'_>,
    record: &mut Record,
) -> Result<Response<Body>, Failure> {
    let (grant, answer) = match request.form.get("grant_type") {
        Some("authorization_code") => {
            let issued = request.code(record).await?;
            ("code", request.tokens(issued, true, record).await?)
        }
        Some("refresh_token") => {
            let issued = request.refresh(record).await?;
            (
                "refresh_token",
                request.tokens(issued, false, record).await?,
            )
        }
        Some("client_credentials") => {
            let answer = client_credentials::token(request, record).await?;
            ("client_credentials", answer)
        }
        Some("password") => {
            return Err(OAuthError::new(
                Code::UnsupportedGrantType,
                "there is no password grant (OAuth 2.1); use the code or the device flow, or a token",
            )
            .into());
        }
        Some(DEVICE_GRANT) if request.issuer.settings.device_flow => {
            let issued = request.device(record).await?;
            ("device_code", request.tokens(issued, false, record).await?)
        }
        Some(TOKEN_EXCHANGE) => (
            "token_exchange",
            token_exchange::token(request, record).await?,
        ),
        Some(_) => {
            return Err(OAuthError::new(
                Code::UnsupportedGrantType,
                "this grant_type is not known here",
            )
            .into());
        }
        None => return Err(invalid_request("grant_type is missing").into()),
    };
    let metrics = &request.snapshot.metrics;
    metrics.tokens.given(request.client.label(), grant);
    Ok(answer_json(StatusCode::OK, &answer))
}

impl ClientRequest<'_> {
    /// What a grant brings. `is_code` is whether it answers an authorization request.
    async fn tokens(
        &self,
        (issued, scopes): (Issued, Vec<String>),
        is_code: bool,
        record: &mut Record,
    ) -> Result<Value, Failure> {
        let session = issued.found.session();
        record.note_identity(Some(&session.identity));
        tracing::debug!(
            client = issued.found.grant.client,
            user = &**session.identity.user(),
            "access token given"
        );
        self.answer(issued, session, scopes, is_code).await
    }

    async fn code(&self, record: &Record) -> Result<(Issued, Vec<String>), Failure> {
        const UNKNOWN: &str = "the code is unknown, or has ended";
        let code = self
            .form
            .get("code")
            .ok_or_else(|| invalid_request("code is missing"))?;
        let redirect_uri = self
            .form
            .get("redirect_uri")
            .ok_or_else(|| invalid_request("redirect_uri is missing"))?;
        let verifier = self
            .form
            .get("code_verifier")
            .ok_or_else(|| invalid_request("code_verifier is missing"))?;
        if !is_verifier(verifier) {
            return Err(invalid_grant("code_verifier is not valid (43 to 128 characters)").into());
        }
        let code = Presented::code(code).ok_or_else(|| invalid_grant(UNKNOWN))?;
        let client = self.client.handle();
        // Before the code is spent: who asks for something else may ask again.
        let found = self.issuer.grants.find(code.grant).await?;
        let found =
            found.filter(|found| code.is_genuine(&found.key()) && found.grant.client == *client);
        let found = found.ok_or_else(|| invalid_grant(UNKNOWN))?;
        self.check_resource(&found)?;
        self.check_standing(&found, record).await?;
        let issued = self
            .issuer
            .grants
            .redeem(&code, &client, redirect_uri, verifier, self.now)
            .await;
        let issued = issued.map_err(|error| self.refused(error, record))?;
        let scopes = issued.found.grant.scopes.clone();
        Ok((issued, scopes))
    }

    async fn device(&self, record: &Record) -> Result<(Issued, Vec<String>), Failure> {
        let error = |code, description| Err(OAuthError::new(code, description).into());
        check_use(&self.client)?;
        let device_code = self.form.get("device_code");
        let device_code = device_code.ok_or_else(|| invalid_request("device_code is missing"))?;
        let client = self.client.handle();
        let devices = &self.issuer.state.devices;
        let code = match devices.poll(device_code, &client, self.now).await? {
            Poll::Allowed(code) => code,
            Poll::Pending => {
                return error(Code::AuthorizationPending, "nobody has said anything yet");
            }
            Poll::SlowDown => return error(Code::SlowDown, "five seconds more between questions"),
            Poll::Denied => return error(Code::AccessDenied, "whoever was asked said no"),
            Poll::Expired => return error(Code::ExpiredToken, "the code is unknown, or has ended"),
        };
        let code = Presented::code(&code).ok_or_else(|| invalid_grant("it has ended"))?;
        if let Some(found) = self.issuer.grants.find(code.grant).await? {
            self.check_standing(&found, record).await?;
        }
        // The device code answers the challenge of the grant's code, which nobody else has seen.
        let issued = self
            .issuer
            .grants
            .redeem(&code, &client, "", device_code, self.now);
        let issued = issued.await.map_err(|error| self.refused(error, record))?;
        let scopes = issued.found.grant.scopes.clone();
        Ok((issued, scopes))
    }

    async fn refresh(&self, record: &Record) -> Result<(Issued, Vec<String>), Failure> {
        const UNKNOWN: &str = "the refresh token is unknown, or has ended";
        let token = self
            .form
            .get("refresh_token")
            .ok_or_else(|| invalid_request("refresh_token is missing"))?;
        let token = Presented::refresh(token).ok_or_else(|| invalid_grant(UNKNOWN))?;
        let client = self.client.handle();
        let found = self
            .issuer
            .grants
            .of_refresh_token(&token)
            .await
            .map_err(|error| self.refused(error, record))?;
        if found.grant.client != *client {
            return Err(invalid_grant("the refresh token was given to another client").into());
        }
        self.check_resource(&found)?;
        let granted = &found.grant.scopes;
        let scopes = match self.form.get("scope") {
            None => granted.clone(),
            Some(requested) => {
                let mut requested = scopes(requested)?;
                if requested.iter().any(|scope| !granted.contains(scope)) {
                    return Err(
                        OAuthError::new(Code::InvalidScope, "more than was agreed upon").into(),
                    );
                }
                // What each token of its kind has.
                if let Some(base) = granted.first().filter(|base| !requested.contains(base)) {
                    requested.insert(0, base.clone());
                }
                requested
            }
        };
        self.check_standing(&found, record).await?;
        let issued = self
            .issuer
            .grants
            .rotate(&token, &client, self.now)
            .await
            .map_err(|error| self.refused(error, record))?;
        Ok((issued, scopes))
    }

    /// A grant is for one resource, whatever is asked for (RFC 8707 §2.2).
    fn check_resource(&self, found: &Found) -> Result<(), Failure> {
        let Some(resource) = self.form.get("resource") else {
            return Ok(());
        };
        let resource = Resource::parse(resource).map(|resource| resource.to_text());
        if resource.as_ref() != Some(&found.grant.resource) {
            return Err(
                OAuthError::new(Code::InvalidTarget, "the grant is for another resource").into(),
            );
        }
        Ok(())
    }

    /// Whoever gave the grant is still here, may be acted for at its resource today, and has not ended it.
    async fn check_standing(&self, found: &Found, record: &Record) -> Result<(), Failure> {
        let session = found.session();
        if !self.snapshot.sessions.revocations.is_known() {
            return Err(Failure::away());
        }
        if self.snapshot.sessions.revocations.has_revoked(&session) {
            let name = found.name();
            // For good: what says so is forgotten one day.
            self.issuer.grants.end(name, self.now).await?;
            return Err(invalid_grant("whoever agreed has left").into());
        }
        let grant = &found.grant;
        let resource = Resource::parse(&grant.resource);
        let route = resource.and_then(|resource| guard(self.snapshot, self.issuer, &resource));
        let Some(route) = route else {
            // The grant stays: its route may come back.
            return Err(OAuthError::new(
                Code::InvalidTarget,
                "the resource takes no tokens any more",
            )
            .into());
        };
        let wanted = Wanted {
            session: &session,
            client: &grant.client.as_str().into(),
            scopes: &grant.scopes,
        };
        // The client may call from elsewhere than it asks from.
        let judged = wanted.judge(self.snapshot, &route.from_any_network(), None, self.now);
        judged.map_err(|deny| {
            let client = &grant.client;
            trail::denied(
                self.snapshot,
                &session.identity,
                client,
                (route, deny),
                record,
            );
            invalid_grant("whoever agreed has left, or may not pass any more").into()
        })
    }

    /// `is_code` is whether it answers an authorization request, whose `nonce` goes into the ID token then.
    pub(super) async fn answer(
        &self,
        issued: Issued,
        session: Session,
        scopes: Vec<String>,
        is_code: bool,
    ) -> Result<Value, Failure> {
        let Issued {
            found,
            refresh_token,
        } = issued;
        let grant = found.grant;
        let expires_at = self.now.after(ACCESS_LASTS).min(grant.ends_at);
        let scope = scopes.join(" ");
        let token = AccessToken {
            session,
            client: grant.client.clone(),
            resource: grant.resource.clone(),
            scopes,
            issued_at: self.now,
            expires_at,
            is_clients_own: false,
            is_of_configured_client: self.client.kind == Kind::Configured,
        };
        let access_token = self
            .issuer
            .write(&token, &self.snapshot.sessions.keys)
            .await?;
        let mut answer = json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": expires_at.since(self.now).as_secs(),
            "refresh_token": refresh_token,
            "scope": scope,
        });
        if token.scopes.iter().any(|scope| scope == OPENID) {
            let login = Login {
                identity: &token.session.identity,
                scopes: &token.scopes,
                client_id: &self.client.id,
                sid: &grant.sid,
                nonce: grant.nonce.as_deref().filter(|_| is_code),
                access_token: &access_token,
                times: (self.now, expires_at),
            };
            let keys = self.issuer.signing.keys().await?;
            answer["id_token"] = id_token::write(&login, &self.issuer.name, &keys).into();
        }
        Ok(answer)
    }

    fn refused(&self, refused: Refused, record: &Record) -> Failure {
        match refused {
            Refused::Invalid(why) => invalid_grant(why).into(),
            Refused::Reused(found, what) => {
                tracing::warn!(
                    client = found.grant.client,
                    user = &**found.facts.identity.user(),
                    "{what} came a second time: the grant has ended, for somebody else may have it"
                );
                trail::reused(self.snapshot, &found, record);
                invalid_grant("it was used before; the grant has ended").into()
            }
            Refused::Unavailable(error) => error.into(),
        }
    }
}
