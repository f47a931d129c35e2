//! Everything the provider remembers: who is signed in, codes, grants and tokens. Pure: time and
//! randomness are passed in.
//!
//! A grant is what a code was exchanged for. Its refresh token changes with each use, and an old one
//! that comes back means that two parties hold the same token, so the grant ends (RFC 9700 §4.14.2).
//! The same holds for a code that comes back (RFC 6749 §4.1.2).

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{bounded_map::BoundedMap, user::User};
use crate::clock::Timestamp;

/// The provider's memory.
pub(super) struct Vault {
    browsers: BoundedMap<Browser>,
    codes: BoundedMap<Code>,
    grants: BoundedMap<Grant>,
    access_tokens: BoundedMap<AccessToken>,
}

/// A browser in which somebody signed in.
#[derive(Clone, Copy)]
pub(super) struct Browser {
    pub(super) user: &'static User,
    pub(super) signed_in_at: Timestamp,
}

/// What the user agreed to, and where the code may be spent.
#[derive(Clone)]
pub(super) struct Agreement {
    pub(super) user: &'static User,
    pub(super) signed_in_at: Timestamp,
    /// The browser's session, whose end is the grant's end.
    pub(super) browser: String,
    pub(super) scope: String,
    pub(super) nonce: Option<String>,
    pub(super) redirect_uri: String,
    pub(super) code_challenge: String,
}

struct Code {
    agreement: Agreement,
    issued_at: Timestamp,
    used: Use,
}

enum Use {
    Fresh,
    /// Spent in vain: one wrong try is all there is.
    Wasted,
    /// Exchanged for the grant of this name.
    Granted(String),
}

struct Grant {
    agreement: Agreement,
    issued_at: Timestamp,
    /// The one refresh token that is good now, without the grant's name before it.
    refresh_secret: String,
}

struct AccessToken {
    grant: String,
    scope: String,
    issued_at: Timestamp,
}

/// Random bytes for one answer of the token endpoint.
pub(super) struct Fresh {
    pub(super) grant: [u8; 16],
    pub(super) refresh: [u8; 32],
    pub(super) access: [u8; 32],
}

/// What the token endpoint hands out.
pub(super) struct Issued {
    pub(super) access_token: String,
    pub(super) refresh_token: String,
    /// What the access token is good for.
    pub(super) scope: String,
    pub(super) agreement: Agreement,
}

/// Why no token was issued; each is an error code of RFC 6749 §5.2.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// `invalid_grant`
    Grant,
    /// `invalid_scope`
    Scope,
}

impl Vault {
    pub(super) const fn new() -> Self {
        Self {
            browsers: BoundedMap::new(),
            codes: BoundedMap::new(),
            grants: BoundedMap::new(),
            access_tokens: BoundedMap::new(),
        }
    }

    /// Somebody signed in: the name of the browser's new session, for its cookie.
    pub(super) fn sign_in(
        &mut self,
        user: &'static User,
        now: Timestamp,
        random: [u8; 32],
    ) -> String {
        let name = BASE64_URL_SAFE_NO_PAD.encode(random);
        let signed_in_at = now;
        self.browsers
            .insert(name.clone(), Browser { user, signed_in_at });
        name
    }

    /// Who is signed in.
    pub(super) fn browser(&self, name: &str, now: Timestamp) -> Option<Browser> {
        self.browsers
            .get(name)
            .filter(|browser| now.since(browser.signed_in_at) < BROWSER_LIFETIME)
            .copied()
    }

    /// Ends the browser's session and every grant that came of it.
    pub(super) fn sign_out(&mut self, name: &str) {
        self.browsers.remove(name);
        self.codes.retain(|code| code.agreement.browser != name);
        self.grants.retain(|grant| grant.agreement.browser != name);
    }

    /// A code for `agreement`, good once and for [`CODE_LIFETIME`].
    pub(super) fn issue_code(
        &mut self,
        agreement: Agreement,
        now: Timestamp,
        random: [u8; 32],
    ) -> String {
        let name = BASE64_URL_SAFE_NO_PAD.encode(random);
        let code = Code {
            agreement,
            issued_at: now,
            used: Use::Fresh,
        };
        self.codes.insert(name.clone(), code);
        name
    }

