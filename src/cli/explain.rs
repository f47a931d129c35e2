//! `explain`: what would happen to a request, by the same functions that serve one. Pure.

use std::{fmt::Write as _, net::IpAddr};

use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value as Json, json};

use crate::{
    access::{Principal, allow::Held},
    answer::Reject,
    api_token::settings::SERVICE,
    app,
    canonical_path::CanonicalPath,
    certificate::CERTIFICATE,
    clean::check_method,
    clock::Timestamp,
    config::{self, Config, credentials},
    credential::{Proof, Refused, Voucher},
    decide::{Deny, Permit, Standing, decide},
    endpoint::Endpoint,
    forward::IdentityHeaders,
    identity::{Authentication, Identity},
    observe::Verdict,
    origin::PublicOrigin,
    provider::catalog::KINDS,
    route::{NoRoute, Route, Routes, Target},
    site::Site,
    text::Text,
    tokens::Tokens,
    users::settings::USERS,
};

/// What is asked.
pub(super) struct Question<'q> {
    pub(super) method: &'q str,
    /// An address, or a path at `public_url`.
    pub(super) url: &'q str,
    /// `user=…,groups=a;b,credential=bearer,scopes=read`; nobody is signed in without.
    pub(super) person: Option<&'q str>,
    pub(super) client: Option<IpAddr>,
    /// When it is asked.
    pub(super) now: Timestamp,
}

/// What would become of it.
pub(super) struct Explanation {
    method: String,
    host: String,
    path: String,
    /// The path's other reading, where it differs.
    other_path: Option<String>,
    /// The route's name, and what it asks.
    route: Option<(String, &'static str)>,
    verdict: Verdict,
    /// None where it is the app's.
    status: Option<StatusCode>,
    /// What refuses it, or what happens, in a sentence.
    because: Option<String>,
    /// Which app gets it, and where that is; none where no app does.
    upstream: Option<(String, String)>,
    /// How often it may be asked for, where that is limited.
    limits: Vec<String>,
    /// What would refuse it, if the route were no dry run.
    dry_run: Option<String>,
    /// What the app gets; a value is kept back where it is a secret.
    headers: Vec<(String, Option<String>)>,
}

/// Answers `question` by `config`.
///
/// # Errors
/// What is wrong with the question.
pub(super) fn explain(config: &Config, question: &Question<'_>) -> Result<Explanation, String> {
    let method = Method::from_bytes(question.method.as_bytes())
        .map_err(|_| format!("`{}` is no method", question.method))?;
    let (authority, target) = split(question.url, config.public_url.authority())?;
    let somebody = question
        .person
        .map(|person| Somebody::parse(config, person, question.now));
    let somebody = somebody.transpose()?;
    let raw = target.split('?').next().unwrap_or_default();
    let mut explanation = Explanation {
        method: method.to_string(),
        host: authority.to_owned(),
        path: raw.to_owned(),
        other_path: None,
        route: None,
        verdict: Verdict::BadRequest,
        status: Some(StatusCode::BAD_REQUEST),
        because: None,
        upstream: None,
        limits: Vec::new(),
        dry_run: None,
        headers: Vec::new(),
    };
    let site = app::site(config);
    let path = match CanonicalPath::parse(raw) {
        Ok(path) => path,
        Err(error) => {
            let reject = Reject::BadRequest(error.to_string().into());
            return Ok(explanation.refuse(&reject, &site));
        }
    };
    if let Err(sentence) = check_method(&method) {
        let reject = Reject::BadRequest(sentence.into());
        return Ok(explanation.refuse(&reject, &site));
    }
    explanation.path = path.surface.clone().into_owned();
    explanation.other_path.clone_from(&path.deep);
    let own = Endpoint::find(&site, &path.surface);
    if let Some(deep) = &path.deep
        && Endpoint::find(&site, deep) != own
    {
        return Ok(explanation.refuse(&NoRoute::Ambiguous.into(), &site));
    }
    let routes = Routes::new(config.routes.clone());
    let host = HeaderValue::from_str(authority)
        .map_err(|_| "the address has no host that a request can name".to_owned())?;
    let is_for_public_url = PublicOrigin::new(&config.public_url).is_named_by(&host);
    if own.as_ref().is_some_and(|own| !own.is_asked_by_machines())
        && routes.is_misdirected(Some(authority), is_for_public_url)
    {
        return Ok(explanation.refuse(&NoRoute::Misdirected.into(), &site));
    }
    if own.is_some() {
        explanation.verdict = Verdict::Own;
        explanation.status = None;
        explanation.because = Some("it is one of the gate's own addresses".to_owned());
        return Ok(explanation);
    }
    let target = Target {
        host: Some(authority),
        is_for_public_url,
        method: &method,
        path: &path.surface,
        deep_path: path.deep.as_deref(),
    };
    let route = match routes.find(&target) {
        Ok(route) => route,
        Err(no_route) => return Ok(explanation.refuse(&no_route.into(), &site)),
    };
    explanation.route = Some((route.name.clone(), route.access.word()));
    Ok(explanation.of_route(config, route, somebody.as_ref(), question, &site))
}

/// What `route` makes of whoever asks.
fn judge<'a>(
    config: &Config,
    route: &'a Route,
    somebody: Option<&'a Somebody>,
    question: &Question<'_>,
) -> Result<Permit<'a>, Reject> {
    let standing = standing(config, somebody);
    decide(route, standing, question.client, question.now).map_err(|deny| match deny {
        // A program is told, and nobody is led to the login.
        Deny::NotSignedIn if !route.takes_sessions() => Reject::Unauthorized,
        deny => Reject::of(deny, route, String::new),
    })
}

