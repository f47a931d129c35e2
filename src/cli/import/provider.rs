//! `[providers.NAME]`, without `allow`.

use url::Url;

use super::{draft::Draft, given::Given, notes::Notes, place::Place, toml_text};

/// What other parts need to know.
pub(super) struct Provider {
    /// Our type.
    pub(super) kind: &'static str,
    /// What oauth2-proxy calls it.
    pub(super) theirs: String,
    /// The source of what oauth2-proxy calls the user.
    pub(super) user: &'static str,
}

/// What is known of a provider of oauth2-proxy's.
struct Known {
    theirs: &'static str,
    name: &'static str,
    kind: &'static str,
    user: &'static str,
}

const fn known(
    theirs: &'static str,
    name: &'static str,
    kind: &'static str,
    user: &'static str,
) -> Known {
    Known {
        theirs,
        name,
        kind,
        user,
    }
}

const KNOWN: [Known; 17] = [
    known("google", "google", "google", "subject"),
    known("github", "github", "github", "user"),
    known("gitlab", "gitlab", "gitlab", "user"),
    known("facebook", "facebook", "facebook", "subject"),
    known("azure", "microsoft", "microsoft", "subject"),
    known("entra-id", "microsoft", "microsoft", "subject"),
    known("oidc", "oidc", "oidc", "subject"),
    known("keycloak-oidc", "keycloak", "oidc", "subject"),
    known("keycloak", "keycloak", "oidc", "user"),
    known("adfs", "adfs", "oidc", "subject"),
    known("cidaas", "cidaas", "oidc", "subject"),
    known("linkedin", "linkedin", "oidc", "subject"),
    known("login.gov", "login-gov", "oidc", "subject"),
    known("bitbucket", "bitbucket", "oauth2", "user"),
    known("digitalocean", "digitalocean", "oauth2", "subject"),
    known("nextcloud", "nextcloud", "oauth2", "user"),
    known("sourcehut", "sourcehut", "oauth2", "user"),
];

pub(super) fn translate(
    given: &Given,
    login_parameters: &[(String, String)],
    place: &Place,
    draft: &mut Draft,
    notes: &mut Notes,
    errors: &mut Vec<String>,
) -> Option<Provider> {
    let theirs = given.text("provider").unwrap_or("google");
    let Some(known) = KNOWN.iter().find(|known| known.theirs == theirs) else {
        let names: Vec<&str> = KNOWN.iter().map(|known| known.theirs).collect();
        errors.push(format!(
            "{}: \"{theirs}\" is no provider of oauth2-proxy 7.15; they are {}",
            given.label("provider"),
            names.join(", ")
        ));
        return None;
    };
    known.name.clone_into(&mut draft.provider_name);
    let table = &mut draft.provider;
    if known.name != known.kind {
        table.set("type", &toml_text::text(known.kind));
    }
    if let Some(label) = given.text("provider_display_name") {
        table.set("label", &toml_text::text(label));
    }
    let mut http = addresses(given, known, draft, notes);
    http.retain(|url| is_plain_and_far(url));
    if !http.is_empty() {
        draft.provider.set("insecure_http", "true");
        notes.remind(
            "insecure_http",
            "the provider is called in plain http: whoever listens there has the client secret; use https where you can",
        );
    }
    client(given, draft, notes, errors);
    authorities(given, draft, notes);
    scopes(given, known, draft);
    parameters(given, login_parameters, draft, notes);
    claims(given, known, draft, notes);
    callback(place, draft, notes);
    Some(Provider {
        kind: known.kind,
        theirs: theirs.to_owned(),
        user: known.user,
    })
}

/// Whether it is plain http to another machine.
fn is_plain_and_far(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    let is_near = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => true,
    };
    url.scheme() == "http" && !is_near
}

/// Which of oauth2-proxy's addresses our type takes, under which key.
const ADDRESSES: [(&str, &str); 4] = [
    ("login_url", "authorize_url"),
    ("redeem_url", "token_url"),
    ("profile_url", "userinfo_url"),
    ("oidc_jwks_url", "jwks_url"),
];

