//! The gate's own endpoints, one file each.

pub mod account;
pub mod app_token;
pub mod auth;
mod backchannel_logout;
mod callback;
mod ending;
mod form;
mod frontchannel_logout;
mod grants;
pub mod health;
pub mod held_back;
mod issuer;
mod jwks;
mod login_request;
pub mod public_name;
mod sign_in;
mod sign_out;
mod start;
pub mod tokens;
mod userinfo;

pub use self::{grants::ListedGrant, issuer::Issuing};

use http::{Method, Response};
use percent_encoding::percent_decode_str;

use crate::{
    answer::{self, Reject},
    audience::Audience,
    clean::CleanRequest,
    door::Door,
    observe::{Record, Verdict},
    response::Body,
    site::Site,
    snapshot::Snapshot,
};

/// Which own endpoint a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `PREFIX/sign_in`
    SignIn,
    /// `PREFIX/start` or `PREFIX/start/PROVIDER`
    Start(Option<String>),
    /// Where this provider sends browsers back to: `PREFIX/callback/PROVIDER`, or the path that the
    /// operator has registered, which may lie outside the prefix; `PREFIX/callback` is an only provider's.
    Callback(String),
    /// `PREFIX/sign_out`
    SignOut,
    /// `PREFIX/backchannel_logout/PROVIDER`
    BackchannelLogout(String),
    /// `PREFIX/frontchannel_logout/PROVIDER`
    FrontchannelLogout(String),
    /// `PREFIX/auth` or `PREFIX/forward`
    Door(Door),
    /// What lies below one of these, where Envoy puts the path that it asks about.
    BelowDoor(Door),
    /// `PREFIX/userinfo`
    Userinfo,
    /// `PREFIX/jwks`
    Jwks,
    /// `PREFIX/account`
    Account,
    /// `PREFIX/account/sign_out`
    AccountSignOut,
    /// `PREFIX/account/tokens`
    Tokens,
    /// `PREFIX/account/tokens/end`
    TokensEnd,
    /// `PREFIX/account/tokens/ID`
    Token(String),
    /// `PREFIX/account/grants`
    Grants,
    /// `PREFIX/account/grants/end`
    GrantsEnd,
    /// `PREFIX/account/grants/ID`
    Grant(String),
    /// `PREFIX/token`, for the app
    AppToken,
    /// Of the authorization server, where the gate is one.
    Issuing(Issuing),
    /// `PREFIX/ping`, and `/ping` where `root_health` keeps it
    Ping,
    /// `PREFIX/ready`, and `/ready` where `root_health` keeps it
    Ready,
    /// Something else under the prefix.
    Unknown,
}

impl Endpoint {
    /// The endpoint that `path` names, if it is an own one. The prefix ends at a segment boundary.
    pub fn find(site: &Site, path: &str) -> Option<Self> {
        match path {
            "/ping" if site.root_health => return Some(Self::Ping),
            "/ready" if site.root_health => return Some(Self::Ready),
            _ => {}
        }
        if let Some(face) = site.provider_by_callback(path) {
            return Some(Self::Callback(face.name.clone()));
        }
        if site.has_issuer
            && let Some(which) = Issuing::find(&site.prefix, path)
        {
            return Some(Self::Issuing(which));
        }
        let below = path.strip_prefix(&site.prefix)?;
        let name = match below.strip_prefix('/') {
            Some(name) => name,
            None if below.is_empty() => return Some(Self::Unknown),
            None => return None,
        };
        Some(match name.split_once('/') {
            None => match name {
                "sign_in" => Self::SignIn,
                "start" => Self::Start(None),
                "callback" => site
                    .only_provider()
                    .filter(|face| face.callback_path == format!("{path}/{}", face.name))
                    .map_or(Self::Unknown, |face| Self::Callback(face.name.clone())),
                "sign_out" => Self::SignOut,
                "auth" => Self::Door(Door::Auth),
                "forward" => Self::Door(Door::Forward),
                "userinfo" => Self::Userinfo,
                "jwks" => Self::Jwks,
                "token" if site.has_app => Self::AppToken,
                "account" => Self::Account,
                "ping" => Self::Ping,
                "ready" => Self::Ready,
                _ => Self::Unknown,
            },
            Some((name, provider)) => match (name, provider_name(provider)) {
                ("start", Some(provider)) => Self::Start(Some(provider)),
                ("auth", _) => Self::BelowDoor(Door::Auth),
                ("forward", _) => Self::BelowDoor(Door::Forward),
                ("account", _) if provider == "sign_out" => Self::AccountSignOut,
                ("account", _) if provider == "tokens" => Self::Tokens,
                ("account", _) if provider == "tokens/end" => Self::TokensEnd,
                ("account", _) if provider == "grants" => Self::Grants,
                ("account", _) if provider == "grants/end" => Self::GrantsEnd,
                ("account", _) => match provider.split_once('/') {
                    Some((_, id)) if id.is_empty() || id.contains('/') => Self::Unknown,
                    Some(("tokens", id)) => Self::Token(id.to_owned()),
                    Some(("grants", id)) => Self::Grant(id.to_owned()),
                    _ => Self::Unknown,
                },
                ("backchannel_logout", Some(provider)) => Self::BackchannelLogout(provider),
                ("frontchannel_logout", Some(provider)) => Self::FrontchannelLogout(provider),
                _ => Self::Unknown,
            },
        })
    }
}