impl Explanation {
    /// What `route` makes of it, and of the credential first.
    fn of_route(
        self,
        config: &Config,
        route: &Route,
        somebody: Option<&Somebody>,
        question: &Question<'_>,
        site: &Site,
    ) -> Self {
        let proof = somebody.map(|somebody| somebody.proof);
        let proof = proof.filter(|_| route.access.asks_who());
        let useless = proof.and_then(|proof| credentials::not_accepted(config, route, proof));
        if let (Some(proof), Some(why)) = (proof, useless)
            && credentials::reads_header_of(config, proof)
        {
            let reject = Refused::Invalid(why.to_owned()).into();
            return self.refuse(&reject, site);
        }
        let somebody = somebody.filter(|_| useless.is_none());
        let explanation = match judge(config, route, somebody, question) {
            Ok(permit) => self.pass(config, &permit),
            Err(reject) => self.refuse(&reject, site),
        };
        Self {
            // Nobody is known, and this is why.
            because: useless.map(str::to_owned).or(explanation.because),
            ..explanation
        }
    }

    fn pass(mut self, config: &Config, permit: &Permit<'_>) -> Self {
        let headers = IdentityHeaders::new(config.headers.clone());
        self.status = None;
        self.dry_run = permit.dry_run();
        self.upstream = config
            .upstreams
            .get(permit.route().upstream)
            .map(|upstream| (upstream.name.clone(), upstream.written_addresses()));
        let limits = permit.route().limits.iter();
        self.limits = limits.map(ToString::to_string).collect();
        (self.verdict, self.headers) = match permit.principal() {
            Some(principal) => {
                let mut headers = headers.shown(principal);
                if permit.route().token_exchange.is_some() {
                    headers.push(("Authorization".to_owned(), None));
                }
                (Verdict::Pass, headers)
            }
            None => (Verdict::Public, headers.shown_constants().collect()),
        };
        self
    }

