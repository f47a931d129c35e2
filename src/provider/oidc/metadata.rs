//! Turns a discovery document (OpenID Connect Discovery 1.0 §3) into [`Metadata`], or refuses it. Pure.

use serde_json::Value;
use url::Url;

use super::super::{
    http::{Internal, PlainHttp, endpoint_url},
    oauth::ClientAuthentication,
};
use crate::jose::Algorithm;

/// What a provider publishes about itself, as far as we use it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// What the provider calls itself: the configured issuer, but for vendors who do otherwise.
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) jwks_uri: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    pub(super) end_session_endpoint: Option<Url>,
    pub(super) revocation_endpoint: Option<Url>,
    /// Where it can be asked about tokens (RFC 7662).
    pub(super) introspection_endpoint: Option<Url>,
    /// What ID tokens may be signed with: the provider's list and ours. Never empty.
    pub(super) algorithms: Vec<Algorithm>,
    /// What answers about tokens may be signed with (RFC 9701 §7); the same where the provider does not say.
    pub(super) answer_algorithms: Vec<Algorithm>,
    pub(super) authentication: ClientAuthentication,
    /// `iss` comes with every authorization response (RFC 9207 §3).
    pub(super) sends_iss: bool,
    /// The value of `prompt` that offers another account.
    pub(super) switch_prompt: Option<&'static str>,
    /// The claims that the provider says it knows; none where it does not say.
    pub(super) claims: Option<Vec<String>>,
    /// The scopes that the provider says it knows; none where it does not say.
    pub(super) scopes: Option<Vec<String>>,
    /// The grants that the provider says it knows; none where it does not say. No login depends on it.
    pub(super) grants: Option<Vec<String>>,
}

/// What a document is read with.
pub(super) struct Reader<'a> {
    /// Whether the document may call its issuer so.
    pub(super) is_ours: &'a dyn Fn(&str) -> bool,
    /// Addresses that the configuration sets by themselves, by their keys.
    pub(super) endpoints: &'a [(&'static str, Url)],
    /// Where the document may lead in plain http.
    pub(super) plain: PlainHttp,
    /// Whether people sign in there. An issuer that gives tokens alone need not have the places for that.
    pub(super) is_for_login: bool,
    /// Where the provider is in the operator's network.
    pub(super) internal: Option<&'a Internal>,
}

impl Metadata {
    /// Whether the provider could know a standard claim.
    pub(super) fn may_have(&self, claim: &str) -> bool {
        self.claims
            .as_ref()
            .is_none_or(|claims| claims.iter().any(|known| known == claim))
    }

