//! Translates oauth2-proxy's restrictions into the provider's `allow`, or `any` of its routes.

use std::path::Path;

use super::{ReadFile, draft::Draft, given::Given, notes::Notes, provider::Provider, toml_text};

/// A list of `allow`, and its entries; those under `claims.` are lists of a claim.
type List = (String, Vec<String>);

/// Lists of which one has to fit.
type Clause = Vec<List>;

/// Nobody has it: the domain is for what is never there (RFC 2606 §2).
const NOBODY: &str = "nobody@example.invalid";

/// Writes `allow`. What it cannot say is given back: tables for `any` of every route that asks who is there.
pub(super) fn translate(
    given: &Given,
    provider: &Provider,
    read: ReadFile<'_>,
    draft: &mut Draft,
    notes: &mut Notes,
    errors: &mut Vec<String>,
) -> Vec<String> {
    let mut clauses: Vec<Clause> = Vec::new();
    clauses.extend(vouched(
        addresses(given, read, notes, errors),
        provider,
        notes,
    ));
    match provider.theirs.as_str() {
        "github" => clauses.extend(github(given, notes)),
        _ => clauses.extend(groups(given, provider, draft, notes)),
    }
    let tenants = given.texts("entra_id_allowed_tenants");
    if !tenants.is_empty() && provider.theirs == "entra-id" {
        clauses.push(vec![("tenants".to_owned(), tenants.to_vec())]);
    }
    clauses.extend(closed(given, provider, notes));
    foreign(given, provider, notes);
    let is_plain = clauses.iter().all(|clause| clause.len() == 1) && !repeats(&clauses);
    if clauses.is_empty() {
        draft.provider.set("allow", "\"anyone\"");
        if provider.kind == "microsoft"
            && given.text("azure_tenant").is_none_or(|t| t == "common")
            && given
                .text("oidc_issuer_url")
                .is_none_or(|issuer| issuer.contains("/common"))
        {
            notes.remind("allow", "accounts of any tenant pass, as with oauth2-proxy: name your tenant in `issuer`, or yours in allow = { tenants = […] }");
        }
        return Vec::new();
    }
    if is_plain {
        let lists: Vec<&List> = clauses.iter().flatten().collect();
        draft.provider.set("allow", &table(&lists));
        return Vec::new();
    }
    draft
        .provider
        .comment("Whoever can sign in there may do so; the routes below say who passes.");
    draft.provider.set("allow", "\"anyone\"");
    // One of each clause, in every combination.
    let mut all: Vec<Vec<&List>> = vec![Vec::new()];
    for clause in &clauses {
        all = all
            .iter()
            .flat_map(|before| {
                clause.iter().map(move |list| {
                    let mut lists = before.clone();
                    lists.push(list);
                    lists
                })
            })
            .collect();
    }
    all.iter().map(|lists| table(lists)).collect()
}

/// Lets nobody pass, at any provider: no answer has such a claim.
fn nobody() -> Clause {
    vec![("claims.nobody".to_owned(), vec![NOBODY.to_owned()])]
}

/// Lists of addresses, where the provider vouches for any.
fn vouched(clause: Option<Clause>, provider: &Provider, notes: &mut Notes) -> Option<Clause> {
    let vouches = !matches!(
        provider.theirs.as_str(),
        "bitbucket" | "facebook" | "nextcloud" | "sourcehut"
    );
    let clause = clause?;
    if vouches {
        return Some(clause);
    }
    notes.absent(
        "email_domains",
        "this provider vouches for no address: nobody passes until `allow` has other lists",
    );
    Some(nobody())
}

/// Whether two clauses ask for the same list.
fn repeats(clauses: &[Clause]) -> bool {
    let keys: Vec<&str> = clauses
        .iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect();
    (1..keys.len()).any(|place| keys[..place].contains(&keys[place]))
}

/// Lists that must all fit, as an inline table.
fn table(lists: &[&List]) -> String {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut claims: Vec<(String, String)> = Vec::new();
    for (place, list) in lists.iter().copied().enumerate() {
        // Nobody twice is nobody.
        if lists[..place].contains(&list) {
            continue;
        }
        let (key, entries) = list;
        let entries = toml_text::texts(entries);
        match key.strip_prefix("claims.") {
            Some(path) => claims.push((path.to_owned(), entries)),
            None => pairs.push((key.clone(), entries)),
        }
    }
    if !claims.is_empty() {
        pairs.push(("claims".to_owned(), toml_text::inline(&claims)));
    }
    toml_text::inline(&pairs)
}

