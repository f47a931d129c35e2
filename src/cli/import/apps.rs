//! `upstream`, `[upstreams.NAME]` and `[[routes]]`: the app and the rule of each path.

use url::Url;

use super::{
    draft::Draft,
    given::Given,
    glob::{self, Globs},
    model::App,
    notes::Notes,
    place::{Place, lasting},
    toml_text::{self, Section},
};
use crate::route::PathPattern;

/// Nothing is served on it (RFC 863): what no app is behind.
const NO_APP: &str = "http://127.0.0.1:9";

/// An app that requests can reach, and the paths that do.
struct Target {
    pattern: PathPattern,
    /// None: the `upstream` at the top.
    name: Option<String>,
}

/// What is asked on some paths, whichever app has them.
struct Rule {
    pattern: PathPattern,
    methods: Vec<String>,
    access: &'static str,
    /// As oauth2-proxy has it.
    written: String,
    comment: Option<&'static str>,
}

/// `any` are the tables of which one has to fit wherever it matters who is there.
pub(super) fn translate(
    given: &Given,
    apps: &[App],
    raw_path: bool,
    any: &[String],
    place: &Place,
    draft: &mut Draft,
    notes: &mut Notes,
) {
    if raw_path {
        notes.absent("upstreamConfig.proxyRawPath", "a path that can be read in two ways is refused where the readings fall under two routes");
    }
    explain(given, notes);
    let targets = targets(apps, draft, notes);
    let mut writer = Writer {
        targets,
        any,
        routes: Vec::new(),
        draft,
    };
    for rule in rules(given, place, notes) {
        if !writer.rule(&rule) {
            notes.absent(
                &rule.written,
                "it cuts across the paths of several apps: write a route for each by hand",
            );
            if rule.access == "login" {
                // A public route behind it counts on it.
                let written = Some(rule.written.as_str());
                writer.route(&rule.pattern, &rule.methods, "deny", None, written);
            }
        }
    }
    writer.rest(if given.flag("force_json_errors") == Some(true) {
        "api"
    } else {
        "login"
    });
}

fn explain(given: &Given, notes: &mut Notes) {
    for (key, default, words) in [
        (
            "pass_host_header",
            true,
            "the app gets the Host that the browser sent",
        ),
        ("proxy_websockets", true, "WebSockets pass"),
        (
            "disable_keep_alives",
            false,
            "connections to the app are kept",
        ),
        (
            "ssl_upstream_insecure_skip_verify",
            false,
            "certificates are always checked",
        ),
        (
            "skip_auth_preflight",
            false,
            "a preflight asks for a session like everything else",
        ),
        (
            "force_json_errors",
            false,
            "Fetch Metadata and Accept tell who can follow a redirect",
        ),
    ] {
        if given.flag(key) == Some(default) {
            notes.needless(&given.label(key), words);
        }
    }
    if given.texts("upstreams").is_empty() {
        for key in [
            "upstream_timeout",
            "pass_host_header",
            "proxy_websockets",
            "disable_keep_alives",
            "ssl_upstream_insecure_skip_verify",
        ] {
            if given.is_given(key) {
                notes.needless(&given.label(key), "no app is given");
            }
        }
    }
}