    /// What the configuration alone says, where it says all that a login takes; the rest is as the standard has it where
    /// a document is silent.
    pub(super) fn configured(
        issuer: &str,
        endpoints: &[(&'static str, Url)],
        is_for_login: bool,
    ) -> Option<Self> {
        let set = |member: &Member| member.set(endpoints);
        let for_login = |member: &Member| set(member).or_else(|| unused(is_for_login, issuer));
        Some(Self {
            issuer: issuer.to_owned(),
            authorization_endpoint: for_login(&AUTHORIZATION)?,
            token_endpoint: for_login(&TOKEN)?,
            jwks_uri: set(&KEYS)?,
            userinfo_endpoint: set(&USERINFO),
            end_session_endpoint: set(&END_SESSION),
            revocation_endpoint: set(&REVOCATION),
            introspection_endpoint: set(&INTROSPECTION),
            // A key fits one kind of them, and often says which one.
            algorithms: Algorithm::ALL.to_vec(),
            answer_algorithms: Algorithm::ALL.to_vec(),
            authentication: authentication(None),
            sends_iss: false,
            switch_prompt: switch_prompt(None),
            claims: None,
            scopes: None,
            grants: None,
        })
    }

    /// Reads a document. The error says what is wrong with it.
    pub(super) fn read(document: &Value, reader: &Reader<'_>) -> Result<Self, &'static str> {
        if !document.is_object() {
            return Err("not a discovery document");
        }
        let issuer = text(document, &ISSUER)?.ok_or(ISSUER.missing)?;
        // §4.3: another issuer's document would let that issuer sign in users.
        if !(reader.is_ours)(issuer) {
            return Err("issuer is not the configured one");
        }
        let optional = |member: &Member| reader.endpoint(document, member);
        let required = |member: &Member| optional(member)?.ok_or(member.missing);
        let for_login = |member: &Member| {
            let found = optional(member)?.or_else(|| unused(reader.is_for_login, issuer));
            found.ok_or(member.missing)
        };
        // Where browsers go, whatever name the document has for it.
        let outside = |url: Url| match reader.internal.and_then(|inside| inside.outside(&url)) {
            Some(public) => public,
            None => url,
        };
        let types = texts(document, &RESPONSE_TYPES)?;
        let types = match types {
            Some(types) => types,
            None if !reader.is_for_login => Vec::new(),
            None => return Err(RESPONSE_TYPES.missing),
        };
        if reader.is_for_login && !types.iter().any(|kind| kind == "code") {
            return Err("response_types_supported lacks code");
        }
        let known = |names: &[String]| -> Vec<Algorithm> {
            let names = names.iter();
            names.filter_map(|name| Algorithm::named(name)).collect()
        };
        let algorithms = known(&texts(document, &SIGNING)?.ok_or(SIGNING.missing)?);
        if algorithms.is_empty() {
            return Err(
                "id_token_signing_alg_values_supported has no asymmetric algorithm we know",
            );
        }
        // No login depends on it.
        let answers = texts(document, &ANSWER_SIGNING).ok().flatten();
        let methods = texts(document, &AUTH_METHODS)?;
        let prompts = texts(document, &PROMPTS)?;
        Ok(Self {
            issuer: issuer.to_owned(),
            authorization_endpoint: outside(for_login(&AUTHORIZATION)?),
            token_endpoint: for_login(&TOKEN)?,
            jwks_uri: required(&KEYS)?,
            userinfo_endpoint: optional(&USERINFO)?,
            end_session_endpoint: optional(&END_SESSION)?.map(outside),
            revocation_endpoint: optional(&REVOCATION)?,
            introspection_endpoint: optional(&INTROSPECTION)?,
            answer_algorithms: answers.map_or_else(|| algorithms.clone(), |names| known(&names)),
            algorithms,
            authentication: authentication(methods.as_deref()),
            sends_iss: document.get("authorization_response_iss_parameter_supported")
                == Some(&Value::Bool(true)),
            switch_prompt: switch_prompt(prompts.as_deref()),
            claims: texts(document, &CLAIMS)?,
            scopes: texts(document, &SCOPES)?,
            grants: texts(document, &GRANTS).ok().flatten(),
        })
    }
}

impl Reader<'_> {
    /// The operator's address, or the document's.
    fn endpoint(&self, document: &Value, member: &Member) -> Result<Option<Url>, &'static str> {
        if let Some(url) = member.set(self.endpoints) {
            return Ok(Some(url));
        }
        let Some(text) = text(document, member)? else {
            return Ok(None);
        };
        // The operator has named the place in the network, and how it is spoken to there.
        let is_internal = |url: &Url| {
            self.internal
                .is_some_and(|place| place.outside(url).is_some())
        };
        endpoint_url(text, self.plain)
            .or_else(|| endpoint_url(text, PlainHttp::Anywhere).filter(is_internal))
            .map(Some)
            .ok_or(member.forbidden)
    }
}

/// A member of the document, and what may be wrong with it.
struct Member {
    name: &'static str,
    /// The key that sets it instead; empty where none does.
    key: &'static str,
    missing: &'static str,
    wrong: &'static str,
    forbidden: &'static str,
}

impl Member {
    fn set(&self, endpoints: &[(&'static str, Url)]) -> Option<Url> {
        let mut endpoints = endpoints.iter();
        endpoints.find_map(|(key, url)| (*key == self.key).then(|| url.clone()))
    }
}

macro_rules! member {
    ($name:literal, $wanted:literal) => {
        member!($name, $wanted, "")
    };
    ($name:literal, $wanted:literal, $key:literal) => {
        Member {
            name: $name,
            key: $key,
            missing: concat!("the document has no ", $name),
            wrong: concat!($name, " is not ", $wanted),
            forbidden: concat!(
                $name,
                " is not an https address; name one by ",
                $key,
                ", or allow plain http by insecure_http"
            ),
        }
    };
}

const ISSUER: Member = member!("issuer", "text");
const AUTHORIZATION: Member = member!("authorization_endpoint", "text", "authorize_url");
const TOKEN: Member = member!("token_endpoint", "text", "token_url");
const KEYS: Member = member!("jwks_uri", "text", "jwks_url");
const USERINFO: Member = member!("userinfo_endpoint", "text", "userinfo_url");
const END_SESSION: Member = member!("end_session_endpoint", "text", "end_session_url");
const REVOCATION: Member = member!("revocation_endpoint", "text", "revocation_url");
const INTROSPECTION: Member = member!("introspection_endpoint", "text", "introspection_url");
const RESPONSE_TYPES: Member = member!("response_types_supported", "a list of texts");
const SIGNING: Member = member!("id_token_signing_alg_values_supported", "a list of texts");
const ANSWER_SIGNING: Member = member!(
    "introspection_signing_alg_values_supported",
    "a list of texts"
);
const AUTH_METHODS: Member = member!("token_endpoint_auth_methods_supported", "a list of texts");
const PROMPTS: Member = member!("prompt_values_supported", "a list of texts");
const CLAIMS: Member = member!("claims_supported", "a list of texts");
const SCOPES: Member = member!("scopes_supported", "a list of texts");
const GRANTS: Member = member!("grant_types_supported", "a list of texts");

/// What stands for a place that only a login needs, where nobody signs in: the issuer, which nobody is sent to.
fn unused(is_for_login: bool, issuer: &str) -> Option<Url> {
    (!is_for_login).then(|| Url::parse(issuer).ok()).flatten()
}

/// Text, where it is there.
fn text<'d>(document: &'d Value, member: &Member) -> Result<Option<&'d str>, &'static str> {
    match document.get(member.name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(member.wrong),
    }
}

/// A list of texts, where it is there.
fn texts(document: &Value, member: &Member) -> Result<Option<Vec<String>>, &'static str> {
    match document.get(member.name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => {
            let text = |item: &Value| item.as_str().map(str::to_owned);
            let texts: Option<Vec<String>> = items.iter().map(text).collect();
            texts.map(Some).ok_or(member.wrong)
        }
        Some(_) => Err(member.wrong),
    }
}

/// Basic is the default (§3), and wins where both are offered.
fn authentication(methods: Option<&[String]>) -> ClientAuthentication {
    let offers =
        |name: &str| methods.is_none_or(|methods| methods.iter().any(|method| method == name));
    if !offers("client_secret_basic") && offers("client_secret_post") {
        ClientAuthentication::Post
    } else {
        ClientAuthentication::Basic
    }
}

/// Choosing an account is what is wanted; signing in anew is the next best. A value that a provider
/// does not list may be an error there.
fn switch_prompt(values: Option<&[String]>) -> Option<&'static str> {
    let Some(values) = values else {
        return Some("select_account");
    };
    ["select_account", "login"]
        .into_iter()
        .find(|wanted| values.iter().any(|value| value == wanted))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://id.example.com/";

