//! `[[routes]]`

use http::Method;

use super::{
    super::{
        problem::{Origin, Problem},
        schema::Kind,
        tree::Value,
    },
    OwnPaths, Reader, Reported, Table,
    address::network,
    allow,
    provider::deny_message,
    regex,
};
use crate::{
    access::{
        AllowList, LONGEST_ACR_VALUES, LONGEST_AGE, Requirement, Requirements, StepUp, is_acr,
    },
    api_token::settings::SERVICE,
    certificate::CERTIFICATE,
    credential::Proof,
    issuer::settings::CLIENT,
    provider::{bearer::is_scope, settings::ProviderSettings},
    public_url::PublicUrl,
    route::{Access, HostPattern, PathPattern, Route},
    users::settings::USERS,
};

impl Reader<'_> {
    pub(super) fn routes(&mut self, root: &Table<'_>, own: OwnPaths<'_>) -> Option<Vec<Route>> {
        let mut routes: Vec<Route> = Vec::new();
        let mut places = Vec::new();
        let mut complete = true;
        for (number, table) in self.tables(root, "routes").iter().enumerate() {
            let Some(route) = self.route(root, table, number, own) else {
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
            if routes.iter().any(|earlier| earlier.name == route.name) {
                let message = format!("another route is named \"{}\"", route.name);
                self.problem(
                    Problem::new(&table.origin("name"), message)
                        .hint("a name is for one route, by which tokens and the log know it"),
                );
            }
            routes.push(route);
            places.push(origin);
        }
        complete.then_some(routes)
    }

    fn route(
        &mut self,
        root: &Table<'_>,
        table: &Table<'_>,
        number: usize,
        own: OwnPaths<'_>,
    ) -> Option<Route> {
        let name = self.optional(table, "name", route_name);
        let host = self.host(table);
        let path = self.path(table, own);
        let methods = self.methods(table);
        let access = self.access(table);
        let resource = self.resource(table, number, access);
        let tools = self.tools(table, &resource);
        let token_exchange = self.token_exchange(table, access, &resource);
        let requirements = self.requirements(table, access.as_ref());
        let deny_message = self.optional(table, "deny_message", deny_message);
        let upstream = self.route_upstream(root, table);
        let keeps_slashes = self.encoded_slash(table);
        let step_up = self.step_up(table, access);
        let is_plain = requirements.as_ref().is_some_and(Requirements::is_empty)
            && matches!(step_up, Ok(None));
        let dry_run = self.dry_run(table, number, is_plain);
        let limits = self.rate_limits(table);
        let (host, path) = (host.ok()?, path.ok()?);
        Some(Route {
            name: name.ok()?.unwrap_or_else(|| format!("routes[{number}]")),
            host,
            path,
            methods: methods?,
            access: access?,
            requirements: requirements?,
            deny_message: deny_message.ok()?,
            upstream: upstream.ok()?,
            dry_run: dry_run?,
            limits: limits?,
            keeps_slashes: keeps_slashes.ok().flatten()?,
            step_up: step_up.ok()?.map(Box::new),
            resource: resource.ok()?,
            tools: tools.ok()?.map(Box::new),
            token_exchange: token_exchange.ok()?.map(Box::new),
        })
    }

    /// `max_age` and `acr_values`.
    fn step_up(
        &mut self,
        table: &Table<'_>,
        access: Option<Access>,
    ) -> Result<Option<StepUp>, Reported> {
        let max_age = self.optional_duration(table, "max_age");
        let acr_values = self.narrowing_texts(table, "acr_values", |text, origin| {
            if is_acr(text) {
                return Ok(text.to_owned());
            }
            let message = "a class is printable ASCII without spaces and quotes";
            Err(Problem::new(origin, message)
                .hint("as the provider's `acr_values_supported` has it"))
        });
        let step_up = StepUp {
            max_age: max_age?,
            acr_values: acr_values.ok_or(Reported)?,
        };
        if let Some(age) = step_up.max_age
            && (age.subsec_nanos() > 0 || age.is_zero() || age > LONGEST_AGE)
        {
            let origin = table.origin("max_age");
            self.problem(
                Problem::new(&origin, "`max_age` is a number of whole seconds").hint(
                    "from \"1s\" to \"365d\", as in max_age = \"10m\"; a login that has just ended must be young enough",
                ),
            );
            return Err(Reported);
        }
        if step_up
            .acr_parameter()
            .is_some_and(|all| all.len() > LONGEST_ACR_VALUES)
        {
            let message = format!("`acr_values` has more than {LONGEST_ACR_VALUES} bytes");
            let origin = table.origin("acr_values");
            self.problem(
                Problem::new(&origin, message).hint("they are sent along with each login"),
            );
            return Err(Reported);
        }
        if step_up.is_empty() {
            return Ok(None);
        }
        match access.ok_or(Reported)? {
            Access::Login | Access::Api => Ok(Some(step_up)),
            Access::Public | Access::Optional | Access::Deny => {
                let key = if step_up.max_age.is_some() {
                    "max_age"
                } else {
                    "acr_values"
                };
                self.problem(
                    Problem::new(
                        &table.origin(key),
                        format!("`{key}` asks for a fresh login, and this route for none"),
                    )
                    .hint("take it out, or write access = \"login\" or \"api\""),
                );
                Err(Reported)
            }
        }
    }

    /// Where no provider tells how and when people authenticate.
    fn check_step_up(
        &mut self,
        root: &Table<'_>,
        routes: &[Route],
        providers: &[ProviderSettings],
    ) {
        let silent = providers
            .iter()
            .filter(|provider| !provider.kind.has_id_tokens());
        let silent: Vec<&str> = silent.map(|provider| provider.name.as_str()).collect();
        if silent.is_empty() {
            return;
        }
        for route in routes {
            let Some(step_up) = &route.step_up else {
                continue;
            };
            if step_up.acr_values.is_empty() {
                self.warnings.push(format!(
                    "{}.max_age counts from the end of the login for {}: no ID token says when people authenticated there",
                    route.name,
                    silent.join(", ")
                ));
            } else if silent.len() == providers.len() {
                let message = format!("{}.acr_values lets nobody pass", route.name);
                self.problem(
                    Problem::new(&root.origin("routes"), message)
                        .hint("no provider here has ID tokens, and only these have an acr"),
                );
            } else {
                self.warnings.push(format!(
                    "{}.acr_values lets nobody pass of {}: only ID tokens have an acr",
                    route.name,
                    silent.join(", ")
                ));
            }
        }
    }

    fn encoded_slash(&mut self, table: &Table<'_>) -> Result<Option<bool>, Reported> {
        let meanings = [("ambiguous", false), ("segment", true)];
        self.word(
            table,
            "encoded_slash",
            &meanings,
            Some("ambiguous"),
            |text| {
                let message = format!("there is no encoded_slash \"{text}\"");
                (message, "\"segment\" or \"ambiguous\"")
            },
        )
    }

    /// What routes and providers have to know of each other, and what of a route will not be as it looks.
    pub(super) fn relate(
        &mut self,
        root: &Table<'_>,
        routes: &[Route],
        providers: Option<&mut Vec<ProviderSettings>>,
        public_url: Option<&PublicUrl>,
        cookie_domain: Option<&str>,
    ) {
        if let Some(providers) = providers {
            self.connect(root, routes, providers);
            self.check_step_up(root, routes, providers);
        }
        match (public_url, cookie_domain) {
            (Some(public_url), Some(domain)) => {
                self.check_cookie_domain(root, domain, public_url, routes);
            }
            (Some(public_url), None) => self.warn_of_hosts_without_sessions(routes, public_url),
            (None, _) => {}
        }
    }

    /// Where there is nothing to try out, somebody believes that the route is guarded.
    fn dry_run(&mut self, table: &Table<'_>, number: usize, is_plain: bool) -> Option<bool> {
        let dry_run = self.flag(table, "dry_run", false)?;
        if !dry_run {
            return Some(false);
        }
        if is_plain {
            let origin = table.origin("dry_run");
            self.problem(
                Problem::new(&origin, "`dry_run` has nothing to try out here").hint(
                    "it is for `allow`, `any`, `max_age` and `acr_values` of this route; who is not signed in never passes by it",
                ),
            );
            return None;
        }
        self.warnings.push(format!(
            "routes[{number}].dry_run is set: whom its rules would refuse passes, and the log says so"
        ));
        Some(true)
    }

    fn host(&mut self, table: &Table<'_>) -> Result<Option<HostPattern>, Reported> {
        self.optional(table, "host", |text, origin| {
            HostPattern::parse(text)
                .map_err(|hint| Problem::new(origin, format!("`{text}` is no host")).hint(hint))
        })
    }

    fn path(
        &mut self,
        table: &Table<'_>,
        own: OwnPaths<'_>,
    ) -> Result<Option<PathPattern>, Reported> {
        let Some(node) = table.get("path", Kind::Text) else {
            // A host alone is enough; without either a route would be for everything.
            if table.node.get("host").is_none() {
                self.missing(table, "path", "path = \"/public/**\"");
                return Err(Reported);
            }
            return Ok(None);
        };
        let text = self.text(node, "path").ok_or(Reported)?;
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
                    Ok(pattern) => return Ok(Some(pattern)),
                    Err(hint) => Problem::new(&node.origin, format!("`{text}` is no path pattern"))
                        .hint(hint),
                },
            }
        } else {
            Problem::new(&node.origin, format!("`{text}` is no path pattern"))
                .hint(format!("it begins with a slash: \"/{text}\""))
        };
        self.problem(problem);
        Err(Reported)
    }

    /// `allow` and `any`.
    fn requirements(&mut self, table: &Table<'_>, access: Option<&Access>) -> Option<Requirements> {
        let all = self.requirement(&table.table("allow"));
        if let Some(node) = table.node.get("any")
            && matches!(&node.value, Value::List(items) if items.is_empty())
        {
            self.refuse_empty(node, "any");
        }
        let any: Vec<_> = self
            .tables(table, "any")
            .iter()
            .map(|table| self.requirement(table))
            .collect();
        let any: Option<Vec<_>> = any.into_iter().collect();
        let requirements = Requirements {
            all: all?,
            any: any?,
        };
        let problem = match access? {
            Access::Deny if !requirements.is_empty() => Some((
                "with access = \"deny\" nobody passes, so lists have no effect",
                "take the lists out, or write access = \"login\"",
            )),
            Access::Public if requirements.asks_who() => Some((
                "with access = \"public\" there is no user to check",
                "networks may stand there; for lists of people write access = \"login\"",
            )),
            _ => None,
        };
        if let Some((message, hint)) = problem {
            let origin = table.node.get("allow").or_else(|| table.node.get("any"));
            let origin = origin.map_or(&table.node.origin, |node| &node.origin);
            self.problem(Problem::new(origin, message).hint(hint));
            return None;
        }
        Some(requirements)
    }

    fn requirement(&mut self, table: &Table<'_>) -> Option<Requirement> {
        let claims = allow::ask_for_lists(table);
        let providers = self.narrowing_texts(table, "providers", |text, _| Ok(text.to_owned()));
        let networks = self.narrowing_texts(table, "networks", network);
        let credentials = self.narrowing_texts(table, "credentials", credential);
        let scopes = self.narrowing_texts(table, "scopes", scope);
        let (mut lists, complete) = self.allow_lists(table.node, claims, None);
        for list in lists.iter_mut().filter(|list| list.key == "users") {
            // Which names are one and the same was for the provider to say, at the login.
            list.ignore_case();
        }
        let requirement = Requirement {
            lists,
            providers: providers?,
            networks: networks?,
            credentials: credentials?,
            scopes: scopes?,
        };
        if complete && table.is_written() && requirement == Requirement::default() {
            self.problem(
                Problem::new(&table.node.origin, "it is empty, and asks for nothing")
                    .hint("write { groups = [\"admins\"] }, or take it out"),
            );
            return None;
        }
        complete.then_some(requirement)
    }

    /// The session's cookie is `public_url`'s alone: under another name nobody is signed in.
    fn warn_of_hosts_without_sessions(&mut self, routes: &[Route], public_url: &PublicUrl) {
        for route in routes {
            let Some(host) = &route.host else { continue };
            if route.access.asks_who() && !host.matches(public_url.authority()) {
                self.warnings.push(format!(
                    "{} asks who is there, and under {host} nobody is ever signed in: sessions are public_url's alone; browsers are \
                     led there, and programs get 401. To share one login, set session.cookie_domain",
                    route.name
                ));
            }
        }
    }

    /// Tells each provider what routes have to know of its people, and the operator of a provider that is not there.
    fn connect(&mut self, root: &Table<'_>, routes: &[Route], providers: &mut [ProviderSettings]) {
        for route in routes {
            let requirements = &route.requirements;
            let each = std::iter::once(&requirements.all).chain(&requirements.any);
            for name in each.flat_map(|requirement| &requirement.providers) {
                let is_own = [SERVICE, CLIENT, USERS, CERTIFICATE].contains(&name.as_str());
                if !is_own && providers.iter().all(|provider| provider.name != *name) {
                    let place = format!("{}.allow.providers", route.name);
                    self.problem(
                        Problem::new(
                            &root.origin("routes"),
                            format!("{place} names \"{name}\", and there is no such provider"),
                        )
                        .hint("it is the NAME of [providers.NAME]"),
                    );
                }
            }
            for provider in &mut *providers {
                let known = |list: &&AllowList| {
                    list.key.starts_with("claims.")
                        || allow::has_list(Some(provider.kind), &list.key)
                };
                let lists: Vec<_> = requirements.lists().filter(known).cloned().collect();
                provider.route_lists.extend(lists);
            }
        }
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
            Access::Public,
            Access::Optional,
            Access::Login,
            Access::Api,
            Access::Deny,
        ]
        .map(|access| (access.word(), access));
        let access = self.word(table, "access", &meanings, Some("login"), |text| {
            let message = format!("there is no access \"{text}\"");
            if is_for_tokens(text) {
                return (message, "write tokens = true in its place: the route then accepts tokens of [issuer], and sessions too");
            }
            let hint = "\"public\" asks nothing, \"optional\" tells the app who is signed in, \"login\" asks for a session, \
                        \"api\" does so without a redirect to the login, \"deny\" lets nobody pass";
            (message, hint)
        });
        access.ok().flatten()
    }
}