/// Domains or single addresses: oauth2-proxy lets pass whom either names.
fn addresses(
    given: &Given,
    read: ReadFile<'_>,
    notes: &mut Notes,
    errors: &mut Vec<String>,
) -> Option<Clause> {
    let domains = given.texts("email_domains");
    let file = given.text("authenticated_emails_file");
    if domains.is_empty() && file.is_none() {
        if given.text("htpasswd_file").is_some() {
            notes.absent(
                "email_domains",
                "none is given, so nobody can sign in at the provider until you write `allow`",
            );
            return Some(nobody());
        }
        errors.push(
            "neither email_domains nor authenticated_emails_file is given, and oauth2-proxy does not start without: is this all of the configuration?"
                .to_owned(),
        );
        return None;
    }
    if domains.iter().any(|domain| domain.trim() == "*") {
        if file.is_some() {
            notes.needless(
                &given.label("authenticated_emails_file"),
                "email_domains lets everybody pass",
            );
        }
        return None;
    }
    let mut known: Vec<String> = Vec::new();
    for domain in domains {
        let lower = domain.trim().trim_start_matches('@').to_ascii_lowercase();
        let domain = match lower.strip_prefix("*.") {
            Some(below) => format!(".{below}"),
            None => lower,
        };
        if is_domain(&domain) {
            known.push(domain);
        } else {
            notes.absent(
                &format!("{} {domain}", given.label("email_domains")),
                "it is no domain that allow.domains could name",
            );
        }
    }
    let mut emails = file.map_or_else(Vec::new, |file| addresses_in(file, given, read, notes));
    let count = emails.len();
    emails.retain(|email| !known.iter().any(|domain| covers(domain, email)));
    let label = given.label("authenticated_emails_file");
    if !emails.is_empty() {
        notes.remind(
            &label,
            "its addresses are in `emails` now: change them there. The gate reads its configuration again when that changes",
        );
    } else if count > 0 {
        notes.needless(&label, "email_domains lets all its addresses pass");
    }
    let mut clause = Vec::new();
    if !known.is_empty() {
        clause.push(("domains".to_owned(), known));
    }
    if !emails.is_empty() {
        clause.push(("emails".to_owned(), emails));
    }
    if clause.is_empty() {
        clause.extend(nobody());
    }
    Some(clause)
}