    /// Exchanges a code (RFC 6749 §4.1.3) whose challenge `verifier` must answer (RFC 7636 §4.6).
    pub(super) fn redeem(
        &mut self,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
        now: Timestamp,
        fresh: &Fresh,
    ) -> Result<Issued, Denied> {
        let code = self.codes.get_mut(code).ok_or(Denied::Grant)?;
        if let Use::Granted(grant) = &code.used {
            self.grants.remove(grant);
            return Err(Denied::Grant);
        }
        let good = matches!(code.used, Use::Fresh)
            && now.since(code.issued_at) < CODE_LIFETIME
            && code.agreement.redirect_uri == redirect_uri
            && code.agreement.code_challenge == challenge_of(verifier);
        if !good {
            code.used = Use::Wasted;
            return Err(Denied::Grant);
        }
        let name = BASE64_URL_SAFE_NO_PAD.encode(fresh.grant);
        code.used = Use::Granted(name.clone());
        let agreement = code.agreement.clone();
        let scope = agreement.scope.clone();
        let refresh_secret = BASE64_URL_SAFE_NO_PAD.encode(fresh.refresh);
        let grant = Grant {
            agreement: agreement.clone(),
            issued_at: now,
            refresh_secret: refresh_secret.clone(),
        };
        self.grants.insert(name.clone(), grant);
        Ok(self.issue(&name, &refresh_secret, scope, agreement, now, fresh))
    }

    /// Exchanges a refresh token for the next one (RFC 6749 §6); `scope` may ask for less than before.
    pub(super) fn refresh(
        &mut self,
        token: &str,
        scope: Option<&str>,
        now: Timestamp,
        fresh: &Fresh,
    ) -> Result<Issued, Denied> {
        let (name, secret) = token.split_once('.').ok_or(Denied::Grant)?;
        let grant = self.grants.get_mut(name).ok_or(Denied::Grant)?;
        if grant.refresh_secret != secret || now.since(grant.issued_at) >= GRANT_LIFETIME {
            self.grants.remove(name);
            return Err(Denied::Grant);
        }
        let scope = match scope {
            Some(scope) if is_within(scope, &grant.agreement.scope) => scope.to_owned(),
            Some(_) => return Err(Denied::Scope),
            None => grant.agreement.scope.clone(),
        };
        let refresh_secret = BASE64_URL_SAFE_NO_PAD.encode(fresh.refresh);
        grant.refresh_secret.clone_from(&refresh_secret);
        let agreement = grant.agreement.clone();
        Ok(self.issue(name, &refresh_secret, scope, agreement, now, fresh))
    }

    fn issue(
        &mut self,
        grant: &str,
        refresh_secret: &str,
        scope: String,
        agreement: Agreement,
        now: Timestamp,
        fresh: &Fresh,
    ) -> Issued {
        let access_token = BASE64_URL_SAFE_NO_PAD.encode(fresh.access);
        let entry = AccessToken {
            grant: grant.to_owned(),
            scope: scope.clone(),
            issued_at: now,
        };
        self.access_tokens.insert(access_token.clone(), entry);
        Issued {
            access_token,
            refresh_token: format!("{grant}.{refresh_secret}"),
            scope,
            agreement,
        }
    }

    /// Whose access token this is, and for what; none when it or its grant has ended.
    pub(super) fn bearer(
        &self,
        access_token: &str,
        now: Timestamp,
    ) -> Option<(&'static User, &str)> {
        let token = self.access_tokens.get(access_token)?;
        let grant = self.grants.get(&token.grant)?;
        (now.since(token.issued_at) < TOKEN_LIFETIME)
            .then_some((grant.agreement.user, token.scope.as_str()))
    }

    /// Forgets a token of either kind; a refresh token takes its grant along (RFC 7009 §2.1).
    pub(super) fn revoke(&mut self, token: &str) {
        self.access_tokens.remove(token);
        if let Some((grant, _)) = token.split_once('.') {
            self.grants.remove(grant);
        }
    }
}