/// Whether `access` names what comes, and not what is asked for.
fn is_for_tokens(text: &str) -> bool {
    matches!(
        text.to_ascii_lowercase().as_str(),
        "token" | "tokens" | "bearer" | "oauth" | "jwt"
    )
}

/// A route behind one that takes all its requests, the place of whose path is `place`.
fn dead(origin: &Origin, route: &Route, earlier: &Route, place: &Origin) -> Problem {
    let shown = |route: &Route| {
        let path = route.path.as_ref().map_or("/**", PathPattern::as_str);
        match &route.host {
            Some(host) => format!("{host}{path}"),
            None => path.to_owned(),
        }
    };
    let path = shown(earlier);
    let hint = if path == shown(route) {
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
fn hides(earlier: &Route, later: &Route) -> bool {
    let covers = |method: &Method| {
        earlier.methods.contains(method)
            || (*method == Method::HEAD && earlier.methods.contains(&Method::GET))
    };
    let every_method = earlier.methods.is_empty()
        || (!later.methods.is_empty() && later.methods.iter().all(covers));
    let every_host = earlier.host.is_none() || earlier.host == later.host;
    let every_path = match (&earlier.path, &later.path) {
        (None, _) => true,
        (Some(earlier), Some(later)) => earlier.covers(later),
        (Some(_), None) => false,
    };
    every_host && every_path && every_method
}

fn credential(text: &str, origin: &Origin) -> Result<Proof, Problem> {
    let mut all = Proof::ALL.into_iter();
    all.find(|proof| proof.name() == text).ok_or_else(|| {
        let names = Proof::ALL.map(Proof::name).join(", ");
        Problem::new(origin, format!("there is no credential \"{text}\""))
            .hint(format!("some of {names}, as X-User-Auth has them"))
    })
}

/// What a scope may be (RFC 6749 §3.3).
pub(super) fn scope(text: &str, origin: &Origin) -> Result<String, Problem> {
    if is_scope(text) {
        return Ok(text.to_owned());
    }
    Err(Problem::new(origin, format!("`{text}` is no scope")).hint(
        "printable ASCII without spaces and quotes; several are a list, and all of them are needed",
    ))
}

/// No name looks like the place of a route, or holds what stands between names in lists.
fn route_name(text: &str, origin: &Origin) -> Result<String, Problem> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err(
        Problem::new(origin, format!("`{text}` is no name of a route"))
            .hint("letters, digits, - . and _, at most 64, as in \"api\""),
    )
}