fn is_domain(domain: &str) -> bool {
    let name = domain.strip_prefix('.').unwrap_or(domain);
    !name.is_empty()
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// Whether whoever has `email` is of `domain` already.
fn covers(domain: &str, email: &str) -> bool {
    let Some((_, of)) = email.rsplit_once('@') else {
        return false;
    };
    if domain.starts_with('.') {
        of.ends_with(domain)
    } else {
        of == domain
    }
}

fn addresses_in(file: &str, given: &Given, read: ReadFile<'_>, notes: &mut Notes) -> Vec<String> {
    let label = given.label("authenticated_emails_file");
    let content = match read(Path::new(file)) {
        Ok(content) => content,
        Err(error) => {
            notes.absent(
                &label,
                &format!(
                    "the file cannot be read here ({error}): write its addresses into `emails`"
                ),
            );
            return Vec::new();
        }
    };
    let mut emails = Vec::new();
    for (number, line) in content.lines().enumerate() {
        let line = line.trim().trim_matches('"').to_ascii_lowercase();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let is_address = line.split_once('@').is_some_and(|(name, domain)| {
            !name.is_empty() && is_domain(domain) && !name.contains(char::is_whitespace)
        });
        if is_address {
            if !emails.contains(&line) {
                emails.push(line);
            }
        } else {
            notes.absent(
                &format!("{label}, line {}", number + 1),
                "this is not an address, and is left out",
            );
        }
    }
    emails
}

/// Organisations and teams; single users pass without either.
fn github(given: &Given, notes: &mut Notes) -> Option<Clause> {
    let org = given.text("github_org");
    let mut clause: Clause = Vec::new();
    let mut teams = Vec::new();
    for team in given
        .text("github_team")
        .into_iter()
        .flat_map(|teams| teams.split(','))
    {
        let team = team.trim();
        match (team.split_once([':', '/']), org) {
            (Some((org, team)), _) => teams.push(format!("{org}/{team}")),
            (None, Some(org)) => teams.push(format!("{org}/{team}")),
            (None, None) => notes.absent(
                &format!("{} {team}", given.label("github_team")),
                "a team is named with its organisation: \"org/team\"",
            ),
        }
    }
    let mut orgs: Vec<String> = Vec::new();
    for group in given.texts("allowed_groups") {
        match group.split_once(':') {
            Some((org, team)) => teams.push(format!("{org}/{team}")),
            None => orgs.push(group.clone()),
        }
    }
    let is_narrowed = given.text("github_team").is_some();
    if let Some(org) = org {
        if is_narrowed {
            notes.needless(
                &given.label("github_org"),
                "who is in one of its teams is in it",
            );
        } else {
            orgs.push(org.to_owned());
        }
    }
    if !teams.is_empty() {
        clause.push(("teams".to_owned(), teams));
    }
    if !orgs.is_empty() {
        clause.push(("orgs".to_owned(), orgs));
    }
    if clause.is_empty() && is_narrowed {
        clause.extend(nobody());
    }
    let users = given.texts("github_users");
    if !users.is_empty() {
        clause.push(("users".to_owned(), users.to_vec()));
    }
    // The one is asked at the login, the other of each request, and they may name the same list.
    let is_asked_at_login = org.is_some() || is_narrowed || !users.is_empty();
    if is_asked_at_login && !given.texts("allowed_groups").is_empty() {
        notes.absent(
            &given.label("allowed_groups"),
            "both this and github_org, github_team or github_users must hold, which one `allow` cannot say: nobody passes until you write it \
             as routes with `allow`",
        );
        return Some(nobody());
    }
    (!clause.is_empty()).then_some(clause)
}

/// Options that name groups, and the providers that heed them; an empty list is for all.
const GROUPS: [(&str, &[&str]); 6] = [
    ("allowed_groups", &[]),
    ("keycloak_groups", &["keycloak", "keycloak-oidc"]),
    ("gitlab_groups", &["gitlab"]),
    ("google_group", &["google"]),
    ("google_groups", &["google"]),
    ("allowed_roles", &["keycloak-oidc"]),
];

/// Whoever is in one of them passes, however they were named.
fn groups(
    given: &Given,
    provider: &Provider,
    draft: &mut Draft,
    notes: &mut Notes,
) -> Option<Clause> {
    let mut groups: Vec<String> = Vec::new();
    let mut clause: Clause = Vec::new();
    for (key, providers) in GROUPS {
        let counts = providers.is_empty() || providers.contains(&&*provider.theirs);
        if !counts {
            continue;
        }
        for group in given.texts(key) {
            if key == "allowed_roles" {
                role(group, &mut clause);
            } else if let Some(role_name) = group.strip_prefix("role:") {
                role(role_name, &mut clause);
            } else if !groups.contains(group) {
                groups.push(group.clone());
            }
        }
    }
    if !clause.is_empty() {
        // A default Keycloak has its roles in the access token alone.
        draft.provider.set(
            "claims_from",
            &toml_text::texts(&["id_token", "userinfo", "access_token"]),
        );
    }
    if !groups.is_empty() {
        if matches!(
            provider.theirs.as_str(),
            "facebook" | "bitbucket" | "digitalocean" | "sourcehut"
        ) {
            notes.absent(
                &given.label("allowed_groups"),
                "this provider tells no groups: nobody passes until `allow` says who may",
            );
            clause.extend(nobody());
        } else {
            clause.insert(0, ("groups".to_owned(), groups));
        }
    }
    (!clause.is_empty()).then_some(clause)
}

/// A realm's role, or `CLIENT:ROLE`.
fn role(role: &str, clause: &mut Clause) {
    let (path, role) = match role.split_once(':') {
        Some((client, role)) => (format!("claims.resource_access.{client}.roles"), role),
        None => ("claims.realm_access.roles".to_owned(), role),
    };
    match clause.iter_mut().find(|(key, _)| *key == path) {
        Some((_, roles)) => roles.push(role.to_owned()),
        None => clause.push((path, vec![role.to_owned()])),
    }
}

/// What narrows at oauth2-proxy and cannot be said here must not widen.
fn closed(given: &Given, provider: &Provider, notes: &mut Notes) -> Option<Clause> {
    let mut is_closed = false;
    for (key, of, instead) in [
        (
            "github_repo",
            "github",
            "who may write to a repository is not asked: write `orgs`, `teams` or `users`",
        ),
        (
            "gitlab_projects",
            "gitlab",
            "projects are not asked for: write `groups`",
        ),
        (
            "bitbucket_team",
            "bitbucket",
            "teams are not asked for: write `users` or `claims`",
        ),
        (
            "bitbucket_repository",
            "bitbucket",
            "repositories are not asked for: write `users` or `claims`",
        ),
    ] {
        let is_there = given.text(key).is_some() || !given.texts(key).is_empty();
        if is_there && provider.theirs == of {
            // Those in the lists pass at oauth2-proxy without it.
            let has_others = (key == "github_repo" && !given.texts("github_users").is_empty())
                || (key == "gitlab_projects" && !given.texts("gitlab_groups").is_empty());
            let words = format!(
                "{instead}. {}",
                if has_others {
                    "Only those whom the other lists name pass"
                } else {
                    "Nobody passes until `allow` says who may"
                }
            );
            notes.absent(&given.label(key), &words);
            is_closed |= !has_others;
        }
    }
    is_closed.then(nobody)
}

/// Options of providers that this one is not.
fn foreign(given: &Given, provider: &Provider, notes: &mut Notes) {
    for (key, of) in [
        ("allowed_roles", &["keycloak-oidc"][..]),
        ("keycloak_groups", &["keycloak", "keycloak-oidc"]),
        ("gitlab_groups", &["gitlab"]),
        ("gitlab_projects", &["gitlab"]),
        ("google_group", &["google"]),
        ("google_groups", &["google"]),
        ("github_org", &["github"]),
        ("github_team", &["github"]),
        ("github_repo", &["github"]),
        ("github_users", &["github"]),
        ("bitbucket_team", &["bitbucket"]),
        ("bitbucket_repository", &["bitbucket"]),
        ("entra_id_allowed_tenants", &["entra-id"]),
        ("azure_tenant", &["azure", "entra-id"]),
    ] {
        if given.is_given(key) && !of.contains(&&*provider.theirs) {
            let words = format!(
                "oauth2-proxy does not read it for the provider {}",
                provider.theirs
            );
            notes.needless(&given.label(key), &words);
        }
    }
}