/// Writes the issuer and single addresses, and gives them back.
fn addresses(given: &Given, known: &Known, draft: &mut Draft, notes: &mut Notes) -> Vec<String> {
    let mut all = Vec::new();
    let issuer = given.text("oidc_issuer_url");
    match known.theirs {
        "azure" | "entra-id" => all.extend(microsoft(given, issuer, draft, notes)),
        "gitlab" => {
            let base = issuer.map(|issuer| issuer.trim_end_matches('/'));
            if let Some(base) = base.filter(|base| *base != "https://gitlab.com") {
                draft.provider.set("base_url", &toml_text::text(base));
                all.push(base.to_owned());
            }
        }
        "google" => {
            if issuer.is_some_and(|issuer| issuer != "https://accounts.google.com") {
                notes.absent(
                    &given.label("oidc_issuer_url"),
                    "the type \"google\" knows its issuer; another one is of the type \"oidc\"",
                );
            } else if issuer.is_some() {
                notes.needless(
                    &given.label("oidc_issuer_url"),
                    "the type \"google\" knows its issuer",
                );
            }
        }
        _ if known.kind == "oidc" => {
            let issuer = issuer
                .map(str::to_owned)
                .or_else(|| well_known(given, known));
            let issuer = issuer.unwrap_or_else(|| {
                notes.absent(
                    &given.label("oidc_issuer_url"),
                    "the type \"oidc\" wants the issuer: write it letter by letter as the provider calls itself",
                );
                "https://login.example.com".to_owned()
            });
            draft.provider.set("issuer", &toml_text::text(&issuer));
            all.push(issuer);
        }
        _ => {
            if issuer.is_some() {
                notes.needless(
                    &given.label("oidc_issuer_url"),
                    "this provider speaks no OpenID Connect",
                );
            }
        }
    }
    all.extend(single_addresses(given, known, draft, notes));
    if given.is_given("skip_oidc_discovery") {
        notes.needless(
            &given.label("skip_oidc_discovery"),
            "with authorize_url, token_url and jwks_url no document is read, and without it is read in the background",
        );
    }
    for (key, words) in [
        (
            "validate_url",
            "sessions are checked when they are refreshed, which every access token's end brings about",
        ),
        (
            "skip_claims_from_profile_url",
            "userinfo is asked only for what the ID token lacks and a list, a header or the login needs; `userinfo = false` for never",
        ),
    ] {
        let is_base = key == "validate_url" && known.theirs == "github";
        if given.is_given(key) && !is_base {
            notes.needless(&given.label(key), words);
        }
    }
    if let Some(url) = given.text("backend_logout_url") {
        logout(url, given, known, draft, notes);
    }
    all
}

/// Addresses that stand by themselves.
fn single_addresses(
    given: &Given,
    known: &Known,
    draft: &mut Draft,
    notes: &mut Notes,
) -> Vec<String> {
    let mut all = Vec::new();
    let base = (known.theirs == "github")
        .then(|| enterprise(given))
        .flatten();
    if let Some(base) = &base {
        draft.provider.set("base_url", &toml_text::text(base));
        all.push(base.clone());
        if given.is_given("validate_url") {
            notes.needless(
                &given.label("validate_url"),
                "`base_url` moves all of GitHub's addresses",
            );
        }
    } else if known.theirs == "github" && given.is_given("validate_url") {
        notes.needless(&given.label("validate_url"), "it is GitHub's own");
    }
    for (theirs, ours) in ADDRESSES {
        let Some(url) = given.text(theirs) else {
            continue;
        };
        let label = given.label(theirs);
        let of_base = base
            .as_ref()
            .is_some_and(|base| url.starts_with(base.as_str()));
        if of_base {
            notes.needless(&label, "`base_url` moves all of GitHub's addresses");
        } else if ours == "jwks_url"
            && !matches!(known.kind, "oidc" | "google" | "gitlab" | "microsoft")
        {
            notes.needless(&label, "this provider signs no tokens");
        } else if known.theirs == "keycloak" && given.text("oidc_issuer_url").is_none() {
            // The legacy provider's, from which the issuer was read.
            notes.needless(&label, "the issuer's own document says it");
        } else if Url::parse(url)
            .is_ok_and(|url| url.fragment().is_none() && url.username().is_empty())
        {
            draft.provider.set(ours, &toml_text::text(url));
            all.push(url.to_owned());
        } else {
            notes.absent(&label, "it is no address that could be called");
        }
    }
    default_addresses(given, known, draft, notes);
    all
}