impl Endpoint {
    /// Whether machines ask for it under whatever name they know the gate by: a balancer for its health, a proxy for a
    /// verdict, an app for the keys of assertions or for a user's token.
    pub fn is_asked_by_machines(&self) -> bool {
        matches!(
            self,
            Self::Ping
                | Self::Ready
                | Self::Jwks
                | Self::Issuing(Issuing::Jwks)
                | Self::AppToken
                | Self::Door(_)
                | Self::BelowDoor(_)
        )
    }
}

/// The provider that the last segment names.
fn provider_name(segment: &str) -> Option<String> {
    if segment.is_empty() || segment.contains('/') {
        return None;
    }
    let name = percent_decode_str(segment).decode_utf8().ok()?;
    Some(name.into_owned())
}

/// Refuses what only programs ask for, proxies and scripts: whatever the request looks like, they get a status and JSON.
fn refuse(snapshot: &Snapshot, reject: &Reject, record: &mut Record) -> Response<Body> {
    refuse_to(snapshot, reject, Audience::Program, record)
}

/// Refuses as `audience` reads it.
fn refuse_to(
    snapshot: &Snapshot,
    reject: &Reject,
    audience: Audience,
    record: &mut Record,
) -> Response<Body> {
    record.verdict = reject.verdict();
    record.detail = reject.detail();
    record.remedy = reject.remedy();
    answer::render(reject, audience, &snapshot.site, &record.request_id())
}