/// The apps, those with the longest paths first, as oauth2-proxy tries them.
fn targets(apps: &[App], draft: &mut Draft, notes: &mut Notes) -> Vec<Target> {
    let mut reachable: Vec<(PathPattern, &App, String)> = Vec::new();
    for app in apps {
        let Some(uri) = &app.uri else {
            notes.remind(&app.label, "no answer is made up here, and where another proxy asks at /oauth2/auth none is needed: docs/forward-auth.md has its two keys");
            continue;
        };
        let Some(address) = address(uri) else {
            notes.absent(&app.label, "the gate serves no files: put a web server behind it. An app is at http://, https:// or unix:/PATH");
            continue;
        };
        let path = if app.rewrite.is_some() {
            app.path.clone()
        } else {
            app.path.trim_end().to_owned()
        };
        let Some(path) = pattern(&path, app.rewrite.as_deref()) else {
            notes.absent(&app.label, "paths are judged and forwarded as they are; strip_prefix cuts off a beginning, and nothing else is rewritten");
            continue;
        };
        match PathPattern::parse(&path) {
            Ok(pattern) => reachable.push((pattern, app, address)),
            Err(why) => notes.absent(
                &app.label,
                &format!("its path is none that a route could have: {why}"),
            ),
        }
    }
    // A regular expression is tried before plain paths, and a longer path before a shorter one.
    reachable.sort_by_key(|(_, app, _)| (app.rewrite.is_none(), usize::MAX - app.path.len()));
    let mut targets: Vec<Target> = Vec::new();
    let mut has_default = false;
    for (pattern, app, address) in &reachable {
        explain_app(app, address, notes);
        if pattern.as_str() == "/**" && !has_default && app.pass_host {
            has_default = true;
            draft.top.set("upstream", &toml_text::text(address));
            if let Some(seconds) = app.timeout.filter(|seconds| *seconds > 0) {
                draft.top.set("upstream_timeout", &lasting(seconds));
            }
            if !app.keep_alive {
                draft.top.set("upstream_reuse", "false");
            }
            targets.push(Target {
                pattern: pattern.clone(),
                name: None,
            });
            continue;
        }
        let name = name(pattern, &draft.upstreams);
        let mut table = Section::default();
        table.set("url", &toml_text::text(address));
        if !app.pass_host && !address.starts_with("unix:") {
            table.set("host", "\"upstream\"");
        }
        if let Some(seconds) = app.timeout.filter(|seconds| *seconds > 0) {
            table.set("head_timeout", &lasting(seconds));
        }
        if !app.keep_alive {
            table.set("reuse", "false");
        }
        if app.rewrite.is_some() {
            let prefix = pattern
                .as_str()
                .trim_end_matches("/**")
                .trim_end_matches("/*");
            table.set("strip_prefix", &toml_text::text(prefix));
        }
        draft.upstreams.push((name.clone(), table));
        targets.push(Target {
            pattern: pattern.clone(),
            name: Some(name),
        });
    }
    if !has_default {
        // What no route sends elsewhere: an app for everything, or nothing at all.
        let everything = reachable
            .iter()
            .find(|(pattern, ..)| pattern.as_str() == "/**");
        if everything.is_none() {
            draft.top.comment("No app is here: where another proxy serves it and asks at /oauth2/auth, none is needed.");
        }
        let address = everything.map_or(NO_APP, |(_, _, address)| address);
        draft.top.set("upstream", &toml_text::text(address));
    }
    targets
}

fn explain_app(app: &App, address: &str, notes: &mut Notes) {
    if app.skip_tls_verification {
        if address.starts_with("https:") {
            notes.absent(&app.label, "an app's certificate is always checked: name its authority in upstream_ca, or in `ca` of its [upstreams.NAME]");
        } else {
            notes.needless(&app.label, "this app is not reached over TLS");
        }
    }
    if !app.websockets {
        notes.absent(&app.label, "WebSockets pass: let the app refuse them");
    }
    if app.timeout == Some(0) {
        notes.absent(
            &app.label,
            "there is always a limit: write upstream_timeout",
        );
    }
}

/// Where an app is: its origin alone, as oauth2-proxy forwards paths as they came.
fn address(uri: &str) -> Option<String> {
    if let Some(path) = uri.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return path.starts_with('/').then(|| format!("unix:{path}"));
    }
    let url = Url::parse(uri).ok()?;
    let is_web = matches!(url.scheme(), "http" | "https");
    let is_plain = url.username().is_empty() && url.password().is_none();
    (is_web && is_plain && url.has_host()).then(|| url.origin().ascii_serialization())
}

