//! Finds the rule for a request: the first route that matches. Pure.

mod first_segment;
mod host;
mod pattern;

use http::Method;

use self::first_segment::FirstSegments;
pub use self::{
    host::{HostPattern, host_of, is_same_host},
    pattern::PathPattern,
};
use crate::{
    access::{Requirements, StepUp},
    canonical_path,
    mcp::ToolRules,
    rate_limit::RateLimit,
};

/// `[[routes]]`, checked.
#[derive(Clone, Debug)]
pub struct Route {
    /// How operators know it: the name that they give it, else `routes[0]`; and `the default` for what fits none.
    pub name: String,
    /// Which hosts; all where there is none.
    pub host: Option<HostPattern>,
    /// Which paths; all where there is none.
    pub path: Option<PathPattern>,
    /// Which methods; all when empty. GET includes HEAD.
    pub methods: Vec<Method>,
    /// What is asked of whoever comes.
    pub access: Access,
    /// Who of those may pass.
    pub requirements: Requirements,
    /// How fresh, and of which class, their login has to be. Boxed: nearly all routes ask for nothing.
    pub step_up: Option<Box<StepUp>>,
    /// What somebody who may not pass reads, in the operator's words.
    pub deny_message: Option<String>,
    /// Whether the requirements are tried out: whom they would refuse passes, and the log says so.
    pub dry_run: bool,
    /// Whether its app takes an escaped slash (`%2F`) for a part of its segment.
    pub keeps_slashes: bool,
    /// How often whoever may pass may come.
    pub limits: Vec<RateLimit>,
    /// Which upstream it leads to, by its place among the configured ones; the first is `upstream`.
    pub upstream: usize,
    /// Whether it takes access tokens of the gate's own, and how.
    pub resource: Option<Resource>,
    /// Which tools of a server of the Model Context Protocol may be called. Boxed: few routes say so.
    pub tools: Option<Box<ToolRules>>,
    /// For what the app gets a token in the user's name. Boxed: few routes say so.
    pub token_exchange: Option<Box<TokenExchange>>,
}

/// `token_exchange`: for what an access token is exchanged (RFC 8693 §2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenExchange {
    /// The services, by the names that the provider knows them by.
    pub audience: Vec<String>,
    /// The services, by their addresses (RFC 8707).
    pub resource: Vec<String>,
    /// What the token may be used for; what the provider thinks fit where there are none.
    pub scopes: Vec<String>,
}

/// How a route takes access tokens of the gate's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Beside sessions and what else it takes.
    Tokens,
    /// As the Model Context Protocol has it: by tokens alone, for a session would let any page speak in its name.
    Mcp,
}

impl Resource {
    /// Each.
    pub const ALL: [Self; 2] = [Self::Tokens, Self::Mcp];

    /// The scope that each of its tokens has.
    pub fn scope(self) -> &'static str {
        match self {
            Self::Tokens => "api",
            Self::Mcp => "mcp",
        }
    }
}

/// What a route asks of whoever comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing. Who is signed in is not told either.
    Public,
    /// Nothing; but who is signed in is told.
    Optional,
    /// A session. Browsers are led to the login.
    Login,
    /// A session; and nobody is led anywhere, for programs ask there.
    Api,
    /// Nobody passes.
    Deny,
}

impl Access {
    /// What the configuration calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Optional => "optional",
            Self::Login => "login",
            Self::Api => "api",
            Self::Deny => "deny",
        }
    }

    /// Whether it matters who is there, so that a session is looked for.
    pub fn asks_who(self) -> bool {
        matches!(self, Self::Optional | Self::Login | Self::Api)
    }
}

/// Who is looked for; of several routes the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asks {
    /// Nobody.
    Nobody,
    /// Whoever comes, whatever they come with.
    Anybody,
    /// Whoever comes with a token of the gate's own. What a browser sends by itself counts for nothing, and what was not given for this
    /// gate is refused.
    OwnTokens,
}