    fn document() -> Value {
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://id.example.com/authorize",
            "token_endpoint": "https://id.example.com/token",
            "jwks_uri": "https://keys.example.net/keys",
            "response_types_supported": ["code", "code id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["HS256", "none", "RS256", "XS1", "ES256"],
        })
    }

    fn reader() -> Reader<'static> {
        Reader {
            is_ours: &|published| published == ISSUER,
            endpoints: &[],
            plain: PlainHttp::Never,
            is_for_login: true,
            internal: None,
        }
    }

    fn laid_over(members: &Value) -> Value {
        let mut document = document();
        for (name, value) in members.as_object().unwrap() {
            document[name] = value.clone();
        }
        document
    }

    fn read(document: &Value) -> Result<Metadata, &'static str> {
        Metadata::read(document, &reader())
    }

    fn with(name: &str, value: Value) -> Result<Metadata, &'static str> {
        let mut document = document();
        document[name] = value;
        read(&document)
    }

    #[test]
    fn reads_a_document_with_its_defaults() {
        let metadata = read(&document()).unwrap();
        assert_eq!(metadata.algorithms, [Algorithm::RS256, Algorithm::ES256]);
        assert_eq!(metadata.authentication, ClientAuthentication::Basic);
        assert_eq!(metadata.userinfo_endpoint, None);
        assert_eq!(metadata.answer_algorithms, metadata.algorithms);
        let answers = json!(["none", "PS256", "HS256"]);
        let other = with("introspection_signing_alg_values_supported", answers).unwrap();
        assert_eq!(other.answer_algorithms, [Algorithm::PS256]);
        assert!(!metadata.sends_iss);
        assert_eq!(metadata.switch_prompt, Some("select_account"));
        assert!(metadata.may_have("email"));
    }

    #[test]
    fn the_issuer_is_compared_exactly() {
        for other in [
            "https://id.example.com",
            "https://ID.example.com/",
            "https://id.example.com:443/",
            "https://evil.example/",
            "",
        ] {
            assert!(with("issuer", json!(other)).is_err(), "{other}");
        }
    }

    #[test]
    fn what_we_rely_on_must_be_there() {
        for name in [
            "issuer",
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "response_types_supported",
            "id_token_signing_alg_values_supported",
        ] {
            assert!(with(name, Value::Null).is_err(), "{name}");
            let mut document = document();
            document.as_object_mut().unwrap().remove(name);
            assert!(read(&document).is_err(), "{name}");
        }
        assert!(with("response_types_supported", json!(["id_token"])).is_err());
        for weak in [json!([]), json!(["none"]), json!(["HS256"])] {
            assert!(with("id_token_signing_alg_values_supported", weak).is_err());
        }
        for not_a_document in [json!([]), json!("x"), json!(null)] {
            assert!(read(&not_a_document).is_err());
        }
    }

    #[test]
    fn endpoints_do_not_leave_tls() {
        for name in [
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
            "end_session_endpoint",
            "revocation_endpoint",
        ] {
            for bad in ["http://id.example.com/x", "javascript:alert(1)", "/x", ""] {
                assert!(with(name, json!(bad)).is_err(), "{name} {bad}");
            }
            // Whatever listens on this machine is not an https issuer's to name.
            let local = json!({ name: "http://127.0.0.1:2375/x" });
            let document = laid_over(&local);
            assert!(read(&document).is_err(), "{name}");
            for plain in [PlainHttp::Loopback, PlainHttp::Anywhere] {
                let reader = Reader { plain, ..reader() };
                assert!(Metadata::read(&document, &reader).is_ok(), "{name}");
            }
        }
    }

    #[test]
    fn client_authentication_follows_the_offer() {
        let chosen = |methods: Value| {
            with("token_endpoint_auth_methods_supported", methods)
                .unwrap()
                .authentication
        };
        let (basic, post) = (ClientAuthentication::Basic, ClientAuthentication::Post);
        assert_eq!(chosen(json!(["client_secret_post"])), post);
        assert_eq!(
            chosen(json!(["client_secret_post", "client_secret_basic"])),
            basic
        );
        assert_eq!(chosen(json!(["private_key_jwt"])), basic);
        assert_eq!(chosen(Value::Null), basic);
    }

    #[test]
    fn another_account_is_asked_for_in_a_way_the_provider_knows() {
        let chosen = |values| {
            with("prompt_values_supported", values)
                .unwrap()
                .switch_prompt
        };
        assert_eq!(
            chosen(json!(["none", "login", "select_account"])),
            Some("select_account")
        );
        assert_eq!(chosen(json!(["none", "login", "consent"])), Some("login"));
        assert_eq!(chosen(json!(["none"])), None);
    }

    #[test]
    fn what_is_missing_is_named_unless_the_operator_names_it() {
        for (name, key) in [
            ("issuer", ""),
            ("authorization_endpoint", "authorize_url"),
            ("token_endpoint", "token_url"),
            ("jwks_uri", "jwks_url"),
            ("response_types_supported", ""),
            ("id_token_signing_alg_values_supported", ""),
        ] {
            let document = laid_over(&json!({ name: null }));
            let problem = read(&document).unwrap_err();
            assert_eq!(problem, format!("the document has no {name}"));
            let problem = read(&laid_over(&json!({ name: 7 }))).unwrap_err();
            assert!(problem.starts_with(name), "{problem}");
            if !key.is_empty() {
                let url = Url::parse("https://id.example.com/set").unwrap();
                let reader = Reader {
                    endpoints: &[(key, url)],
                    ..reader()
                };
                assert!(Metadata::read(&document, &reader).is_ok(), "{name}");
            }
        }
    }

    #[test]
    fn browsers_are_sent_to_the_public_name_whatever_the_document_calls_it() {
        let (issuer, inside) = ("https://id.example.com/", "http://keycloak:8080");
        let place = Internal::new(&Url::parse(issuer).unwrap(), &Url::parse(inside).unwrap());
        let document = laid_over(&json!({
            "authorization_endpoint": "http://keycloak:8080/authorize",
            "end_session_endpoint": "http://keycloak:8080/logout?x=1",
            "token_endpoint": "http://keycloak:8080/token",
        }));
        let reader = Reader {
            internal: Some(&place),
            ..reader()
        };
        let metadata = Metadata::read(&document, &reader).unwrap();
        assert_eq!(
            metadata.authorization_endpoint.as_str(),
            "https://id.example.com/authorize"
        );
        let end = metadata.end_session_endpoint.unwrap();
        assert_eq!(end.as_str(), "https://id.example.com/logout?x=1");
        assert_eq!(
            metadata.token_endpoint.as_str(),
            "http://keycloak:8080/token"
        );
        let elsewhere = laid_over(&json!({ "token_endpoint": "http://keycloak:8081/token" }));
        assert!(Metadata::read(&elsewhere, &reader).is_err());
    }

    #[test]
    fn all_that_a_login_takes_may_be_configured() {
        let url = |path: &str| Url::parse(&format!("https://id.example.com{path}")).unwrap();
        let mut endpoints = vec![
            ("authorize_url", url("/a")),
            ("token_url", url("/t")),
            ("jwks_url", url("/k")),
        ];
        let metadata = Metadata::configured(ISSUER, &endpoints, true).unwrap();
        assert_eq!(metadata.issuer, ISSUER);
        assert_eq!(metadata.userinfo_endpoint, None);
        assert!(metadata.algorithms.contains(&Algorithm::RS256) && !metadata.sends_iss);
        endpoints.push(("userinfo_url", url("/u")));
        let metadata = Metadata::configured(ISSUER, &endpoints, true).unwrap();
        assert_eq!(metadata.userinfo_endpoint, Some(url("/u")));
        endpoints.remove(0);
        assert_eq!(Metadata::configured(ISSUER, &endpoints, true), None);
    }
}