/// Where a provider is that is only in oauth2-proxy's own list.
fn default_addresses(given: &Given, known: &Known, draft: &mut Draft, notes: &mut Notes) {
    let defaults: &[(&str, &str)] = match known.theirs {
        "bitbucket" => &[
            (
                "authorize_url",
                "https://bitbucket.org/site/oauth2/authorize",
            ),
            (
                "token_url",
                "https://bitbucket.org/site/oauth2/access_token",
            ),
            ("userinfo_url", "https://api.bitbucket.org/2.0/user"),
        ],
        "digitalocean" => &[
            (
                "authorize_url",
                "https://cloud.digitalocean.com/v1/oauth/authorize",
            ),
            ("token_url", "https://cloud.digitalocean.com/v1/oauth/token"),
            ("userinfo_url", "https://api.digitalocean.com/v2/account"),
        ],
        "nextcloud" => &[
            (
                "authorize_url",
                "https://cloud.example.com/index.php/apps/oauth2/authorize",
            ),
            (
                "token_url",
                "https://cloud.example.com/index.php/apps/oauth2/api/v1/token",
            ),
            (
                "userinfo_url",
                "https://cloud.example.com/ocs/v2.php/cloud/user?format=json",
            ),
        ],
        "sourcehut" => &[
            ("authorize_url", "https://meta.sr.ht/oauth2/authorize"),
            ("token_url", "https://meta.sr.ht/oauth2/access-token"),
            ("userinfo_url", "https://meta.sr.ht/api/user/profile"),
        ],
        _ => &[],
    };
    for (ours, url) in defaults {
        let theirs = ADDRESSES.iter().find(|(_, other)| other == ours);
        // Nextcloud's profile stands at what oauth2-proxy calls validate_url.
        let own = (known.theirs == "nextcloud" && *ours == "userinfo_url")
            .then(|| given.text("validate_url"))
            .flatten();
        if theirs.is_some_and(|(theirs, _)| given.text(theirs).is_some()) {
            continue;
        }
        if known.theirs == "nextcloud" && own.is_none() {
            notes.absent(ours, "the address is your own server's: write it");
        }
        draft
            .provider
            .set(ours, &toml_text::text(own.unwrap_or(url)));
    }
}

/// The Enterprise Server that GitHub's addresses are of.
fn enterprise(given: &Given) -> Option<String> {
    let url = given
        .text("login_url")
        .or_else(|| given.text("validate_url"))?;
    let url = Url::parse(url).ok()?;
    let is_public = matches!(url.host_str(), Some("github.com" | "api.github.com"));
    (!is_public).then(|| url.origin().ascii_serialization())
}

/// An issuer that oauth2-proxy was not told.
fn well_known(given: &Given, known: &Known) -> Option<String> {
    match known.theirs {
        // https://HOST/realms/NAME/protocol/openid-connect/auth
        "keycloak" => {
            let (issuer, _) = given
                .text("login_url")?
                .split_once("/protocol/openid-connect/")?;
            Some(issuer.to_owned())
        }
        "linkedin" => Some("https://www.linkedin.com/oauth".to_owned()),
        "login.gov" => Some("https://secure.login.gov/".to_owned()),
        _ => None,
    }
}

fn microsoft(
    given: &Given,
    issuer: Option<&str>,
    draft: &mut Draft,
    notes: &mut Notes,
) -> Option<String> {
    let of_many = |tenant: &str| matches!(tenant, "common" | "organizations" | "consumers");
    let tenant_of = |issuer: &str| {
        let rest = issuer
            .split_once("login.microsoftonline.com/")
            .or_else(|| issuer.split_once("sts.windows.net/"))
            .map(|(_, rest)| rest)?;
        Some(rest.split('/').next().unwrap_or_default().to_owned())
    };
    let tenant = given
        .text("azure_tenant")
        .map(str::to_owned)
        .filter(|tenant| !of_many(tenant))
        .or_else(|| issuer.and_then(tenant_of));
    if given.is_given("azure_tenant") && tenant.as_deref() != given.text("azure_tenant") {
        notes.needless(&given.label("azure_tenant"), "without an issuer accounts of any tenant can sign in, and `tenants` says which may pass");
    }
    match (tenant, issuer) {
        (Some(tenant), issuer) if !of_many(&tenant) => {
            let own = format!("https://login.microsoftonline.com/{tenant}/v2.0");
            if issuer.is_some_and(|issuer| issuer.trim_end_matches('/') != own) {
                notes.remind(
                    &given.label("oidc_issuer_url"),
                    "tokens are version 2.0's here: the issuer is that one's",
                );
            }
            draft.provider.set("issuer", &toml_text::text(&own));
            Some(own)
        }
        (None, Some(issuer)) => {
            draft.provider.set("issuer", &toml_text::text(issuer));
            Some(issuer.to_owned())
        }
        _ => {
            if issuer.is_some() {
                notes.needless(
                    &given.label("oidc_issuer_url"),
                    "without an issuer accounts of any tenant can sign in",
                );
            }
            None
        }
    }
}

