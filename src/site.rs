//! What is the same for every request: the public address, the prefix, and what pages show about providers.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header::ORIGIN};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    access::StepUp,
    login::return_to::{ReturnRules, ReturnTo},
    origin::WebOrigin,
    provider::{kind::AccountSwitch, settings::ProviderSettings},
    public_url::PublicUrl,
    route::{HostPattern, host_of},
};

/// The gate as users see it.
#[derive(Debug)]
pub struct Site {
    /// The origin users see.
    pub public_url: PublicUrl,
    /// Where own endpoints live.
    pub prefix: String,
    /// Whether `/ping` and `/ready` are own endpoints beside those below the prefix.
    pub root_health: bool,
    /// Whether the gate is an authorization server.
    pub has_issuer: bool,
    /// Whether the app asks at a public address for the tokens of sessions.
    pub has_app: bool,
    /// What a return address is checked against.
    pub return_rules: ReturnRules,
    /// The hosts of the apps that share `public_url`'s login; none without `session.cookie_domain`.
    pub apps: Vec<HostPattern>,
    /// The providers as users see them, in the file's order.
    pub providers: Vec<ProviderButton>,
}

/// A provider as users see it.
#[derive(Debug)]
pub struct ProviderButton {
    /// The table's name, as it stands in addresses.
    pub name: String,
    /// What people call it.
    pub label: String,
    /// Its kind's mark: an SVG element that stands in the source, or nothing.
    pub mark: &'static str,
    /// The path below the public origin that it sends browsers back to.
    pub callback_path: String,
    /// How somebody who may not pass comes back as somebody else.
    pub switch: AccountSwitch,
    /// What somebody who may not pass reads, in the operator's words.
    pub deny_message: Option<String>,
}

impl From<&ProviderSettings> for ProviderButton {
    fn from(config: &ProviderSettings) -> Self {
        Self {
            name: config.name.clone(),
            label: config.label.clone(),
            mark: config.kind.mark,
            callback_path: config.callback_path.clone(),
            switch: switch(config),
            deny_message: config.deny_message.clone(),
        }
    }
}

fn switch(config: &ProviderSettings) -> AccountSwitch {
    let mut endpoints = config.kind.endpoints.iter();
    let is_at_home = endpoints.any(|endpoint| {
        endpoint.key == "authorize_url" && config.endpoint(endpoint.key) == endpoint.default
    });
    if is_at_home {
        config.kind.switch
    } else {
        config.kind.switch.elsewhere()
    }
}

impl Site {
    /// Path of an own endpoint: `/oauth2/sign_in` for `sign_in`.
    pub fn path(&self, endpoint: &str) -> String {
        format!("{}/{endpoint}", self.prefix)
    }

    /// Absolute address of an own endpoint, as registered at a provider.
    pub fn url(&self, endpoint: &str) -> String {
        format!("{}{}/{endpoint}", self.origin(), self.prefix)
    }

    /// The public origin as browsers write it in `Origin` (RFC 6454 §6.2).
    pub fn origin(&self) -> String {
        self.public_url.url.origin().ascii_serialization()
    }

    /// The origin that users see of the app at `host`, where that is another one that shares the login. Scheme and port are
    /// `public_url`'s, whatever the last hop was: browsers bring the login there and nowhere else.
    pub fn app_origin(&self, host: &HeaderValue) -> Option<String> {
        let host = host_of(host.to_str().ok()?);
        let public = &self.public_url.url;
        if public.host_str()?.eq_ignore_ascii_case(host)
            || !self.apps.iter().any(|app| app.matches(host))
        {
            return None;
        }
        let port = public.port().map(|port| format!(":{port}"));
        let port = port.unwrap_or_default();
        let host = host.to_ascii_lowercase();
        Some(format!("{}://{host}{port}", public.scheme()))
    }

