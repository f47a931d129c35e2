//! Which rule a request falls under: the first matching route. Pure.

mod pattern;

use http::Method;

pub use pattern::PathPattern;

/// `[[routes]]`
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// Which paths.
    pub path: PathPattern,
    /// Which methods; all when empty. GET includes HEAD.
    pub methods: Vec<Method>,
    /// What is asked of a visitor.
    pub access: Access,
}

/// What a route asks of a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing. Who is signed in is not told either.
    Public,
    /// A session.
    Login,
    /// Nobody passes.
    Deny,
}

/// The routes in order. What fits none asks for a login.
#[derive(Debug)]
pub struct Routes(Vec<RouteSettings>);

/// Two readings of one path fall under two rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ambiguous;

impl Routes {
    /// The routes in the file's order.
    pub fn new(routes: Vec<RouteSettings>) -> Self {
        Self(routes)
    }

    /// The rule of a request. `deep_path` is the path's other reading, where it differs
    /// ([`CanonicalPath`](crate::clean::path::CanonicalPath)): it must fall under the same route.
    pub fn find(
        &self,
        method: &Method,
        path: &str,
        deep_path: Option<&str>,
    ) -> Result<Access, Ambiguous> {
        let place = self.place(method, path);
        if deep_path.is_some_and(|deep| self.place(method, deep) != place) {
            return Err(Ambiguous);
        }
        Ok(place.map_or(Access::Login, |place| self.0[place].access))
    }

    fn place(&self, method: &Method, path: &str) -> Option<usize> {
        self.0
            .iter()
            .position(|route| is_named(&route.methods, method) && route.path.matches(path))
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
        Routes::new(
            rules
                .iter()
                .map(|(path, methods, access)| RouteSettings {
                    path: PathPattern::parse(path).unwrap(),
                    methods: methods.to_vec(),
                    access: *access,
                })
                .collect(),
        )
    }

    #[test]
    fn the_first_match_wins_and_no_match_asks_for_a_login() {
        let routes = routes(&[
            ("/public/secret", &[], Access::Deny),
            ("/public/**", &[], Access::Public),
        ]);
        let find = |path| routes.find(&Method::GET, path, None).unwrap();
        assert_eq!(find("/public/secret"), Access::Deny);
        assert_eq!(find("/public/a/b"), Access::Public);
        assert_eq!(find("/publicity"), Access::Login);
        assert_eq!(find("/"), Access::Login);
    }

    #[test]
    fn a_rule_for_get_is_a_rule_for_head() {
        let routes = routes(&[("/feed", &[Method::GET], Access::Public)]);
        assert_eq!(
            routes.find(&Method::HEAD, "/feed", None),
            Ok(Access::Public)
        );
        assert_eq!(routes.find(&Method::POST, "/feed", None), Ok(Access::Login));
    }

    #[test]
    fn two_readings_under_two_rules_are_ambiguous() {
        let routes = routes(&[("/public/**", &[], Access::Public)]);
        let find = |path, deep| routes.find(&Method::GET, path, Some(deep));
        assert_eq!(find("/public%2Fa", "/public/a"), Err(Ambiguous));
        assert_eq!(find("/group%2Fa", "/group/a"), Ok(Access::Login));
    }
}