/// The pattern of an app's path: all below it where it ends in a slash, and itself otherwise. A rewrite that only cuts off
/// the beginning (`^/a/(.*)$` to `/$1`) is one, too.
fn pattern(path: &str, rewrite: Option<&str>) -> Option<String> {
    let Some(rewrite) = rewrite else {
        return Some(match path.strip_suffix('/') {
            Some(base) => format!("{base}/**"),
            None => path.to_owned(),
        });
    };
    let base = path.strip_prefix('^')?;
    let base = base
        .strip_suffix("/(.*)$")
        .or_else(|| base.strip_suffix("/(.*)"))?;
    let is_plain = base.starts_with('/')
        && base
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/-_~".contains(&byte));
    (is_plain && rewrite == "/$1").then(|| format!("{base}/**"))
}

/// A name for an app that no other has.
fn name(pattern: &PathPattern, others: &[(String, Section)]) -> String {
    let words: Vec<String> = pattern
        .as_str()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let base = if words.is_empty() {
        "app".to_owned()
    } else {
        words.join("-")
    };
    let base = if base == "default" {
        "app".to_owned()
    } else {
        base
    };
    let is_taken = |name: &str| others.iter().any(|(other, _)| other == name);
    let mut name = base.clone();
    let mut number = 1;
    while is_taken(&name) {
        number += 1;
        name = format!("{base}-{number}");
    }
    name
}

/// `skip_auth_…` and `api_routes`, in an order in which the first that matches is right.
fn rules(given: &Given, place: &Place, notes: &mut Notes) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut negations: Vec<(Option<String>, Vec<Rule>)> = Vec::new();
    if given.flag("skip_auth_preflight") == Some(true) {
        rules.extend(rule(
            "/**",
            &["OPTIONS"],
            "public",
            &given.label("skip_auth_preflight"),
        ));
    }
    for key in ["skip_auth_regex", "skip_auth_routes"] {
        for written in given.texts(key) {
            let label = format!("{} {written}", given.label(key));
            let (method, negated, regex) = if key == "skip_auth_routes" {
                parts(written)
            } else {
                (None, false, written.as_str())
            };
            let access = if negated { "login" } else { "public" };
            let Some(found) = patterns(regex, method, access, &label, place, notes) else {
                continue;
            };
            if negated {
                negations.push((method.map(str::to_ascii_uppercase), found));
            } else {
                rules.extend(found);
            }
        }
    }
    let mut api = Vec::new();
    for written in given.texts("api_routes") {
        let label = format!("{} {written}", given.label("api_routes"));
        api.extend(patterns(written, None, "api", &label, place, notes).unwrap_or_default());
    }
    // Two that leave out different paths leave out what both do, which no order says.
    let is_one = |method: &Option<String>| {
        let same = negations
            .iter()
            .filter(|(other, _)| other.is_none() || method.is_none() || other == method);
        same.count() == 1
    };
    let (said, unsaid): (Vec<_>, Vec<_>) = negations.iter().partition(|(method, _)| is_one(method));
    for (_, guarded) in &unsaid {
        for rule in guarded {
            notes.absent(&rule.written, "several that say what is not public cannot be put in order: write routes by hand; these paths ask for a login now");
        }
    }
    if !said.is_empty() {
        // A program's path that stays guarded, before it is a login's.
        let guarded: Vec<&Rule> = said.iter().flat_map(|(_, guarded)| guarded).collect();
        for rule in &api {
            if guarded
                .iter()
                .any(|other| other.pattern.covers(&rule.pattern))
            {
                rules.extend(self::rule(rule.pattern.as_str(), &[], "api", &rule.written));
            }
        }
    }
    for (method, guarded) in said {
        let methods: Vec<&str> = method.as_deref().into_iter().collect();
        for other in guarded {
            rules.extend(rule(
                other.pattern.as_str(),
                &methods,
                "login",
                &other.written,
            ));
        }
        let written = guarded.first().map_or("", |rule| &rule.written);
        rules.extend(rule("/**", &methods, "public", written));
    }
    rules.extend(api);
    rules
}