/// The address that ends a session at the provider: the browser is sent there.
fn logout(url: &str, given: &Given, known: &Known, draft: &mut Draft, notes: &mut Notes) {
    let label = given.label("backend_logout_url");
    if !matches!(known.kind, "oidc" | "google" | "gitlab" | "microsoft") {
        notes.absent(&label, "this provider has no address that ends a session");
        return;
    }
    let bare = url.split(['?', '#']).next().unwrap_or(url);
    if Url::parse(bare).is_err() {
        notes.absent(
            &label,
            "it is no address: write end_session_url, where the issuer's document does not say it",
        );
        return;
    }
    draft
        .provider
        .set("end_session_url", &toml_text::text(bare));
    notes.remind(&label, "the browser is sent there at /oauth2/sign_out, with the ID token as a hint; the issuer's document says it, too");
}

fn client(given: &Given, draft: &mut Draft, notes: &mut Notes, errors: &mut Vec<String>) {
    match given.text("client_id") {
        Some(id) => draft.provider.set("client_id", &toml_text::text(id)),
        None => errors.push(
            "client_id is not given, and nobody can sign in without: is this all of the configuration?".to_owned(),
        ),
    }
    let secret = given.secret("client_secret", "client_secret_file");
    if let Some(secret) = &secret {
        draft.provider.set("client_secret", &secret.toml());
    }
    if given.text("client_secret").is_some() && given.is_given("client_secret_file") {
        notes.needless(
            &given.label("client_secret_file"),
            "oauth2-proxy reads it only without client_secret",
        );
    }
}

fn authorities(given: &Given, draft: &mut Draft, notes: &mut Notes) {
    let files = given.texts("provider_ca_files");
    match files {
        [] => {}
        [file] => draft.provider.set("ca", &toml_text::text(file)),
        [..] => notes.absent(
            &given.label("provider_ca_files"),
            "`ca` is one file: put all of them into one, and name it",
        ),
    }
    match given.flag("ssl_insecure_skip_verify") {
        Some(true) => notes.absent(
            &given.label("ssl_insecure_skip_verify"),
            "certificates are always checked: name the provider's authority in `ca`",
        ),
        Some(false) => notes.needless(
            &given.label("ssl_insecure_skip_verify"),
            "certificates are always checked",
        ),
        None => {}
    }
}

fn scopes(given: &Given, known: &Known, draft: &mut Draft) {
    let default = match known.theirs {
        "bitbucket" => Some("account email"),
        "digitalocean" => Some("read"),
        "sourcehut" => Some("meta.sr.ht/PROFILE:RO"),
        _ => None,
    };
    let Some(scope) = given.text("scope").or(default) else {
        return;
    };
    let scopes: Vec<&str> = scope.split_whitespace().collect();
    draft.provider.set("scopes", &toml_text::texts(&scopes));
}

/// Parameters that the login makes itself.
const OWN_PARAMETERS: [&str; 9] = [
    "state",
    "nonce",
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "code_challenge",
    "code_challenge_method",
];

fn parameters(
    given: &Given,
    login_parameters: &[(String, String)],
    draft: &mut Draft,
    notes: &mut Notes,
) {
    let mut parameters: Vec<(String, String)> = Vec::new();
    for (key, name) in [
        ("prompt", "prompt"),
        ("acr_values", "acr_values"),
        ("resource", "resource"),
        ("approval_prompt", "approval_prompt"),
    ] {
        let Some(value) = given.text(key) else {
            continue;
        };
        if key == "approval_prompt" && given.text("prompt").is_some() {
            notes.needless(
                &given.label(key),
                "oauth2-proxy does not send it beside `prompt`",
            );
            continue;
        }
        parameters.push((name.to_owned(), toml_text::text(value)));
    }
    for (name, value) in login_parameters {
        if OWN_PARAMETERS.contains(&name.as_str()) {
            notes.absent(
                &format!("loginURLParameters {name}"),
                "the login makes this parameter itself",
            );
        } else if parameters.iter().all(|(other, _)| other != name) {
            parameters.push((name.clone(), toml_text::text(value)));
        }
    }
    if !parameters.is_empty() {
        draft
            .provider
            .set("authorize_params", &toml_text::inline(&parameters));
    }
}

