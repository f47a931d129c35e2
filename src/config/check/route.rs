//! `[[routes]]`

use http::Method;

use super::{
    super::{
        raw::{Node, Origin, Value},
        report::Problem,
    },
    Checker, OwnPaths, regex,
};
use crate::{
    route::{Access, PathPattern, RouteSettings},
    spelling,
};

impl Checker<'_> {
    pub(super) fn routes(&mut self, root: &Node, own: OwnPaths<'_>) -> Option<Vec<RouteSettings>> {
        let Some(list) = root.get("routes") else {
            return Some(Vec::new());
        };
        if !matches!(list.value, Value::List(_)) {
            return None;
        }
        let mut routes: Vec<RouteSettings> = Vec::new();
        let mut places = Vec::new();
        let mut complete = true;
        for table in list.items() {
            let Some(route) = self.route(table, own) else {
                complete = false;
                continue;
            };
            let path = table.get("path").unwrap_or(table);
            if let Some((earlier, place)) = routes
                .iter()
                .zip(&places)
                .find(|(earlier, _)| hides(earlier, &route))
            {
                self.problem(dead(&path.origin, &route, earlier, place));
            }
            routes.push(route);
            places.push(path.origin.clone());
        }
        complete.then_some(routes)
    }

    fn route(&mut self, table: &Node, own: OwnPaths<'_>) -> Option<RouteSettings> {
        if !matches!(table.value, Value::Table(_)) {
            return None;
        }
        let path = self.path(table, own);
        let methods = self.methods(table);
        let access = self.access(table);
        Some(RouteSettings {
            path: path?,
            methods: methods?,
            access: access?,
        })
    }

    fn path(&mut self, table: &Node, own: OwnPaths<'_>) -> Option<PathPattern> {
        let node = self.required(table, "path", "path = \"/public/**\"")?;
        let text = self.text(node, "path")?;
        let problem = if let Some(hint) = regex::hint(text) {
            let message = format!("`{text}` looks like a regular expression");
            Problem::new(&node.origin, message).hint(hint)
        } else if text.starts_with('/') {
            match own.find(text) {
                Some(own) => {
                    Problem::new(&node.origin, format!("`{own}` belongs to the gate itself"))
                        .hint("no route decides about the gate's own endpoints; take it out")
                }
                None => match PathPattern::parse(text) {
                    Ok(pattern) => return Some(pattern),
                    Err(hint) => Problem::new(&node.origin, format!("`{text}` is no path pattern"))
                        .hint(hint),
                },
            }
        } else {
            Problem::new(&node.origin, format!("`{text}` is no path pattern"))
                .hint(format!("it begins with a slash: \"/{text}\""))
        };
        self.problem(problem);
        None
    }

    fn methods(&mut self, table: &Node) -> Option<Vec<Method>> {
        let Some(node) = table.get("methods") else {
            return Some(Vec::new());
        };
        let items = self.list(node, "methods")?;
        if items.is_empty() {
            self.problem(
                Problem::new(&node.origin, "`methods` is an empty list")
                    .hint("take the key out for every method"),
            );
            return None;
        }
        let mut methods = Vec::new();
        let mut complete = true;
        for item in items {
            // A method's name is case-sensitive (RFC 9110 §9.1), and every registered one is upper case.
            let upper = item.text.to_ascii_uppercase();
            match Method::from_bytes(item.text.as_bytes()) {
                Ok(method) if upper == item.text => {
                    if !methods.contains(&method) {
                        methods.push(method);
                    }
                }
                parsed => {
                    complete = false;
                    let problem =
                        Problem::new(&item.origin, format!("`{}` is no method", item.text));
                    self.problem(match parsed {
                        Ok(_) => problem.hint(format!("methods are in upper case: \"{upper}\"")),
                        Err(_) => problem.hint("as in [\"GET\", \"POST\"]"),
                    });
                }
            }
        }
        complete.then_some(methods)
    }

    fn access(&mut self, table: &Node) -> Option<Access> {
        let Some(node) = table.get("access") else {
            return Some(Access::Login);
        };
        let text = self.text(node, "access")?;
        let problem = match text {
            "public" => return Some(Access::Public),
            "login" => return Some(Access::Login),
            "deny" => return Some(Access::Deny),
            "optional" | "api" => Problem::new(
                &node.origin,
                format!("access = \"{text}\" is not available in this version"),
            ),
            _ => Problem::new(&node.origin, format!("there is no access \"{text}\"")),
        };
        let hint = match spelling::nearest(text, ["public", "login", "deny"]) {
            Some(nearest) => format!("did you mean \"{nearest}\"?"),
            None => {
                "\"public\" asks nothing, \"login\" a session, \"deny\" lets nobody pass".to_owned()
            }
        };
        self.problem(problem.hint(hint));
        None
    }
}

/// A route behind one that takes all its requests, the place of whose path is `place`.
fn dead(
    origin: &Origin,
    route: &RouteSettings,
    earlier: &RouteSettings,
    place: &Origin,
) -> Problem {
    let path = earlier.path.as_str();
    let hint = if path == route.path.as_str() {
        "an earlier one has the same path, and the first that matches wins: take one of them out"
            .to_owned()
    } else {
        format!(
            "the first that matches wins, and \"{path}\" comes earlier: put this one before it, or take it out"
        )
    };
    let problem = Problem::new(origin, "no request reaches this route").hint(hint);
    match place {
        Origin::File(span) => problem.beside(span.clone(), "takes them all"),
        Origin::Nowhere | Origin::Variable(_) => problem,
    }
}

/// Whether whatever falls under `later` has fallen under `earlier` already.
fn hides(earlier: &RouteSettings, later: &RouteSettings) -> bool {
    let covers = |method: &Method| {
        earlier.methods.contains(method)
            || (*method == Method::HEAD && earlier.methods.contains(&Method::GET))
    };
    let every_method = earlier.methods.is_empty()
        || (!later.methods.is_empty() && later.methods.iter().all(covers));
    earlier.path.covers(&later.path) && every_method
}