/// `METHOD=REGEX`, `METHOD!=REGEX`, `!=REGEX` or `REGEX`.
fn parts(route: &str) -> (Option<&str>, bool, &str) {
    let Some((before, regex)) = route.split_once('=') else {
        return (None, false, route);
    };
    let (method, negated) = match before.strip_suffix('!') {
        Some(method) => (method, true),
        None => (before, false),
    };
    // A pattern may have a `=` of its own, and a method has no slash.
    if method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        (
            Some(method).filter(|method| !method.is_empty()),
            negated,
            regex,
        )
    } else {
        (None, false, route)
    }
}

fn rule(path: &str, methods: &[&str], access: &'static str, written: &str) -> Option<Rule> {
    Some(Rule {
        pattern: PathPattern::parse(path).ok()?,
        methods: methods
            .iter()
            .map(|method| method.to_ascii_uppercase())
            .collect(),
        access,
        written: written.to_owned(),
        comment: None,
    })
}

/// The rules of one regular expression; `None` where no pattern says it, which is told.
fn patterns(
    regex: &str,
    method: Option<&str>,
    access: &'static str,
    label: &str,
    place: &Place,
    notes: &mut Notes,
) -> Option<Vec<Rule>> {
    // Where it says what is guarded, a narrower pattern would guard less.
    let found = glob::globs(regex).filter(|found| access != "login" || !found.dots);
    let Some(Globs { globs, dots }) = found else {
        notes.absent(label, "no pattern says this: `*` is anything within a segment, `**` any number of segments; write [[routes]] by hand");
        return None;
    };
    let methods: Vec<&str> = method.into_iter().collect();
    let mut rules = Vec::new();
    for path in globs {
        let is_own = path == place.prefix
            || path.starts_with(&format!("{}/", place.prefix))
            || (place.root_health && matches!(&*path, "/ping" | "/ready"));
        if is_own {
            notes.needless(label, "the gate's own addresses look after themselves");
            continue;
        }
        match rule(&path, &methods, access, label) {
            Some(mut rule) => {
                rule.comment =
                    dots.then_some("its dots are taken as dots, and not as any character");
                rules.push(rule);
            }
            None => notes.absent(label, "no pattern says this: write [[routes]] by hand"),
        }
    }
    Some(rules)
}

/// Writes routes, and leaves out what no request would reach.
struct Writer<'a> {
    targets: Vec<Target>,
    any: &'a [String],
    /// Pattern and methods of what is written already.
    routes: Vec<(PathPattern, Vec<String>)>,
    draft: &'a mut Draft,
}

