//! Which rule a request falls under: the first matching route. Pure.

mod host;
mod pattern;

use http::Method;

pub use self::{
    host::{HostPattern, is_same_host},
    pattern::PathPattern,
};
use crate::{
    access::{Requirements, StepUp},
    rate_limit::RateLimit,
};

/// `[[routes]]`, checked.
#[derive(Clone, Debug)]
pub struct Route {
    /// How operators know it: `routes[0]`, and `the default` for what fits none.
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
    /// How often whoever may pass may come.
    pub limits: Vec<RateLimit>,
    /// Which upstream it leads to, by its place among the configured ones; the first is `upstream`.
    pub upstream: usize,
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
    /// What fits none asks for a login.
    fallback: Route,
    names_hosts: bool,
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
            in_order: routes,
            fallback: Route::login(),
        }
    }

    /// The rule of a request. Both readings of its path must fall under the same one.
    ///
    /// # Errors
    /// Where they do not, or where the host is nobody's.
    pub fn find(&self, target: &Target<'_>) -> Result<&Route, NoRoute> {
        if self.names_hosts && !target.is_for_public_url && !self.knows(target.host) {
            return Err(NoRoute::Misdirected);
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

    /// The routes, in order, and then what the rest falls under.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.in_order.iter().chain([&self.fallback])
    }

    fn place(&self, target: &Target<'_>, path: &str) -> Option<usize> {
        self.in_order.iter().position(|route| {
            is_named(&route.methods, target.method)
                && route
                    .host
                    .as_ref()
                    .is_none_or(|pattern| target.host.is_some_and(|host| pattern.matches(host)))
                && route
                    .path
                    .as_ref()
                    .is_none_or(|pattern| pattern.matches(path))
        })
    }
}

impl Route {
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
            limits: Vec::new(),
            upstream: 0,
        }
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