/// The parts of a request that routes go by.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    /// The authority that the client asked for, as far as it is believed.
    pub host: Option<&'t str>,
    /// Whether that is `public_url`'s.
    pub is_for_public_url: bool,
    /// The method.
    pub method: &'t Method,
    /// The path in its canonical reading.
    pub path: &'t str,
    /// The path's other reading, where it differs ([`CanonicalPath`](crate::canonical_path::CanonicalPath)).
    pub deep_path: Option<&'t str>,
}

/// The routes in order.
#[derive(Debug)]
pub struct Routes {
    in_order: Vec<Route>,
    first_segments: FirstSegments,
    /// What fits none asks for a login.
    fallback: Route,
    names_hosts: bool,
    /// Whether any route keeps escaped slashes.
    keep_slashes: bool,
}

/// Why no route can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    /// Two readings of one path fall under two rules.
    Ambiguous,
    /// Routes go by hosts, and none of them, nor `public_url`, names this one (RFC 9110 §15.5.20).
    Misdirected,
}

impl Routes {
    /// The routes in the file's order.
    pub fn new(routes: Vec<Route>) -> Self {
        Self {
            names_hosts: routes.iter().any(|route| route.host.is_some()),
            keep_slashes: routes.iter().any(|route| route.keeps_slashes),
            first_segments: FirstSegments::new(routes.iter().map(|route| route.path.as_ref())),
            in_order: routes,
            fallback: Route::login(),
        }
    }

    /// The rule of a request. Both readings of its path must fall under the same one.
    ///
    /// # Errors
    /// Where they do not, or where the host is nobody's.
    pub fn find(&self, target: &Target<'_>) -> Result<&Route, NoRoute> {
        if self.is_misdirected(target.host, target.is_for_public_url) {
            return Err(NoRoute::Misdirected);
        }
        if self.keep_slashes
            && let Some(deep) = target.deep_path
            && let Some(kept) = canonical_path::with_slashes_kept(target.path)
        {
            let opened = target.path.replace(canonical_path::ESCAPED_SLASH, "/");
            return self.find_in_readings(target, [target.path, &kept], [&opened, deep]);
        }
        let place = self.place(target, target.path);
        if target
            .deep_path
            .is_some_and(|deep| self.place(target, deep) != place)
        {
            return Err(NoRoute::Ambiguous);
        }
        Ok(place.map_or(&self.fallback, |place| &self.in_order[place]))
    }

    /// The rule of a path with escaped slashes: `kept` as parts of their segments, as it came and with all else read as deep
    /// as can be; and `opened`, the same two with these slashes as slashes.
    ///
    /// A route whose app keeps them takes the path where its pattern fits it in either spelling of the slash, whatever else
    /// is read how; with slashes as slashes only by `*` and `**` behind the first of them, for a name that the pattern has
    /// there is no segment to the app. Any other route must read all four alike, also behind that one: else the path might
    /// be another's.
    fn find_in_readings(
        &self,
        target: &Target<'_>,
        kept: [&str; 2],
        opened: [&str; 2],
    ) -> Result<&Route, NoRoute> {
        let mut found: Option<&Route> = None;
        let before = kept[0].split(canonical_path::ESCAPED_SLASH).next();
        let before = before.unwrap_or_default().matches('/').count();
        for route in self.in_order.iter().filter(|route| route.is_for(target)) {
            let kept = kept.map(|path| route.fits(path));
            let opened = opened.map(|path| route.fits(path));
            let is_sure = kept[0] == kept[1] && opened[0] == opened[1];
            let is_one = is_sure && kept[0] == opened[0];
            match found {
                None if is_one && kept[0] => return Ok(route),
                None | Some(_) if is_one => {}
                None if is_sure
                    && route.keeps_slashes
                    && (kept[0] || route.is_open_behind(before)) =>
                {
                    found = Some(route);
                }
                _ => return Err(NoRoute::Ambiguous),
            }
        }
        Ok(found.unwrap_or(&self.fallback))
    }