impl Writer<'_> {
    /// Writes a rule for each app that it touches; `false` where no pattern says what an app and it have in common.
    fn rule(&mut self, rule: &Rule) -> bool {
        let mut parts = Vec::new();
        for (place, target) in self.targets.iter().enumerate() {
            if target.pattern.covers(&rule.pattern) {
                parts.push((rule.pattern.clone(), Some(place)));
                break;
            }
            if rule.pattern.covers(&target.pattern) {
                parts.push((target.pattern.clone(), Some(place)));
            } else {
                match common(&rule.pattern, &target.pattern) {
                    Common::Nothing => {}
                    Common::Pattern(pattern) => parts.push((pattern, Some(place))),
                    Common::Unsaid => return false,
                }
            }
        }
        // No app has the rest of it, or there is none at all.
        if !self
            .targets
            .iter()
            .any(|target| target.pattern.covers(&rule.pattern))
        {
            parts.push((rule.pattern.clone(), None));
        }
        let mut comment = Some(rule.written.as_str());
        for (pattern, place) in parts {
            let name = place.and_then(|place| self.targets[place].name.clone());
            let leads_nowhere = place.is_none() && !self.targets.is_empty();
            let access = if leads_nowhere { "deny" } else { rule.access };
            let words = comment.take().map(|written| match rule.comment {
                Some(more) => format!("{written}: {more}"),
                None => written.to_owned(),
            });
            self.route(
                &pattern,
                &rule.methods,
                access,
                name.as_deref(),
                words.as_deref(),
            );
        }
        true
    }

    /// What no rule is about: each app's own paths, and what is no app's.
    fn rest(&mut self, access: &'static str) {
        let targets = std::mem::take(&mut self.targets);
        let mut has_all = targets.is_empty();
        for target in &targets {
            let is_all = target.pattern.as_str() == "/**";
            has_all |= is_all;
            let is_default = is_all && target.name.is_none();
            if !is_default || !self.any.is_empty() || access != "login" {
                self.route(&target.pattern, &[], access, target.name.as_deref(), None);
            }
        }
        let all = PathPattern::parse("/**").ok();
        match all {
            Some(all) if !has_all => {
                self.route(&all, &[], "deny", None, Some("No app has these paths."));
            }
            Some(all) if targets.is_empty() && (!self.any.is_empty() || access != "login") => {
                self.route(&all, &[], access, None, None);
            }
            _ => {}
        }
    }

    fn route(
        &mut self,
        pattern: &PathPattern,
        methods: &[String],
        access: &str,
        upstream: Option<&str>,
        comment: Option<&str>,
    ) {
        let is_hidden = self.routes.iter().any(|(earlier, earlier_methods)| {
            let every_method = earlier_methods.is_empty()
                || (!methods.is_empty()
                    && methods.iter().all(|method| {
                        earlier_methods.contains(method)
                            || (method == "HEAD"
                                && earlier_methods.iter().any(|other| other == "GET"))
                    }));
            every_method && earlier.covers(pattern)
        });
        if is_hidden {
            return;
        }
        let mut route = Section::default();
        if let Some(comment) = comment {
            route.comment(comment);
        }
        route.set("path", &toml_text::text(pattern.as_str()));
        if !methods.is_empty() {
            route.set("methods", &toml_text::texts(methods));
        }
        if access != "login" {
            route.set("access", &toml_text::text(access));
        }
        if let Some(upstream) = upstream {
            route.set("upstream", &toml_text::text(upstream));
        }
        if !self.any.is_empty() && matches!(access, "login" | "api") {
            route.set("any", &format!("[{}]", self.any.join(", ")));
        }
        self.draft.routes.push(route);
        self.routes.push((pattern.clone(), methods.to_vec()));
    }
}

/// What two patterns have in common, of which neither covers the other.
enum Common {
    Nothing,
    Pattern(PathPattern),
    Unsaid,
}

fn common(rule: &PathPattern, target: &PathPattern) -> Common {
    // An app's path is of literal segments, and perhaps all below them.
    let literal = target.as_str().trim_end_matches("/**");
    let is_below = target.as_str().ends_with("/**");
    if !is_below {
        // It is one path, and the rule would cover it.
        return Common::Nothing;
    }
    let mut wanted = rule.as_str().split('/').skip(1);
    for name in literal.split('/').skip(1) {
        match wanted.next() {
            None => return Common::Nothing,
            Some("**") => {
                // `/**/x` under `/app/**` is `/app/**/x`.
                let rest = rule.as_str().split_once("/**").map(|(_, rest)| rest);
                let both = rest.map(|rest| format!("{literal}/**{rest}"));
                let both = both.and_then(|both| PathPattern::parse(&both).ok());
                return both.map_or(Common::Unsaid, Common::Pattern);
            }
            Some(segment) => {
                let one = PathPattern::parse(&format!("/{segment}"));
                if one.is_ok_and(|one| !one.matches(&format!("/{name}"))) {
                    return Common::Nothing;
                }
            }
        }
    }
    Common::Unsaid
}