/// S256 (RFC 7636 §4.2).
pub(super) fn challenge_of(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

fn is_within(asked: &str, granted: &str) -> bool {
    asked
        .split(' ')
        .all(|scope| granted.split(' ').any(|known| known == scope))
}

/// Of access and ID tokens: short, so that a refresh can be seen.
pub(super) const TOKEN_LIFETIME: Duration = Duration::from_mins(5);

pub(super) const CODE_LIFETIME: Duration = Duration::from_mins(1);

const BROWSER_LIFETIME: Duration = Duration::from_hours(12);

const GRANT_LIFETIME: Duration = Duration::from_hours(7 * 24);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000);
    const VERIFIER: &str = "a-verifier-that-is-at-least-43-characters-long";
    const BACK: &str = "http://localhost/back";

    fn fresh(seed: u8) -> Fresh {
        Fresh {
            grant: [seed; 16],
            refresh: [seed; 32],
            access: [seed; 32],
        }
    }

    fn with_code() -> (Vault, String) {
        let mut vault = Vault::new();
        let user = User::find("ada").unwrap();
        let browser = vault.sign_in(user, NOW, [7; 32]);
        let agreement = Agreement {
            user,
            signed_in_at: NOW,
            browser,
            scope: "openid email".into(),
            nonce: None,
            redirect_uri: BACK.into(),
            code_challenge: challenge_of(VERIFIER),
        };
        let code = vault.issue_code(agreement, NOW, [8; 32]);
        (vault, code)
    }

    #[test]
    fn a_code_is_good_once_and_its_return_ends_the_grant() {
        let (mut vault, code) = with_code();
        let issued = vault
            .redeem(&code, BACK, VERIFIER, NOW, &fresh(1))
            .ok()
            .unwrap();
        assert!(vault.bearer(&issued.access_token, NOW).is_some());
        assert!(vault.redeem(&code, BACK, VERIFIER, NOW, &fresh(2)).is_err());
        assert!(vault.bearer(&issued.access_token, NOW).is_none());
        assert!(
            vault
                .refresh(&issued.refresh_token, None, NOW, &fresh(3))
                .is_err()
        );
    }

    #[test]
    fn one_wrong_try_wastes_a_code() {
        for (redirect_uri, verifier, later) in [
            ("http://localhost/else", VERIFIER, 0),
            (BACK, "another-verifier-that-is-at-least-43-characters", 0),
            (BACK, VERIFIER, 60),
        ] {
            let (mut vault, code) = with_code();
            let then = Timestamp(NOW.0 + later);
            assert!(
                vault
                    .redeem(&code, redirect_uri, verifier, then, &fresh(1))
                    .is_err()
            );
            assert!(vault.redeem(&code, BACK, VERIFIER, NOW, &fresh(1)).is_err());
        }
    }

    #[test]
    fn a_refresh_token_that_comes_back_ends_the_grant() {
        let (mut vault, code) = with_code();
        let first = vault
            .redeem(&code, BACK, VERIFIER, NOW, &fresh(1))
            .ok()
            .unwrap();
        let second = vault
            .refresh(&first.refresh_token, None, NOW, &fresh(2))
            .ok()
            .unwrap();
        assert_ne!(first.refresh_token, second.refresh_token);
        assert!(
            vault
                .refresh(&first.refresh_token, None, NOW, &fresh(3))
                .is_err()
        );
        assert!(
            vault
                .refresh(&second.refresh_token, None, NOW, &fresh(4))
                .is_err()
        );
        assert!(vault.bearer(&second.access_token, NOW).is_none());
    }

    #[test]
    fn a_refresh_may_ask_for_less_and_not_for_more() {
        let (mut vault, code) = with_code();
        let first = vault
            .redeem(&code, BACK, VERIFIER, NOW, &fresh(1))
            .ok()
            .unwrap();
        let more = vault.refresh(&first.refresh_token, Some("openid profile"), NOW, &fresh(2));
        assert_eq!(more.err(), Some(Denied::Scope));
        let less = vault
            .refresh(&first.refresh_token, Some("openid"), NOW, &fresh(2))
            .ok()
            .unwrap();
        assert_eq!(less.scope, "openid");
    }

    #[test]
    fn tokens_end_by_time_revocation_and_sign_out() {
        let (mut vault, code) = with_code();
        let issued = vault
            .redeem(&code, BACK, VERIFIER, NOW, &fresh(1))
            .ok()
            .unwrap();
        assert!(
            vault
                .bearer(&issued.access_token, NOW.after(TOKEN_LIFETIME))
                .is_none()
        );
        vault.revoke(&issued.access_token);
        assert!(vault.bearer(&issued.access_token, NOW).is_none());
        let second = vault
            .refresh(&issued.refresh_token, None, NOW, &fresh(2))
            .ok()
            .unwrap();
        vault.revoke(&second.refresh_token);
        assert!(vault.bearer(&second.access_token, NOW).is_none());

        let (mut vault, code) = with_code();
        let issued = vault
            .redeem(&code, BACK, VERIFIER, NOW, &fresh(1))
            .ok()
            .unwrap();
        let browser = issued.agreement.browser.clone();
        assert!(vault.browser(&browser, NOW).is_some());
        vault.sign_out(&browser);
        assert!(vault.browser(&browser, NOW).is_none());
        assert!(vault.bearer(&issued.access_token, NOW).is_none());
    }
}