/// Serves an own endpoint.
#[expect(clippy::too_many_lines, reason = "one arm for each endpoint")]
pub async fn serve(
    endpoint: &Endpoint,
    snapshot: &Snapshot,
    request: Box<CleanRequest>,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    record.verdict = Verdict::Own;
    let method = &request.head.method;
    match endpoint {
        Endpoint::SignIn => {
            allow(method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
            sign_in::serve(snapshot, &request, record).await
        }
        Endpoint::Start(provider) => {
            allow(method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
            start::serve(snapshot, &request, provider.as_deref(), record).await
        }
        Endpoint::Callback(provider) => {
            // A HEAD would spend the code and lose the session.
            allow(method, &[Method::GET], "GET")?;
            callback::serve(snapshot, &request, provider, record).await
        }
        Endpoint::SignOut => {
            allow(method, &[Method::GET, Method::POST], "GET, POST")?;
            sign_out::serve(snapshot, &request, record).await
        }
        Endpoint::BackchannelLogout(provider) => {
            allow(method, &[Method::POST], "POST")?;
            backchannel_logout::serve(snapshot, request, provider, record).await
        }
        Endpoint::FrontchannelLogout(provider) => {
            allow(method, &[Method::GET], "GET")?;
            frontchannel_logout::serve(snapshot, &request, provider, record).await
        }
        Endpoint::Door(door) => auth::serve(*door, false, snapshot, &request, record).await,
        Endpoint::BelowDoor(door) => auth::serve(*door, true, snapshot, &request, record).await,
        Endpoint::Userinfo => {
            if let Some(answer) = issuer::preflight(snapshot, &request) {
                return Ok(answer);
            }
            allow(
                method,
                &[Method::GET, Method::HEAD, Method::POST],
                "GET, HEAD, POST",
            )?;
            Ok(userinfo::serve(snapshot, &request, record).await)
        }
        Endpoint::Jwks => {
            allow(method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
            Ok(jwks::serve(snapshot).await)
        }
        Endpoint::Account => {
            allow(method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
            account::serve(snapshot, &request, record).await
        }
        Endpoint::AccountSignOut => {
            allow(method, &[Method::POST], "POST")?;
            account::sign_out(snapshot, request, record).await
        }
        Endpoint::Tokens => match *method {
            Method::GET | Method::HEAD => tokens::list(snapshot, &request, record).await,
            Method::POST => tokens::make(snapshot, request, record).await,
            Method::DELETE => tokens::end(snapshot, &request, None, record).await,
            _ => Err(Reject::MethodNotAllowed("GET, HEAD, POST, DELETE")),
        },
        Endpoint::TokensEnd => {
            allow(method, &[Method::POST], "POST")?;
            tokens::end_by_form(snapshot, request, record).await
        }
        Endpoint::Token(id) => {
            allow(method, &[Method::DELETE], "DELETE")?;
            tokens::end(snapshot, &request, Some(id), record).await
        }
        Endpoint::Grants => {
            allow(method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
            grants::list(snapshot, &request, record).await
        }
        Endpoint::GrantsEnd => {
            allow(method, &[Method::POST], "POST")?;
            grants::end_by_form(snapshot, request, record).await
        }
        Endpoint::Grant(id) => {
            allow(method, &[Method::DELETE], "DELETE")?;
            grants::end(snapshot, &request, id, record).await
        }
        Endpoint::AppToken => {
            allow(method, &[Method::GET], "GET")?;
            Ok(app_token::serve_in_public(snapshot, &request, record).await)
        }
        // The authorization server has the same address with POST.
        Endpoint::Issuing(Issuing::TOKEN) if snapshot.site.has_app && *method == Method::GET => {
            Ok(app_token::serve_in_public(snapshot, &request, record).await)
        }
        Endpoint::Issuing(which) => issuer::serve(which, snapshot, request, record).await,
        Endpoint::Ping => {
            allow(method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
            Ok(health::ping())
        }
        Endpoint::Ready => {
            allow(method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
            Ok(health::ready(snapshot))
        }
        Endpoint::Unknown => Err(Reject::NotFound),
    }
}

fn allow(method: &Method, methods: &[Method], header: &'static str) -> Result<(), Reject> {
    if methods.contains(method) {
        Ok(())
    } else {
        Err(Reject::MethodNotAllowed(header))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(path: &str) -> Option<Endpoint> {
        Endpoint::find(&Site::for_test("/oauth2", &["corp"]), path)
    }

    #[test]
    fn every_endpoint_has_its_path() {
        let named = |name: &str| Some(name.to_owned());
        for (path, endpoint) in [
            ("/oauth2/sign_in", Endpoint::SignIn),
            ("/oauth2/start", Endpoint::Start(None)),
            ("/oauth2/start/corp", Endpoint::Start(named("corp"))),
            ("/oauth2/start/a%20b%2Fc", Endpoint::Start(named("a b/c"))),
            ("/oauth2/callback", Endpoint::Callback("corp".to_owned())),
            (
                "/oauth2/callback/corp",
                Endpoint::Callback("corp".to_owned()),
            ),
            ("/oauth2/sign_out", Endpoint::SignOut),
            (
                "/oauth2/backchannel_logout/corp",
                Endpoint::BackchannelLogout("corp".to_owned()),
            ),
            (
                "/oauth2/frontchannel_logout/corp",
                Endpoint::FrontchannelLogout("corp".to_owned()),
            ),
            ("/oauth2/auth", Endpoint::Door(Door::Auth)),
            ("/oauth2/auth/", Endpoint::BelowDoor(Door::Auth)),
            ("/oauth2/auth/a/b", Endpoint::BelowDoor(Door::Auth)),
            ("/oauth2/forward", Endpoint::Door(Door::Forward)),
            ("/oauth2/forward/a", Endpoint::BelowDoor(Door::Forward)),
            ("/oauth2/userinfo", Endpoint::Userinfo),
            ("/oauth2/jwks", Endpoint::Jwks),
            ("/oauth2/account", Endpoint::Account),
            ("/oauth2/account/sign_out", Endpoint::AccountSignOut),
            ("/oauth2/account/tokens", Endpoint::Tokens),
            ("/oauth2/account/tokens/end", Endpoint::TokensEnd),
            (
                "/oauth2/account/tokens/ab-_",
                Endpoint::Token("ab-_".to_owned()),
            ),
            ("/oauth2/ping", Endpoint::Ping),
            ("/oauth2/ready", Endpoint::Ready),
        ] {
            assert_eq!(find(path), Some(endpoint), "{path}");
        }
    }

    #[test]
    fn the_prefix_ends_at_a_segment() {
        for path in [
            "/",
            "/oauth2x",
            "/oauth",
            "/oauth2.php",
            "/x/oauth2/auth",
            "/OAUTH2/auth",
            "/ping",
            "/ready",
            "/oauth2%2Fauth",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn the_bare_health_paths_are_the_apps_unless_they_are_kept() {
        let mut site = Site::for_test("/oauth2", &["corp"]);
        site.root_health = true;
        for (path, endpoint) in [
            ("/ping", Some(Endpoint::Ping)),
            ("/ready", Some(Endpoint::Ready)),
            ("/oauth2/ping", Some(Endpoint::Ping)),
            ("/oauth2/ready", Some(Endpoint::Ready)),
            ("/pingx", None),
            ("/ping/", None),
        ] {
            assert_eq!(Endpoint::find(&site, path), endpoint, "{path}");
        }
    }

    #[test]
    fn what_else_lies_under_the_prefix_is_ours_and_unknown() {
        for path in [
            "/oauth2",
            "/oauth2/",
            "/oauth2//auth",
            "/oauth2/Auth",
            "/oauth2/forwards",
            "/oauth2/auth*",
            "/oauth2/ping/",
            "/oauth2/ready/x",
            "/oauth2/start/",
            "/oauth2/start/a/b",
            "/oauth2/callback/%FF",
            "/oauth2/callback/nobody",
            "/oauth2/callback/corp/",
            "/oauth2/sign_in/x",
            "/oauth2/account/",
            "/oauth2/account/sign_out/x",
            "/oauth2/account/tokens/",
            "/oauth2/account/tokens/a/b",
            "/oauth2/account/tokens/end/",
            "/oauth2/account/sign%5Fout",
            "/oauth2/jwks/",
            "/oauth2/jwks/x",
            "/oauth2/backchannel_logout",
            "/oauth2/backchannel_logout/",
            "/oauth2/frontchannel_logout/corp/",
        ] {
            assert_eq!(find(path), Some(Endpoint::Unknown), "{path}");
        }
    }

    #[test]
    fn a_prefix_may_have_several_segments() {
        let site = Site::for_test("/_/gate", &["corp"]);
        assert_eq!(
            Endpoint::find(&site, "/_/gate/auth"),
            Some(Endpoint::Door(Door::Auth))
        );
        assert_eq!(Endpoint::find(&site, "/_/gates/auth"), None);
    }

    #[test]
    fn a_registered_callback_path_takes_the_place_of_the_default() {
        let mut site = Site::for_test("/oauth2", &["corp", "hub"]);
        site.providers[0].callback_path = "/oauth/callback/".to_owned();
        let callback = |name: &str| Some(Endpoint::Callback(name.to_owned()));
        for (path, endpoint) in [
            ("/oauth/callback/", callback("corp")),
            ("/oauth/callback", None),
            ("/oauth/callback/x", None),
            ("/OAuth/callback/", None),
            ("/oauth/callback%2F", None),
            ("/oauth2/callback/corp", Some(Endpoint::Unknown)),
            ("/oauth2/callback/hub", callback("hub")),
            ("/oauth2/callback", Some(Endpoint::Unknown)),
        ] {
            assert_eq!(Endpoint::find(&site, path), endpoint, "{path}");
        }
        site.providers.truncate(1);
        assert_eq!(
            Endpoint::find(&site, "/oauth2/callback"),
            Some(Endpoint::Unknown)
        );
        site.providers[0].callback_path = "/oauth2/callback".to_owned();
        assert_eq!(Endpoint::find(&site, "/oauth2/callback"), callback("corp"));
    }

    proptest! {
        /// Nothing under the prefix is ever left to the upstream, whatever follows.
        #[test]
        fn nothing_under_the_prefix_is_the_apps(rest in "\\PC{0,40}") {
            let path = format!("/oauth2/{rest}");
            prop_assert!(find(&path).is_some());
        }
    }
}