fn claims(given: &Given, known: &Known, draft: &mut Draft, notes: &mut Notes) {
    let mut claims: Vec<(String, String)> = Vec::new();
    let fixed: &[(&str, &str)] = match known.theirs {
        "bitbucket" => &[
            ("subject", "uuid"),
            ("user", "username"),
            ("name", "display_name"),
        ],
        "digitalocean" => &[
            ("subject", "account.uuid"),
            ("email", "account.email"),
            ("email_verified", "account.email_verified"),
        ],
        "nextcloud" => &[
            ("subject", "ocs.data.id"),
            ("user", "ocs.data.id"),
            ("email", "ocs.data.email"),
            ("groups", "ocs.data.groups"),
        ],
        "sourcehut" => &[
            ("subject", "canonical_name"),
            ("user", "name"),
            ("email", "email"),
        ],
        _ => &[],
    };
    for (ours, path) in fixed {
        claims.push(((*ours).to_owned(), toml_text::text(path)));
    }
    let takes_claims = matches!(known.kind, "oidc" | "google" | "gitlab" | "microsoft");
    // The older name of the same option, where the newer one says nothing else than its default.
    let is_default = |key| given.text(key).is_none_or(|claim| claim == "email");
    let email = if is_default("oidc_email_claim") && !is_default("user_id_claim") {
        Some("user_id_claim")
    } else {
        given.text("oidc_email_claim").map(|_| "oidc_email_claim")
    };
    for key in ["oidc_email_claim", "user_id_claim"] {
        if given.is_given(key) && (!takes_claims || email != Some(key) || is_default(key)) {
            notes.needless(&given.label(key), "the address is `email`, or oauth2-proxy does not read this option beside the others");
        }
    }
    if let Some(key) = email
        && let Some(claim) = given.text(key)
        && takes_claims
        && claim != "email"
    {
        claims.push(("email".to_owned(), toml_text::text(claim)));
        notes.remind(
            &given.label(key),
            "an address counts only if the provider verifies it: name the claim in claims.email_verified (docs/providers/README.md)",
        );
    }
    if let Some(claim) = given.text("oidc_groups_claim") {
        if takes_claims && claim != "groups" {
            claims.push(("groups".to_owned(), toml_text::text(claim)));
        } else {
            notes.needless(
                &given.label("oidc_groups_claim"),
                "groups are taken from `groups`, or where the type has them",
            );
        }
    }
    if !claims.is_empty() {
        draft.provider.set("claims", &toml_text::inline(&claims));
    }
    match known.theirs {
        "bitbucket" => notes.absent("provider", "Bitbucket tells addresses at an endpoint of its own, which the type \"oauth2\" does not ask: write lists of `users` or `claims`"),
        "nextcloud" => notes.remind("provider", "Nextcloud does not say that an address is verified: lists of `emails` and `domains` let nobody pass; take `groups` or `users`"),
        "sourcehut" => notes.absent("provider", "SourceHut tells who somebody is by GraphQL, which the type \"oauth2\" does not speak: its old profile is asked, and may be gone"),
        "login.gov" => notes.absent("provider", "login.gov wants clients that sign a token; here a client proves itself by a secret"),
        "linkedin" => notes.remind("provider", "LinkedIn's OpenID Connect is asked: add the product \"Sign In with LinkedIn using OpenID Connect\" to the app there"),
        _ => {}
    }
}

fn callback(place: &Place, draft: &mut Draft, notes: &mut Notes) {
    let name = &draft.provider_name;
    let Place {
        prefix,
        public_url,
        callback_path,
        ..
    } = place;
    if let Some(path) = callback_path {
        draft.provider.set("callback_path", &toml_text::text(path));
        return;
    }
    notes.remind(
        "redirect_url",
        &format!(
            "register {public_url}{prefix}/callback/{name} at the provider, beside the old address"
        ),
    );
}
