//! `[[routes]]`

use http::Method;

use super::{
    super::{
        problem::{Origin, Problem},
        schema::Kind,
    },
    OwnPaths, Reader, Table, regex,
};
use crate::route::{Access, PathPattern, RouteSettings};

impl Reader<'_> {
    pub(super) fn routes(
        &mut self,
        root: &Table<'_>,
        own: OwnPaths<'_>,
    ) -> Option<Vec<RouteSettings>> {
        let mut routes: Vec<RouteSettings> = Vec::new();
        let mut places = Vec::new();
        let mut complete = true;
        for table in &self.tables(root, "routes") {
            let Some(route) = self.route(table, own) else {
                complete = false;
                continue;
            };
            let origin = table.origin("path");
            if let Some((earlier, place)) = routes
                .iter()
                .zip(&places)
                .find(|(earlier, _)| hides(earlier, &route))
            {
                self.problem(dead(&origin, &route, earlier, place));
            }
            routes.push(route);
            places.push(origin);
        }
        complete.then_some(routes)
    }

    fn route(&mut self, table: &Table<'_>, own: OwnPaths<'_>) -> Option<RouteSettings> {
        let path = self.path(table, own);
        let methods = self.methods(table);
        let access = self.access(table);
        table.later("allow");
        table.later("upstream");
        Some(RouteSettings {
            path: path?,
            methods: methods?,
            access: access?,
        })
    }

    fn path(&mut self, table: &Table<'_>, own: OwnPaths<'_>) -> Option<PathPattern> {
        let node = self.required(table, "path", Kind::Text, "path = \"/public/**\"")?;
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

    fn methods(&mut self, table: &Table<'_>) -> Option<Vec<Method>> {
        let Some(node) = table.get("methods", Kind::Texts) else {
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

    fn access(&mut self, table: &Table<'_>) -> Option<Access> {
        let meanings = [
            ("public", Access::Public),
            ("login", Access::Login),
            ("deny", Access::Deny),
        ];
        let access = self.word(table, "access", &meanings, Some("login"), |text| {
            let message = match text {
                "optional" | "api" => {
                    format!("access = \"{text}\" is not available in this version")
                }
                _ => format!("there is no access \"{text}\""),
            };
            let hint = "\"public\" asks nothing, \"login\" a session, \"deny\" lets nobody pass";
            (message, hint)
        });
        access.ok().flatten()
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