    /// The route that guards the address of `origin` and `path`, where it takes tokens for it. `own` is the gate's origin.
    pub fn guard_of(&self, own: &str, origin: &str, path: &str) -> Option<&Route> {
        let (own_scheme, _) = own.split_once("://")?;
        let (scheme, authority) = origin.split_once("://")?;
        let is_for_public_url = origin == own;
        if !is_for_public_url && (scheme != own_scheme || !self.knows(Some(authority))) {
            return None;
        }
        let by = |method| {
            let target = Target {
                host: Some(authority),
                is_for_public_url,
                method,
                path,
                deep_path: None,
            };
            let route = self.find(&target).ok()?;
            route.resource.map(|_| route)
        };
        by(&Method::POST).or_else(|| by(&Method::GET))
    }

    /// Whether routes go by hosts, and `host` is nobody's here.
    pub fn is_misdirected(&self, host: Option<&str>, is_for_public_url: bool) -> bool {
        self.names_hosts && !is_for_public_url && !self.knows(host)
    }

    /// Whether any route goes by its host.
    pub fn names_hosts(&self) -> bool {
        self.names_hosts
    }

    /// Whether any route keeps out somebody who is signed in.
    pub fn narrow(&self) -> bool {
        let mut routes = self.in_order.iter();
        routes.any(|route| {
            route.access == Access::Deny
                || !route.requirements.is_empty()
                || route.step_up.is_some()
        })
    }

    /// Whether a route names `host`.
    pub fn knows(&self, host: Option<&str>) -> bool {
        host.is_some_and(|host| {
            let mut patterns = self.in_order.iter().filter_map(|route| route.host.as_ref());
            patterns.any(|pattern| pattern.matches(host))
        })
    }

    /// What a request falls under that fits no route: a login.
    pub fn fallback(&self) -> &Route {
        &self.fallback
    }

    /// The names that the configuration gives to routes which ask who comes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let routes = self.in_order.iter();
        let named = routes.filter(|route| route.access.asks_who() && !route.name.contains('['));
        named.map(|route| route.name.as_str())
    }

    /// The routes, in order, and then what the rest falls under.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.in_order.iter().chain([&self.fallback])
    }

    fn place(&self, target: &Target<'_>, path: &str) -> Option<usize> {
        let is_it = |place: &usize| {
            let route = &self.in_order[*place];
            route.is_for(target) && route.fits(path)
        };
        match self.first_segments.candidates(path) {
            Some(mut candidates) => candidates.find(is_it),
            None => (0..self.in_order.len()).find(is_it),
        }
    }
}

impl Route {
    /// Who is looked for where a request falls under it.
    pub fn asks(&self) -> Asks {
        match (self.access.asks_who(), self.takes_sessions()) {
            (false, _) => Asks::Nobody,
            (true, true) => Asks::Anybody,
            (true, false) => Asks::OwnTokens,
        }
    }

    /// Whether it can only be that sessions count for nothing here.
    pub fn takes_sessions(&self) -> bool {
        self.resource != Some(Resource::Mcp)
    }

    /// The same for requests of which nobody knows yet where they come from.
    #[must_use]
    pub fn from_any_network(&self) -> Self {
        Self {
            requirements: self.requirements.from_any_network(),
            ..self.clone()
        }
    }

    /// What a request falls under that fits no route.
    pub fn login() -> Self {
        Self {
            name: "the default".to_owned(),
            host: None,
            path: None,
            methods: Vec::new(),
            access: Access::Login,
            requirements: Requirements::default(),
            step_up: None,
            deny_message: None,
            dry_run: false,
            keeps_slashes: false,
            limits: Vec::new(),
            upstream: 0,
            resource: None,
            tools: None,
            token_exchange: None,
        }
    }

    /// Whether it is for the method and the host.
    fn is_for(&self, target: &Target<'_>) -> bool {
        is_named(&self.methods, target.method)
            && self
                .host
                .as_ref()
                .is_none_or(|pattern| target.host.is_some_and(|host| pattern.matches(host)))
    }