    /// What leads back from a login to `target` at `host`: the path alone where that is `public_url`'s.
    pub fn way_back<'t>(&self, host: &HeaderValue, target: &'t str) -> Cow<'t, str> {
        match self.app_origin(host) {
            Some(origin) if is_path(target) => Cow::Owned(origin + target),
            _ => Cow::Borrowed(target),
        }
    }

    /// The sign-in page's path, with the way back to `return_to` (as asked for, not yet checked).
    pub fn sign_in(&self, return_to: &str) -> String {
        with_return(self.path("sign_in"), return_to)
    }

    /// The path that leads through a fresh login as `asked` back to `return_to`.
    pub fn step_up(&self, return_to: &str, wanted: &StepUp) -> String {
        with_step_up(&self.sign_in(return_to), wanted)
    }

    /// The path that ends the session, and leads on to `return_to` if there is one.
    pub fn sign_out(&self, return_to: Option<&str>) -> String {
        let path = self.path("sign_out");
        match return_to {
            Some(return_to) => format!("{path}?rd={}", utf8_percent_encode(return_to, ESCAPED)),
            None => path,
        }
    }

    /// The path that ends the session, or, where there is none here, the one at `provider`.
    pub fn sign_out_at(&self, provider: &str) -> String {
        let provider = utf8_percent_encode(provider, ESCAPED);
        format!("{}?provider={provider}", self.path("sign_out"))
    }

    /// The path that begins a login at `provider`.
    pub fn start(&self, provider: &str, return_to: &str) -> String {
        let provider = utf8_percent_encode(provider, ESCAPED);
        with_return(self.path(&format!("start/{provider}")), return_to)
    }

    /// The provider of that name.
    pub fn provider(&self, name: &str) -> Option<&ProviderButton> {
        self.providers.iter().find(|face| face.name == name)
    }

    /// The only provider, where there is nothing to choose.
    pub fn only_provider(&self) -> Option<&ProviderButton> {
        match self.providers.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The provider that sends browsers back to exactly this path, wherever it lies.
    pub fn provider_by_callback(&self, path: &str) -> Option<&ProviderButton> {
        self.providers
            .iter()
            .find(|face| face.callback_path == path)
    }

    /// Whether a page of another site sent a request with these headers to `own`; not so where no page says that it sent it.
    /// A site of `redirect_hosts` is no other one.
    pub fn is_foreign(&self, headers: &HeaderMap, own: Option<&WebOrigin>) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return false;
        };
        let one = origin.to_str().ok().filter(|_| origins.next().is_none());
        let Some(origin) = one.and_then(WebOrigin::parse) else {
            return true;
        };
        // Apps that share a login do not speak for each other.
        let public = self.public_url.url.host_str();
        let is_app = |own: &WebOrigin| {
            public != Some(own.host()) && self.apps.iter().any(|app| app.matches(own.host()))
        };
        let is_app = own.is_some_and(is_app);
        own != Some(&origin) && !self.return_rules.names_origin(&origin.to_string(), is_app)
    }

    /// `return_to`, if it may be returned to; the root otherwise. Never an error: the address may be old
    /// or cut, and its owner still wants to get in.
    pub fn checked(&self, return_to: Option<&str>) -> ReturnTo {
        return_to
            .and_then(|address| self.return_rules.check(address))
            .unwrap_or_else(ReturnTo::root)
    }
}

/// Whether it is an address without a host.
pub fn is_path(address: &str) -> bool {
    address.starts_with('/') && !address.starts_with("//")
}

/// Adds `rd`, unless it is the root, which is where a login leads without it, or longer than any that is
/// accepted back.
fn with_return(path: String, return_to: &str) -> String {
    if return_to == "/" || return_to.len() > LONGEST_RETURN {
        return path;
    }
    format!("{path}?rd={}", utf8_percent_encode(return_to, ESCAPED))
}

/// Adds the flag that asks for another account to a path of the sign-in page or of a login's beginning.
pub fn with_switch(path: &str) -> String {
    let joint = if path.contains('?') { '&' } else { '?' };
    format!("{path}{joint}switch=1")
}

/// Adds what a fresh login is asked for to a path of the sign-in page or of a login's beginning.
pub fn with_step_up(path: &str, wanted: &StepUp) -> String {
    let mut path = path.to_owned();
    let parameters = [
        ("max_age", wanted.max_age_parameter()),
        ("acr_values", wanted.acr_parameter()),
    ];
    for (name, value) in parameters {
        let Some(value) = value else { continue };
        let joint = if path.contains('?') { '&' } else { '?' };
        path.push(joint);
        path.push_str(name);
        path.push('=');
        path.extend(utf8_percent_encode(&value, ESCAPED));
    }
    path
}

/// The bytes of the longest return address that a login carries: it rides in `state`, and providers take addresses of so
/// many bytes and no more.
pub const LONGEST_RETURN: usize = 2_048;

/// All but RFC 3986's unreserved characters, so that a decoded query value is the same bytes again
/// whether or not the reader takes `+` for a space.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[cfg(test)]
impl Site {
    /// A site at `https://app.example` with these providers, each with the path it has by default.
    pub(crate) fn for_test(prefix: &str, providers: &[&str]) -> Self {
        let public_url = PublicUrl {
            url: "https://app.example".parse().expect("an address"),
        };
        let face = |name: &&str| ProviderButton {
            name: (*name).to_owned(),
            label: (*name).to_owned(),
            mark: "",
            callback_path: format!("{prefix}/callback/{name}"),
            switch: AccountSwitch::Asks,
            deny_message: None,
        };
        Self {
            return_rules: ReturnRules::new(&public_url, &[], prefix),
            public_url,
            prefix: prefix.to_owned(),
            root_health: false,
            has_issuer: false,
            has_app: false,
            apps: Vec::new(),
            providers: providers.iter().map(face).collect(),
        }
    }
}