    /// In the words of the log.
    fn refuse(mut self, reject: &Reject, site: &Site) -> Self {
        self.verdict = reject.verdict();
        self.status = Some(reject.status(site));
        self.because = Some(match reject {
            Reject::SignIn { .. } => {
                "nobody is signed in; a browser is redirected to the login (302)".to_owned()
            }
            Reject::Unauthorized => "no credential came".to_owned(),
            Reject::StepUp {
                return_to: Some(_), ..
            } => format!(
                "{}; a browser is led through a fresh login (302)",
                reject.detail().unwrap_or_default()
            ),
            Reject::Barred { barred, .. } if barred.denied.held == Held::NotKept => {
                let rule = &barred.denied.rule;
                let key = rule.split_once("allow.").map_or(&**rule, |(_, key)| key);
                format!("{rule}: nothing that --as says is on this list, as {key}=… would be")
            }
            reject => reject.detail().unwrap_or_default(),
        });
        self
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{} {}{}\n", self.method, self.host, shown(&self.path));
        let mut line = |key: &str, value: &str| {
            _ = writeln!(text, "  {key:<10} {value}");
        };
        if let Some(other) = &self.other_path {
            line("also read", &shown(other));
        }
        if let Some((name, access)) = &self.route {
            line("route", &format!("{name} (access = \"{access}\")"));
        }
        match self.status {
            Some(status) => line(
                "verdict",
                &format!("{}, {}", self.verdict.name(), status.as_u16()),
            ),
            None => line("verdict", self.verdict.name()),
        }
        if let Some(because) = &self.because {
            line("because", because);
        }
        if let Some(dry_run) = &self.dry_run {
            line("dry run", &format!("would be refused: {dry_run}"));
        }
        if let Some((name, addresses)) = &self.upstream {
            line("upstream", &format!("{name} ({addresses})"));
        }
        for limit in &self.limits {
            line("limit", limit);
        }
        for (name, value) in &self.headers {
            line(
                "header",
                &format!("{name}: {}", value.as_deref().unwrap_or("(a secret)")),
            );
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> Json {
        let headers = self.headers.iter();
        let headers: serde_json::Map<String, Json> = headers
            .map(|(name, value)| (name.clone(), value.as_deref().into()))
            .collect();
        json!({
            "method": self.method,
            "host": self.host,
            "path": self.path,
            "other_path": self.other_path,
            "route": self.route.as_ref().map(|(name, _)| name),
            "access": self.route.as_ref().map(|(_, access)| access),
            "verdict": self.verdict.name(),
            "status": self.status.map(|status| status.as_u16()),
            "because": self.because,
            "upstream": self.upstream.as_ref().map(|(name, _)| name),
            "limits": self.limits,
            "dry_run": self.dry_run,
            "headers": headers,
        })
    }
}

/// What somebody asked about may hold what a terminal obeys.
fn shown(path: &str) -> String {
    path.chars()
        .flat_map(|letter| {
            let escaped = letter.is_control().then(|| letter.escape_unicode());
            let plain = (!letter.is_control()).then_some(letter);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// The authority and the target of `url`, as a client would send them: nothing is normalized.
fn split<'u>(url: &'u str, own: &'u str) -> Result<(&'u str, &'u str), String> {
    if url.starts_with('/') {
        return Ok((own, url));
    }
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or_else(|| "the address is http://HOST/PATH, https://HOST/PATH or /PATH".to_owned())?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.is_empty() || authority.contains('@') {
        return Err("the address has no host that a request can name".to_owned());
    }
    Ok(match target {
        // `http://app?query` has no path, which means `/` (RFC 9110 §4.2.3).
        "" => (authority, "/"),
        query if query.starts_with('?') => (authority, "/"),
        target => (authority, target),
    })
}

/// Who asks, and what proves it.
struct Somebody {
    identity: Identity,
    tokens: Tokens,
    proof: Proof,
    scopes: Option<Vec<Text>>,
    client: Option<Text>,
}

impl Somebody {
    /// Reads `text`. It says who somebody is (`user=…,groups=a;b,email=…,name=…,subject=…,provider=…`), how they authenticated
    /// (`auth_age=5m,acr=…`), what proves it (`credential=bearer,scopes=a;b,client=…`), and what is on any list of `allow`. Without
    /// `auth_age` they have just authenticated. Without `credential` it is what [`usual_proof`] says.
    fn parse(config: &Config, text: &str, now: Timestamp) -> Result<Self, String> {
        let mut identity = Identity::of("", "");
        identity.authentication.at = Some(now);
        let (mut proof, mut scopes, mut client) = (None, None, None);
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("`{pair}` is not KEY=VALUE, as in user=ada,groups=a;b"))?;
            let many = || value.split(';').filter(|one| !one.is_empty());
            match key {
                "user" => identity.login = Some(value.into()),
                "email" => identity.email = Some(value.into()),
                "name" => identity.name = Some(value.into()),
                "subject" => identity.subject = value.into(),
                "groups" => identity.groups = many().map(Into::into).collect(),
                "provider" => identity.provider = value.into(),
                "acr" => identity.authentication.acr = Some(value.into()),
                "auth_age" => {
                    let age = config::duration(value)
                        .map_err(|hint| format!("`{value}` is no duration: {hint}"))?;
                    let then = now.0.saturating_sub(age.as_secs());
                    identity.authentication.at = Some(Timestamp(then));
                }
                "credential" => proof = Some(credential(value)?),
                "scopes" => scopes = Some(many().map(Into::into).collect()),
                "client" => client = Some(value.into()),
                list if !is_list(list) => {
                    return Err(format!(
                        "`{list}` is nothing that can be said of somebody, nor a list of `allow`"
                    ));
                }
                list => {
                    let entries = many().map(|entry| (Text::from(list), Text::from(entry)));
                    identity.memberships.extend(entries);
                    if let Some(path) = list.strip_prefix("claims.") {
                        identity.claims.push((path.into(), value.into()));
                    }
                }
            }
        }
        // The lists of login names.
        if let Some(login) = identity.login.clone() {
            identity.memberships.push(("users".into(), login));
        }
        if identity.subject.is_empty() {
            identity.subject = identity.user().clone();
        }
        let proof = proof.unwrap_or_else(|| usual_proof(&identity.provider, scopes.is_some()));
        let vouching = vouching(config, proof);
        if identity.provider.is_empty() {
            identity.provider = vouching.first().copied().unwrap_or_default().into();
        }
        if !vouching.contains(&&*identity.provider) {
            return Err(format!(
                "there is no provider `{}` for this credential",
                identity.provider
            ));
        }
        if proof == Proof::ServiceToken {
            // Its name is the user and the client.
            client = client.or_else(|| Some(identity.user().clone()));
        }
        if identity.groups.is_empty() {
            identity.groups = configured_groups(config, proof, &identity);
        }
        if proof == Proof::Session && scopes.is_some() {
            return Err(
                "a session has no scopes: leave them out, or name another credential".into(),
            );
        }
        // Of programs nobody says when they authenticated.
        if !matches!(proof, Proof::Session | Proof::AccessToken) {
            identity.authentication = Authentication::default();
        }
        Ok(Self {
            identity,
            tokens: match proof {
                Proof::Session => placeholders(),
                _ => Tokens::default(),
            },
            proof,
            scopes,
            client,
        })
    }
}

/// The groups that the configuration itself gives to `user`.
fn configured_groups(config: &Config, proof: Proof, identity: &Identity) -> Vec<Text> {
    let user = identity.user().as_str();
    match proof {
        Proof::Password => {
            let groups = config.users.iter().flat_map(|users| &users.groups);
            let of_user = groups.filter(|(_, members)| members.iter().any(|name| name == user));
            of_user.map(|(group, _)| group.as_str().into()).collect()
        }
        Proof::ServiceToken => {
            let mut tokens = config.service_tokens.iter();
            let token = tokens.find(|token| token.name == user);
            let groups = token.into_iter().flat_map(|token| &token.groups);
            groups.map(|group| group.as_str().into()).collect()
        }
        Proof::Session
        | Proof::Bearer
        | Proof::ApiToken
        | Proof::AccessToken
        | Proof::Certificate => Vec::new(),
    }
}

/// What usually proves who somebody is, where `--as` names no credential.
fn usual_proof(provider: &str, has_scopes: bool) -> Proof {
    match provider {
        SERVICE => Proof::ServiceToken,
        USERS => Proof::Password,
        CERTIFICATE => Proof::Certificate,
        _ if has_scopes => Proof::Bearer,
        _ => Proof::Session,
    }
}

/// The names that may stand as the provider of somebody with such a credential.
fn vouching(config: &Config, proof: Proof) -> Vec<&str> {
    match proof {
        Proof::ServiceToken => vec![SERVICE],
        Proof::Password => vec![USERS],
        Proof::Certificate => vec![CERTIFICATE],
        Proof::Session | Proof::Bearer | Proof::ApiToken | Proof::AccessToken => {
            let providers = config.providers.iter();
            providers.map(|provider| provider.name.as_str()).collect()
        }
    }
}

/// Whether `name` is a list of `allow`.
fn is_list(name: &str) -> bool {
    name.starts_with("claims.")
        || ["domains", "emails", "users"].contains(&name)
        || KINDS.iter().any(|kind| kind.allow.contains(&name))
}

fn credential(name: &str) -> Result<Proof, String> {
    let known = Proof::ALL.into_iter().find(|proof| proof.name() == name);
    known.ok_or_else(|| {
        let names = Proof::ALL.map(Proof::name).join(", ");
        format!("`{name}` is no credential: it is one of {names}")
    })
}

/// Stand where a session has tokens, so that it is told which headers carry one.
fn placeholders() -> Tokens {
    Tokens {
        access: Some("token".into()),
        id: Some("token".into()),
        ..Tokens::default()
    }
}

/// What the provider's own lists make of somebody.
fn standing<'a>(config: &Config, somebody: Option<&'a Somebody>) -> Standing<'a> {
    let Some(somebody) = somebody else {
        return Standing::Nobody;
    };
    let principal = Principal {
        proof: somebody.proof,
        scopes: somebody.scopes.as_deref(),
        client: somebody.client.as_ref(),
        ..Principal::of_session(&somebody.identity, &somebody.tokens)
    };
    match Voucher::of(somebody.proof) {
        Voucher::Configuration => Standing::Admitted(principal),
        Voucher::Provider => {
            let mut providers = config.providers.iter();
            let named = |name: &str| *name == *somebody.identity.provider;
            match providers.find(|provider| named(&provider.name)) {
                Some(provider) => Standing::under(&provider.allow, principal),
                None => Standing::Nobody,
            }
        }
    }
}
