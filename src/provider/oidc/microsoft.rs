//! Microsoft Entra ID, for one tenant or many. An issuer for many tenants has a placeholder in its document; the token says which tenant a
//! user belongs to.
//!
//! The tenant's administrator can write any address and name for an account. So an address counts only if Entra says that the owner of its
//! domain is verified, and the id of a user is the tenant's id with the object's.

use serde_json::{Map, Value};

use super::{
    super::{ProviderError, kind::ConfigIssue, oauth::ClientAuthentication},
    vendor_profile::{Reported, VendorProfile},
};
use crate::{access::Allow, jose::JwtError, provider::settings::ProviderSettings, text::Text};

pub(super) const PROFILE: VendorProfile = VendorProfile {
    publishes,
    issues,
    bearer_issues,
    read,
    subject: SUBJECT,
    // Userinfo has an address too, and no word on whether it is verified.
    not_in_userinfo: &["email", "email_verified", "groups", SUBJECT],
    authentication: Some(ClientAuthentication::Post),
    switch_prompt: Some("select_account"),
    // Their documents have `prompt=login`, and nothing of `max_age`.
    ignores_max_age: true,
    ..VendorProfile::STANDARD
};

/// Ours: tenant and object joined, or `sub` where the token has no object, which takes `profile`.
const SUBJECT: &str = "tid.oid";

/// Stands for the tenant in the issuer of a document that is many tenants'.
const PLACEHOLDER: &str = "{tenantid}";

/// The tenant of all personal accounts.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// The configured tenant may be a name where the document has its id, or the placeholder.
fn publishes(configured: &str, published: &str) -> bool {
    if configured == published {
        return true;
    }
    let (Some(ours), Some(theirs)) = (Issuer::read(configured), Issuer::read(published)) else {
        return false;
    };
    let tenant_fits = match ours.tenant {
        "common" | "organizations" => theirs.tenant == PLACEHOLDER,
        "consumers" => theirs.tenant == CONSUMERS,
        domain if domain.contains('.') => is_guid(theirs.tenant),
        _ => false,
    };
    ours.authority == theirs.authority && tenant_fits
}

/// The placeholder stands for any tenant; which ones may pass, the allow list says.
fn issues(published: &str, iss: &str) -> bool {
    match (Issuer::read(published), Issuer::read(iss)) {
        // The placeholder itself is nobody's name.
        (Some(ours), Some(theirs)) if ours.tenant == PLACEHOLDER => {
            ours.authority == theirs.authority && is_guid(theirs.tenant)
        }
        _ => published == iss && !published.contains(PLACEHOLDER),
    }
}

/// Whichever endpoint it came from, an access token is of the version that its app has set. In version 1.0 the same tenant
/// has another name, and signs with the same keys.
fn bearer_issues(published: &str, iss: &str) -> bool {
    let of_tenant = |tenant: &str| {
        let ours = Issuer::read(published).map(|issuer| issuer.tenant);
        is_guid(tenant) && ours.is_some_and(|ours| ours == tenant || ours == PLACEHOLDER)
    };
    issues(published, iss) || first_version(iss).is_some_and(of_tenant)
}

/// The tenant of an issuer of version 1.0.
fn first_version(iss: &str) -> Option<&str> {
    let mut authorities = FIRST_VERSION.iter();
    let rest = authorities.find_map(|authority| iss.strip_prefix(authority))?;
    rest.strip_suffix('/')
}

const FIRST_VERSION: [&str; 2] = ["https://sts.windows.net/", "https://sts.chinacloudapi.cn/"];

/// `AUTHORITY/TENANT/v2.0`
struct Issuer<'a> {
    authority: &'a str,
    tenant: &'a str,
}

impl<'a> Issuer<'a> {
    fn read(issuer: &'a str) -> Option<Self> {
        let (authority, tenant) = issuer.strip_suffix("/v2.0")?.rsplit_once('/')?;
        Some(Self { authority, tenant })
    }
}

fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn read(token: &mut Map<String, Value>) -> Result<Reported, ProviderError> {
    let guid = |name: &str| {
        let text = token.get(name).and_then(Value::as_str)?;
        is_guid(text).then(|| text.to_ascii_lowercase())
    };
    let iss = token.get("iss").and_then(Value::as_str);
    let issuing = iss
        .and_then(|iss| {
            let issuer = Issuer::read(iss).map(|issuer| issuer.tenant);
            issuer.or_else(|| first_version(iss))
        })
        .filter(|tenant| is_guid(tenant))
        .map(str::to_ascii_lowercase);
    let (tenant, object) = (guid("tid"), guid("oid"));
    // One tenant's token must not speak of another: the substitution of `tid` for the placeholder.
    if issuing.is_some() && issuing != tenant {
        return Err(JwtError::Issuer.into());
    }
    let subject = match (&tenant, &object) {
        (Some(tenant), Some(object)) => Some(Value::String(format!("{tenant}.{object}"))),
        _ => token.get("sub").cloned(),
    };
    let vouched = token.get("xms_edov").is_some_and(is_vouched);
    token.insert("email_verified".to_owned(), Value::Bool(vouched));
    // What version 1.0 calls it.
    if let (None, Some(name)) = (token.get("preferred_username"), token.get("upn").cloned()) {
        token.insert("preferred_username".to_owned(), name);
    }
    token.extend(subject.map(|subject| (SUBJECT.to_owned(), subject)));
    let tenant = tenant.map(|tenant| (Text::from("tenants"), Text::from(tenant)));
    Ok(tenant.into_iter().collect())
}

/// Truth in the spellings that were seen.
fn is_vouched(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_u64() == Some(1),
        Value::String(text) => text == "1" || text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// Where any tenant's users can sign in, lists of anything else are lists of what strangers may call
/// themselves.
pub(in crate::provider) fn check(config: &ProviderSettings) -> Vec<ConfigIssue> {
    let mut objections = Vec::new();
    let issuer = config.endpoint("issuer").and_then(Issuer::read);
    let is_open = issuer.is_some_and(|issuer| {
        let is_named = is_guid(issuer.tenant) || issuer.tenant.contains('.');
        !is_named || issuer.tenant.eq_ignore_ascii_case(CONSUMERS)
    });
    let tenants = config
        .allow
        .lists()
        .iter()
        .find(|list| list.key == "tenants");
    if is_open && config.allow != Allow::Anyone && tenants.is_none() {
        objections.push(ConfigIssue {
            key: "allow",
            problem: "people of any tenant can sign in at this issuer, and `allow` names no tenants",
            hint: "add tenants = [\"TENANT_ID\"], or name one tenant in the issuer: \
                   \"https://login.microsoftonline.com/TENANT_ID/v2.0\"",
        });
    }
    if tenants.is_some_and(|list| !list.entries.iter().all(|entry| is_guid(entry))) {
        objections.push(ConfigIssue {
            key: "allow",
            problem: "`tenants` are known by their ids, not by their names",
            hint: "as in tenants = [\"11111111-2222-3333-4444-555555555555\"]",
        });
    }
    objections
}

#[cfg(test)]
mod tests;