    /// Whether its pattern has only `*` and `**` behind the first `segments` of a path.
    fn is_open_behind(&self, segments: usize) -> bool {
        self.path
            .as_ref()
            .is_none_or(|pattern| pattern.is_open_behind(segments))
    }

    /// Whether it is for a reading of the path.
    fn fits(&self, path: &str) -> bool {
        self.path
            .as_ref()
            .is_none_or(|pattern| pattern.matches(path))
    }

    #[cfg(test)]
    pub(crate) fn for_test(path: &str, methods: &[Method], access: Access) -> Self {
        Self {
            name: path.to_owned(),
            path: Some(PathPattern::parse(path).expect("a pattern")),
            methods: methods.to_vec(),
            access,
            ..Self::login()
        }
    }
}

/// Whether `methods` names `method`; an empty list names all. A HEAD asks for what GET would answer
/// (RFC 9110 §9.3.2), so a rule for GET is a rule for HEAD.
fn is_named(methods: &[Method], method: &Method) -> bool {
    methods.is_empty()
        || methods.contains(method)
        || (method == Method::HEAD && methods.contains(&Method::GET))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(rules: &[(&str, &[Method], Access)]) -> Routes {
        let rules = rules.iter();
        Routes::new(
            rules
                .map(|(path, methods, access)| Route::for_test(path, methods, *access))
                .collect(),
        )
    }

    fn target<'t>(method: &'t Method, path: &'t str, deep_path: Option<&'t str>) -> Target<'t> {
        Target {
            host: Some("app.example"),
            is_for_public_url: true,
            method,
            path,
            deep_path,
        }
    }

    #[test]
    fn the_first_match_wins_and_no_match_asks_for_a_login() {
        let routes = routes(&[
            ("/public/secret", &[], Access::Deny),
            ("/public/**", &[], Access::Public),
        ]);
        let find = |path| {
            let target = target(&Method::GET, path, None);
            routes.find(&target).unwrap().access
        };
        assert_eq!(find("/public/secret"), Access::Deny);
        assert_eq!(find("/public/a/b"), Access::Public);
        assert_eq!(find("/publicity"), Access::Login);
        assert_eq!(find("/"), Access::Login);
    }

    #[test]
    fn a_rule_for_get_is_a_rule_for_head() {
        let routes = routes(&[("/feed", &[Method::GET], Access::Public)]);
        let find = |method| {
            let target = target(method, "/feed", None);
            routes.find(&target).unwrap().access
        };
        assert_eq!(find(&Method::HEAD), Access::Public);
        assert_eq!(find(&Method::POST), Access::Login);
    }

    #[test]
    fn two_readings_under_two_rules_are_ambiguous() {
        let routes = routes(&[("/public/**", &[], Access::Public)]);
        let find = |path, deep| {
            let target = target(&Method::GET, path, Some(deep));
            routes.find(&target).map(|route| route.access)
        };
        assert_eq!(find("/public%2Fa", "/public/a"), Err(NoRoute::Ambiguous));
        assert_eq!(find("/group%2Fa", "/group/a"), Ok(Access::Login));
    }

    /// What a path comes to: the place of its route (none: the default), or that it is ambiguous.
    fn judged(rules: &[(&str, bool)], path: &str) -> Result<Option<usize>, NoRoute> {
        let routes = rules
            .iter()
            .enumerate()
            .map(|(place, (path, keeps_slashes))| Route {
                name: place.to_string(),
                keeps_slashes: *keeps_slashes,
                ..Route::for_test(path, &[], Access::Public)
            });
        let routes = Routes::new(routes.collect());
        let path = canonical_path::CanonicalPath::parse(path).unwrap();
        let found = routes.find(&target(&Method::GET, &path.surface, path.deep.as_deref()));
        found.map(|route| route.name.parse().ok())
    }

    #[test]
    fn a_route_whose_app_keeps_escaped_slashes_takes_them() {
        let (npm, gitlab) = (("/@scope/**", true), ("/api/v4/projects/*", true));
        for (rules, path, expected) in [
            (&[npm][..], "/@scope%2Fname", Ok(Some(0))),
            (&[npm], "/@scope%2fname", Ok(Some(0))),
            (&[npm], "/@scope/name", Ok(Some(0))),
            (&[npm], "/@scope%2Fname/1.0", Ok(Some(0))),
            (&[npm], "/@other%2Fname", Ok(None)),
            (&[gitlab], "/api/v4/projects/group%2Fname", Ok(Some(0))),
            (&[gitlab], "/api/v4/projects/a%2Fb%2Fc", Ok(Some(0))),
            (&[gitlab], "/api/v4/projects/my%20group%2Fname", Ok(Some(0))),
            (&[gitlab], "/api/v4/projects/a/b", Ok(None)),
            // A wider rule reads both alike.
            (
                &[gitlab, ("/**", false)],
                "/api/v4/projects/a%2Fb",
                Ok(Some(0)),
            ),
            (
                &[("/api/**", false), gitlab],
                "/api/v4/projects/a%2Fb",
                Ok(Some(0)),
            ),
            (
                &[gitlab, ("/api/v4/projects/*/**", true)],
                "/api/v4/projects/a%2Fb/issues",
                Ok(Some(1)),
            ),
            // Without the word, as before.
            (
                &[("/@scope/**", false)],
                "/@scope%2Fname",
                Err(NoRoute::Ambiguous),
            ),
            (
                &[("/api/v4/projects/*", false)],
                "/api/v4/projects/a%2Fb",
                Err(NoRoute::Ambiguous),
            ),
        ] {
            assert_eq!(judged(rules, path), expected, "{rules:?} {path}");
        }
    }

    #[test]
    fn a_path_that_another_route_would_read_differently_stays_ambiguous() {
        let files = ("/files/*", true);
        for (rules, path) in [
            (&[files, ("/files/admin/**", false)][..], "/files/admin%2Fx"),
            (&[("/files/admin/**", false), files], "/files/admin%2Fx"),
            (&[files, ("/files/admin/**", true)], "/files/admin%2Fx"),
            (&[files, ("/files/*/x", false)], "/files/admin%2Fx"),
            // To the app these are one segment, and no part of it is the name that the pattern has.
            (&[("/files/*/x", true)], "/files/admin%2Fx"),
            (&[("/files/*.js", true)], "/files%2Fa.js"),
            (&[("/api/files/*", true)], "/api%2Ffiles/x"),
            (&[("/**/x", true)], "/a%2Fx"),
            // What is more than a slash that is escaped once is as ambiguous as ever.
            (&[files], "/files/a%252Fb"),
            (&[files], "/files/a%2Fb%252Fc"),
            (&[files], "/files/a%5Cb%2Fc"),
            (&[files], "/files/a%2Fb\\c"),
            (&[("/@scope/**", true)], "/@scope;x%2Fname"),
            (&[("/@scope/**", true)], "/;x/@scope%2Fname/b;/@scope"),
        ] {
            assert_eq!(
                judged(rules, path),
                Err(NoRoute::Ambiguous),
                "{rules:?} {path}"
            );
        }
    }

    #[test]
    fn a_host_that_no_route_names_is_misdirected_once_one_names_a_host() {
        let of_host = Route {
            host: Some(HostPattern::parse("*.wiki.example").unwrap()),
            ..Route::for_test("/**", &[], Access::Public)
        };
        let routes = Routes::new(vec![of_host]);
        let find = |host, is_for_public_url| {
            let target = Target {
                host: Some(host),
                is_for_public_url,
                ..target(&Method::GET, "/", None)
            };
            routes.find(&target).map(|route| route.access)
        };
        assert_eq!(find("de.wiki.example", false), Ok(Access::Public));
        assert_eq!(find("DE.wiki.example:8443", false), Ok(Access::Public));
        assert_eq!(find("app.example", true), Ok(Access::Login));
        for host in [
            "wiki.example",
            "evil.example",
            "a.wiki.example.evil.example",
            "",
        ] {
            assert_eq!(find(host, false), Err(NoRoute::Misdirected), "{host}");
        }
    }
}
