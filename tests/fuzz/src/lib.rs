//! What must hold for any bytes at all. Each function is a fuzz target's body, and runs over the corpus
//! in an ordinary test as well.

use std::{net::IpAddr, str, sync::LazyLock, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, SET_COOKIE},
};
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use sidegate::{
    api_token::{self, format::Token},
    canonical_path::CanonicalPath,
    certificate::Certificate,
    clean::{
        Peer,
        client::{self, ForwardingHeaders},
        forwarded,
        forwarding::{Forwarding, Seen},
        identity::ReservedNames,
    },
    clock::Timestamp,
    credential::{Presented, Schemes, withheld},
    ext_authz::Question,
    forward::http1::{self, BodyEvent},
    issuer::{
        authorize::AuthorizationRequest,
        client_assertion,
        document::{self, DocumentUrl},
        parameters::Parameters,
        redirect::RedirectUri,
        registration::{self, Registration},
        resource::{self, Resource},
        token::{self, AccessToken},
        token_exchange::Exchange,
    },
    jose::{self, Algorithm, Expected, KeySet, LEEWAY},
    listen::proxy_protocol,
    login::return_to::{HostPattern, ReturnRules},
    mcp::{self, Called, ToolPattern, ToolRules},
    origin::PublicOrigin,
    provider::{
        bearer::{self, BearerSettings},
        introspection, read_exchanged_token,
    },
    public_url::PublicUrl,
    route::PathPattern,
    secret::Secret,
    session::settings::{SessionSettings, StoreSettings},
    session::{
        codec,
        cookie::{Cookies, SessionCookies},
        open_handle,
        seal::{KeyRing, Purpose},
        ticket::Ticket,
    },
    users::Htpasswd,
};
use url::Url;

/// No body that passes calls a tool that is not allowed, for a reader that takes the last of two members.
pub fn tool_call(data: &[u8]) {
    let rules = ToolRules {
        allow: ToolPattern::parse("echo").into_iter().collect(),
        deny: Vec::new(),
        older_versions: true,
    };
    let json = HeaderValue::from_static("application/json");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
    let called = Called {
        method: &Method::POST,
        headers: &headers,
        body: data,
    };
    if mcp::judge(&rules, &called).is_err() {
        return;
    }
    let read: Value = serde_json::from_slice(data).expect("what passes is JSON");
    let all = match read {
        Value::Array(all) => all,
        one => vec![one],
    };
    for message in all {
        if message["method"] == "tools/call" {
            assert_eq!(message["params"]["name"], "echo");
        }
    }
}

/// A header of the PROXY protocol ends within what has come and within its bound, wherever it is cut, and what stands
/// behind it changes nothing.
pub fn proxy_header(data: &[u8]) {
    let Ok(Some((told, length))) = proxy_protocol::parse(data) else {
        return;
    };
    assert!(length <= data.len() && length <= proxy_protocol::LONGEST);
    assert_eq!(
        proxy_protocol::parse(&data[..length]),
        Ok(Some((told, length)))
    );
    for cut in [0, length / 2, length - 1] {
        assert_eq!(proxy_protocol::parse(&data[..cut]), Ok(None));
    }
}

/// What an OAuth client sends is read or refused, and what is taken leads nowhere else than it looks: a registered client has
/// the addresses that it has registered and no others, and a document's id is the address of its document.
pub fn oauth_client(data: &[u8]) {
    static KEYS: LazyLock<KeyRing> =
        LazyLock::new(|| KeyRing::new(&[Secret::new("one".to_owned())], "app.example gate"));
    static CLIENT: LazyLock<KeySet> = LazyLock::new(|| {
        let keys = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }]});
        KeySet::read(&keys).expect("a key set")
    });
    if let Ok(registration) = Registration::read(data) {
        let answer = registration.register(&KEYS, [7; 12], Timestamp(1));
        let id = answer["client_id"].as_str().expect("an id");
        let client = registration::open(id, &KEYS).expect("what was registered is known");
        for uri in answer["redirect_uris"].as_array().expect("a list") {
            let uri = uri.as_str().expect("text");
            assert!(client.redirect_uri(uri).is_some());
            assert!(client.redirect_uri(&format!("{uri}x")).is_none() || !uri.contains("://"));
        }
    }
    if let Ok(at) = DocumentUrl::parse("https://app.example/client.json", false)
        && let Ok(client) = document::read(&at, data, true)
    {
        assert_eq!(client.id, at.as_str());
    }
    if let Ok(parameters) = Parameters::parse(data) {
        let _ = AuthorizationRequest::read(&parameters);
    }
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let _ = DocumentUrl::parse(text, true);
    let _ = client_assertion::claimed_client(text);
    assert!(client_assertion::check(text, "app", &CLIENT, &[], Timestamp(1)).is_err());
    let _ = token::Presented::code(text);
    let _ = token::Presented::refresh(text);
    assert!(AccessToken::open(text, &KEYS).is_none());
    if let Some(found) = Resource::parse(text) {
        let written = found.to_text();
        assert_eq!(Resource::parse(&written), Some(found.clone()));
        assert!(resource::covers(&written, found.origin(), found.path()));
    }
    if let Ok(uri) = RedirectUri::parse(text) {
        assert!(
            uri.with(&[("code", "x")])
                .bytes()
                .all(|byte| byte.is_ascii_graphic())
        );
        assert!(!uri.policy_source().contains([';', ',', ' ', '\'']));
        let url = Url::parse(text).expect("a redirect URI is an address");
        assert!(url.scheme() != "http" || uri.is_loopback());
    }
}

/// What an app shows as a handle opens only as it was sealed, until its end, and for nothing else. The bytes are a handle, what one holds,
/// or what is done to one on its way.
pub fn app_handle(data: &[u8]) {
    static RING: LazyLock<KeyRing> = LazyLock::new(|| {
        let secrets = ["new", "old"].map(|text| Secret::new(text.to_owned()));
        KeyRing::new(&secrets, "app.example.com")
    });
    let now = Timestamp(NOW);
    assert!(open_handle(data, &RING, now).is_none());
    assert!(Ticket::of_handle(data, &RING).is_none());

    let sealed = RING.seal(Purpose::SessionHandle, b"", data, [0; 12]);
    if let Some(session) = open_handle(sealed.as_bytes(), &RING, now) {
        let (ends_at, plain) = data.split_first_chunk().expect("an end");
        let ends_at = Timestamp(u64::from_be_bytes(*ends_at));
        assert!(now < ends_at);
        assert!(open_handle(sealed.as_bytes(), &RING, ends_at).is_none());
        assert!(codec::decode(&Bytes::copy_from_slice(plain)) == Some(session));
    }
    assert!(RING.open(Purpose::Session, b"", &sealed).is_none());
    assert!(Ticket::of_cookie(sealed.as_bytes(), &RING).is_none());

    let ticket = Ticket::new([1; 16], [2; 16]);
    let handle = ticket.to_handle(&RING, now, [3; 16]);
    assert!(Ticket::of_handle(handle.as_bytes(), &RING) == Some((ticket, now)));
    assert!(Ticket::of_cookie(handle.as_bytes(), &RING).is_none());
    let mut changed = handle.clone().into_bytes();
    for (letter, change) in changed.iter_mut().zip(data) {
        *letter ^= change;
    }
    let is_same = changed == handle.as_bytes();
    assert_eq!(Ticket::of_handle(&changed, &RING).is_some(), is_same);
    let longer = [handle.as_bytes(), data].concat();
    let is_same = data.is_empty();
    assert_eq!(Ticket::of_handle(&longer, &RING).is_some(), is_same);
}

/// A request to exchange a token says one thing only, and of an answer nothing gets to an app but an access token that a header can
/// hold. The bytes are a form, and an answer.
pub fn token_exchange(data: &[u8]) {
    const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
    if let Ok(form) = Parameters::parse(data)
        && let Ok(exchange) = Exchange::read(&form)
    {
        let once = |name: &str| -> Vec<String> {
            let pairs = url::form_urlencoded::parse(data);
            let pairs = pairs.filter(|(key, value)| key == name && !value.is_empty());
            pairs.map(|(_, value)| value.into_owned()).collect()
        };
        assert_eq!(once("subject_token"), [exchange.subject_token]);
        let kinds = once("subject_token_type");
        assert_eq!(kinds.len(), 1);
        assert_eq!(kinds[0] == ACCESS, !exchange.is_id_token);
        for name in ["actor_token", "actor_token_type", "audience"] {
            assert!(once(name).is_empty(), "{name}");
        }
        for scope in exchange.scopes.iter().flatten() {
            assert!(bearer::is_scope(scope) && scope != "offline_access");
        }
    }
    for status in [StatusCode::OK, StatusCode::BAD_REQUEST] {
        let Ok(tokens) = read_exchanged_token(status, data, Timestamp(NOW)) else {
            continue;
        };
        assert_eq!(status, StatusCode::OK);
        let token = &*tokens.access;
        assert!(HeaderValue::try_from(format!("Bearer {token}")).is_ok());
        assert!(!token.is_empty() && token.len() <= bearer::LONGEST);
        assert!(tokens.refresh.is_none() && tokens.id.is_none());
        assert!(tokens.expires.is_none_or(|end| end > Timestamp(NOW)));
        // Whatever else it is called, in JSON or in a form.
        let said: Option<Value> = serde_json::from_slice(data).ok();
        let said = said.map(|said| said.get("issued_token_type").cloned());
        let in_form = || {
            let pairs = url::form_urlencoded::parse(data);
            let last = pairs.filter(|(name, _)| name == "issued_token_type").last();
            last.map(|(_, value)| Value::String(value.into_owned()))
        };
        let said = said.unwrap_or_else(in_form);
        let known = [ACCESS, "urn:ietf:params:oauth:token-type:jwt"];
        assert!(said.is_none_or(|said| known.iter().any(|known| said == **known)));
    }
}

const ISSUER: &str = "https://id.example.com";
const NOW: u64 = 1_800_000_000;

/// Tokens for `api` alone.
static BEARER: LazyLock<BearerSettings> = LazyLock::new(|| BearerSettings {
    audience: vec!["api".to_owned()],
    clients: Vec::new(),
    algorithms: Vec::new(),
    accept_id_tokens: false,
    introspect: false,
    signed_answers: false,
    token_cache: Duration::ZERO,
    kubernetes: false,
});

/// What every token that counts has, by a reading of its own; and nobody is somebody's name.
fn check_claims(claims: &Map<String, Value>) {
    if let Some(end) = claims.get("exp").and_then(Value::as_u64) {
        assert!(end > NOW - LEEWAY.as_secs());
    }
    assert!(!claims.contains_key("cnf") && !claims.contains_key("events"));
    assert!(
        bearer::scopes(claims)
            .iter()
            .all(|scope| bearer::is_scope(scope))
    );
    let mut settled = claims.clone();
    if bearer::settle_subject(&mut settled, bearer::Nameless::Client) {
        let subject = settled["sub"].as_str().expect("text");
        assert!(subject.starts_with("client:"));
    }
}

/// No answer makes a token count that is not called active by JSON's `true`, for this client, of a named client, and of
/// this issuer.
pub fn introspection(data: &[u8]) {
    static ASKED: LazyLock<BearerSettings> = LazyLock::new(|| BearerSettings {
        audience: Vec::new(),
        clients: vec!["cli".to_owned()],
        introspect: true,
        ..BEARER.clone()
    });
    let Ok(answer) = introspection::read(data) else {
        return;
    };
    let asked = introspection::Expected {
        bearer: &ASKED,
        client_id: "us",
        issues: &|iss| iss == ISSUER,
        now: Timestamp(NOW),
    };
    if asked.check(&answer).is_err() {
        return;
    }
    assert_eq!(answer["active"], true);
    for name in ["azp", "client_id"] {
        assert!(answer.get(name).is_none_or(|client| client == "cli"));
    }
    assert!(answer.get("iss").is_none_or(|iss| iss == ISSUER));
    let names_us = |aud: &Value| match aud {
        Value::Null => true,
        Value::Array(all) => all.is_empty() || all.iter().any(|one| one == "us"),
        one => one == "us",
    };
    assert!(answer.get("aud").is_none_or(names_us));
    check_claims(&answer);
}

/// No bytes are a token that somebody signed; and what is no access token for `api` has nobody fetch keys. The bytes are a
/// token, or the claims of one.
pub fn access_token(data: &[u8]) {
    static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
        // RFC 7517 appendix A.1.
        let key = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "1",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        });
        KeySet::read(&json!({ "keys": [key] })).expect("a set of keys")
    });
    let expected = Expected {
        issuer: ISSUER,
        issues: |issuer, iss| issuer == iss,
        algorithms: &Algorithm::ALL,
        types: &bearer::TYPES,
        audience: BEARER.expected_audience(),
        max_age: None,
        may_lack_exp: false,
        now: Timestamp(NOW),
    };
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","typ":"JWT"}"#);
    let made = format!("{head}.{}.c2ln", URL_SAFE_NO_PAD.encode(data));
    for token in [str::from_utf8(data).unwrap_or_default(), &made] {
        assert!(jose::verify(token, &KEYS, &expected).is_err());
        let Ok(token) = jose::unverified(token, &expected) else {
            continue;
        };
        if BEARER.check(&token).is_ok() {
            assert_eq!(token.claims["iss"], ISSUER);
            assert!(token.claims["exp"].is_number());
            check_claims(&token.claims);
        }
    }
}

/// What stands left of a trusted proxy's element of `Forwarded` says nothing of the client that this one names, wherever
/// quotation marks and commas stand in it, in one header or in two.
pub fn forwarded(data: &[u8]) {
    static TRUSTED: LazyLock<[IpNet; 1]> =
        LazyLock::new(|| ["10.0.0.0/8".parse().expect("a network")]);
    const OWN: &[u8] = b"for=\"[2001:db8::7]:1\";proto=https;host=app.example";
    let peer = "10.0.0.9".parse().ok();
    let forwarded_by = |values: &[&[u8]]| {
        let mut headers = HeaderMap::new();
        for value in values {
            let Ok(value) = HeaderValue::from_bytes(value) else {
                return;
            };
            headers.append("forwarded", value);
        }
        let told = ForwardingHeaders::Forwarded;
        let client = client::resolve(peer, false, &headers, &*TRUSTED, told);
        assert_eq!(client.address, "2001:db8::7".parse().ok());
        assert!(client.is_https && client.host.is_some_and(|host| host == "app.example"));
        assert_eq!(forwarded::believed(&headers, &*TRUSTED).count(), 1);
    };
    forwarded_by(&[&[data, b", ", OWN].concat()]);
    forwarded_by(&[data, OWN]);
}

/// A token of ours is found wherever it is read, so that no app sees it, and is one to the last character only.
pub fn api_token(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let headers: HeaderMap = [(AUTHORIZATION, value)].into_iter().collect();
    let all = Schemes {
        bearer: true,
        basic: true,
    };
    let Ok(presented) = Presented::read(&headers, all) else {
        return;
    };
    let Some(text) = api_token::presented(&presented) else {
        return;
    };
    let is_withheld = withheld::holds(&headers, api_token::is_one);
    assert!(is_withheld, "an app would see it");
    let Some(token) = Token::parse(text) else {
        return;
    };
    assert!(text.len() == 42 && text.starts_with(token.start()));
    assert!(Token::parse(&text[..41]).is_none());
    assert!(Token::parse(&format!("{text}0")).is_none());
}

/// A certificate is read whole or not at all.
pub fn certificate(data: &[u8]) {
    if Certificate::read(data).is_none() {
        return;
    }
    assert!(Certificate::read(&[data, b"\0"].concat()).is_none());
    for cut in [0, data.len() / 2, data.len() - 1] {
        assert!(Certificate::read(&data[..cut]).is_none());
    }
}

/// A file of names and hashes is read whole or not at all, and what stands in a comment above it changes nothing.
pub fn htpasswd(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let below = Htpasswd::read(&format!("# ada:x\n\n{text}"));
    match Htpasswd::read(text) {
        Ok(read) => {
            assert!(below.is_ok_and(|below| below == read));
            assert!(!read.knows(""));
        }
        Err(flaw) => {
            assert!((1..=text.lines().count()).contains(&flaw.line));
            assert!(below.is_err_and(|below| below.line == flaw.line + 2));
        }
    }
}

/// A checked return address leads to the public origin or an allowed host, and passes again.
pub fn return_to(data: &[u8]) {
    static RULES: LazyLock<ReturnRules> = LazyLock::new(|| {
        let hosts = [
            HostPattern::Exact("foo.bar:8080".to_owned()),
            HostPattern::Subdomains(".example.org".to_owned()),
        ];
        ReturnRules::new(&public_url(), &hosts, "/oauth2")
    });
    let Ok(address) = str::from_utf8(data) else {
        return;
    };
    let Some(to) = RULES.check(address) else {
        return;
    };
    let location = to.as_str();
    assert!(location.bytes().all(|byte| matches!(byte, 0x21..=0x7e)));
    let landed = Url::parse("https://app.example.com/oauth2/callback")
        .and_then(|base| base.join(location))
        .expect("browsers follow what was checked");
    if location.starts_with('/') {
        assert!(!location.starts_with("//") && !location.starts_with("/\\"));
        assert_eq!(landed.host_str(), Some("app.example.com"));
        assert!(!landed.path().starts_with("/oauth2/"));
    } else {
        assert!(
            location.starts_with("https://foo.bar:8080/")
                || landed
                    .domain()
                    .is_some_and(|host| host.ends_with(".example.org"))
        );
    }
    assert_eq!(landed.scheme(), "https");
    assert_eq!(RULES.check(location), Some(to));
}

/// Nothing opens but what was sealed, and a decoded session is the one that was encoded.
pub fn seal(data: &[u8]) {
    static RING: LazyLock<KeyRing> = LazyLock::new(|| {
        let secrets = ["new", "old"].map(|text| Secret::new(text.to_owned()));
        KeyRing::new(&secrets, "app.example.com")
    });
    if let Ok(text) = str::from_utf8(data) {
        assert!(RING.open(Purpose::Session, b"", text).is_none());
        assert!(RING.open(Purpose::SessionHandle, b"", text).is_none());
    }
    assert!(Ticket::of_cookie(data, &RING).is_none());
    assert!(Ticket::of_handle(data, &RING).is_none());
    assert!(Ticket::new([1; 16], [2; 16]).open(data).is_none());
    let sealed = RING.seal(Purpose::Login, data, data, [0; 12]);
    assert!(
        RING.open(Purpose::Login, data, &sealed).as_deref() == Some(data) || data.len() > 24_000
    );
    assert!(RING.open(Purpose::Session, data, &sealed).is_none());

    if let Some(session) = codec::decode(&Bytes::copy_from_slice(data)) {
        let again = codec::decode(&Bytes::from(codec::encode(&session)));
        assert!(again == Some(session));
    }
}

/// No own cookie is left for the upstream, and everything else is.
pub fn cookie(data: &[u8]) {
    static COOKIES: LazyLock<Cookies> = LazyLock::new(|| {
        let session = SessionSettings {
            secrets: Vec::new(),
            ephemeral: false,
            lifetime: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            store: StoreSettings::Cookie,
            max_sessions: 1,
            shared: None,
            provider_grace: Duration::ZERO,
            cookie_name: "sidegate".to_owned(),
            cookie_domain: None,
        };
        Cookies::new(&session, &public_url(), "/oauth2")
    });
    let request = headers(&COOKIE, data);
    let found = COOKIES.find(&request);
    let (any, only) = (found.any, found.only);
    for value in COOKIES.expire_session(found.session_cookies) {
        assert!(value.as_bytes().starts_with(b"__Host-sidegate"));
    }
    if let Some(session) = found.session {
        let written = COOKIES.write_session("x", Duration::ZERO, SessionCookies::default());
        assert_eq!(written.map(|values| values.len()), Some(1));
        assert!(session.len() <= data.len());
    }
    let before = app_pieces(&request);
    let mut line = Vec::new();
    COOKIES.write_foreign(&request, only, &mut line);
    let mut looked_for = Vec::new();
    COOKIES.write_foreign(&request, None, &mut looked_for);
    assert_eq!(line, looked_for);
    let mut left = HeaderMap::new();
    if !line.is_empty() {
        let value = line
            .strip_prefix(b"cookie: ")
            .and_then(|line| line.strip_suffix(b"\r\n"));
        let value = HeaderValue::from_bytes(value.expect("one line")).expect("a value");
        left.insert(COOKIE, value);
    }
    assert!(!COOKIES.find(&left).any);
    assert_eq!(app_pieces(&left), before);
    if !any && request.len() == 1 {
        assert_eq!(left, request);
    }

    let mut response = headers(&SET_COOKIE, data);
    COOKIES.strip_from_response(&mut response);
    for value in response.get_all(SET_COOKIE) {
        let pair = value.as_bytes().split(|byte| *byte == b';').next();
        let name = pair.and_then(|pair| pair.split(|byte| *byte == b'=').next());
        let name = name.unwrap_or_default().trim_ascii();
        for own in [
            &b"__Host-sidegate"[..],
            b"__Host-sidegate_login",
            b"__Host-sidegate_led",
            b"__Secure-sidegate",
            b"__Secure-sidegate_4",
            b"__Secure-sidegate_hint",
            b"__Secure-sidegate_provider",
            b"__Secure-sidegate_known",
        ] {
            assert!(!name.eq_ignore_ascii_case(own));
        }
    }
}

/// No spelling of a reserved name is left, and no other header goes.
pub fn identity_headers(data: &[u8]) {
    static RESERVED: LazyLock<ReservedNames> =
        LazyLock::new(|| ReservedNames::new(&[HeaderName::from_static("x-campus")]));
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(name) = HeaderName::from_bytes(line) {
            headers.append(name, HeaderValue::from_static("v"));
        }
    }
    let before = headers.clone();
    RESERVED.strip(&mut headers);
    for name in before.keys() {
        let as_variable = name
            .as_str()
            .replace(|character: char| !character.is_ascii_alphanumeric(), "_");
        let is_reserved = RESERVED.contains(name.as_str());
        assert_eq!(headers.contains_key(name), !is_reserved);
        // An independent reading of what CGI would make of a few of them.
        if ["x_user", "x_forwarded_user", "remote_user", "x_campus"].contains(&&*as_variable)
            || as_variable.starts_with("x_auth_request_")
        {
            assert!(is_reserved, "{name}");
        }
        if as_variable.starts_with("accept") || as_variable == "x_user_agent" {
            assert!(!is_reserved, "{name}");
        }
    }
}

/// An untrusted peer cannot say who it is; the first byte chooses the peer, then each line is one
/// `X-Forwarded-For`.
pub fn client_address(data: &[u8]) {
    static TRUSTED: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
        ["10.0.0.0/8", "::1/128"]
            .map(|net| net.parse().expect("a network"))
            .to_vec()
    });
    let Some((choice, lists)) = data.split_first() else {
        return;
    };
    let peer: Option<IpAddr> = match choice % 3 {
        0 => Some([192, 0, 2, 7].into()),
        1 => Some([10, 0, 0, 9].into()),
        _ => None,
    };
    let name = HeaderName::from_static("x-forwarded-for");
    let mut headers = headers(&name, lists);
    if let Ok(value) = HeaderValue::from_bytes(lists) {
        headers.insert("x-forwarded-proto", value.clone());
        headers.insert("x_forwarded_for", value.clone());
        headers.insert("x-original-url", value);
    }
    let client = client::resolve(peer, false, &headers, &TRUSTED, ForwardingHeaders::Either);
    if choice % 3 == 0 {
        assert_eq!(client.address, peer);
        assert!(!client.peer_is_trusted && !client.is_https);
    }
    let peer_address = Peer::new(peer, false);
    let seen = Seen {
        is_https: client.is_https,
        host: HeaderValue::from_static("app.example"),
    };
    let forwarding = Forwarding::rebuild(&mut headers, &peer_address, &client, seen);
    assert!(headers.is_empty());
    let chain: Vec<IpAddr> = forwarding
        .lines()
        .filter(|(told, _)| **told == name)
        .flat_map(|(_, list)| str::from_utf8(list).expect("ASCII").split(", "))
        .map(|entry| entry.parse().expect("an address"))
        .collect();
    assert_eq!(
        chain.last().copied(),
        peer.or_else(|| chain.last().copied())
    );
    assert_eq!(chain.first().copied(), client.address);
    let is_trusted = |address: &IpAddr| TRUSTED.iter().any(|net| net.contains(address));
    assert!(chain.iter().skip(1).all(is_trusted));
}

/// No reading has a dot segment, and what is forwarded is read the same way again.
pub fn path(data: &[u8]) {
    let Ok(path) = str::from_utf8(data) else {
        return;
    };
    let Ok(read) = CanonicalPath::parse(path) else {
        return;
    };
    let deep = read.deep.as_deref().unwrap_or(&read.surface);
    for reading in [&*read.surface, deep] {
        assert!(reading.starts_with('/'));
        assert!(
            !reading
                .split('/')
                .any(|segment| matches!(segment, "." | ".."))
        );
        assert!(reading.bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
    }
    assert!(!deep.contains("//") && !deep.contains(['\\', ';']));
    assert!(!read.surface.contains([' ', '#', '?']));
    let again = CanonicalPath::parse(&read.surface).expect("a canonical path is one");
    assert!(again == read);
}

/// Pattern and path, a line each: a pattern without wildcards matches the path that it is, and `/**`
/// every path.
pub fn pattern(data: &[u8]) {
    let mut lines = data.splitn(2, |byte| *byte == b'\n').map(str::from_utf8);
    let (Some(Ok(pattern)), Some(Ok(path))) = (lines.next(), lines.next()) else {
        return;
    };
    if let Ok(all) = PathPattern::parse("/**") {
        assert_eq!(all.matches(path), path.starts_with('/'));
    }
    let Ok(read) = PathPattern::parse(pattern) else {
        return;
    };
    read.matches(path);
    assert_eq!(read.as_str(), pattern);
    if let (false, Ok(path)) = (pattern.contains(['*', '?']), CanonicalPath::parse(pattern)) {
        assert_eq!(path.judge(|path| read.matches(path)), Some(true));
    }
}

/// A call of Envoy's is refused, or asks about one request: with one host, and no header of HTTP/2's own.
pub fn ext_authz(data: &[u8]) {
    static PUBLIC: LazyLock<PublicOrigin> = LazyLock::new(|| PublicOrigin::new(&public_url()));
    let length = u32::try_from(data.len()).expect("short").to_be_bytes();
    let framed = [&[0], &length[..], data].concat();
    for body in [data, &framed] {
        let Ok(question) = Question::read(body, &PUBLIC) else {
            continue;
        };
        let [asked] = &question.subrequest.questions[..] else {
            panic!("one request is asked about");
        };
        assert!(asked.target.starts_with('/') && question.subrequest.is_sure);
        assert_eq!(question.headers.get_all("host").iter().count(), 1);
        assert!(
            question
                .headers
                .keys()
                .all(|name| !name.as_str().starts_with(':'))
        );
        assert!(
            question
                .source
                .is_none_or(|address| address.to_canonical() == address)
        );
        CanonicalPath::parse(&asked.target).ok();
    }
}

fn public_url() -> PublicUrl {
    PublicUrl {
        url: Url::parse("https://app.example.com").expect("a URL"),
    }
}

/// A header per line.
fn headers(name: &HeaderName, lines: &[u8]) -> HeaderMap {
    lines
        .split(|byte| *byte == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .map(|value| (name.clone(), value))
        .collect()
}

/// The cookies that are not the gate's, by a reading of their own.
fn app_pieces(headers: &HeaderMap) -> Vec<Vec<u8>> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii_start)
        .filter(|piece| {
            let name = piece.split(|byte| *byte == b'=').next().unwrap_or_default();
            let is_own = [
                &b"__Host-sidegate"[..],
                b"__Host-sidegate_0",
                b"__Host-sidegate_1",
                b"__Host-sidegate_2",
                b"__Host-sidegate_3",
                b"__Host-sidegate_4",
                b"__Host-sidegate_login",
                b"__Host-sidegate_led",
                // The session's names where several hosts share it: an earlier configuration may have written them.
                b"__Secure-sidegate",
                b"__Secure-sidegate_0",
                b"__Secure-sidegate_1",
                b"__Secure-sidegate_2",
                b"__Secure-sidegate_3",
                b"__Secure-sidegate_4",
                b"__Secure-sidegate_hint",
                b"__Secure-sidegate_provider",
                b"__Secure-sidegate_known",
            ]
            .contains(&name);
            !(piece.is_empty() || is_own && piece.len() > name.len())
        })
        .map(<[u8]>::to_vec)
        .collect()
}

/// An upstream's answer is read alike however its bytes come, and nothing behind it is taken for a part of it.
pub fn upstream_answer(data: &[u8]) {
    let (is_head, data) = match data {
        [b'H', rest @ ..] => (true, rest),
        data => (false, data),
    };
    let whole = read_answer(data, is_head, data.len());
    for step in [1, 7] {
        assert_eq!(read_answer(data, is_head, step), whole);
    }
}

/// Status, body, trailers and how much was left, where the answer came to its end.
fn read_answer(
    data: &[u8],
    is_head: bool,
    step: usize,
) -> Option<(u16, Vec<u8>, Option<HeaderMap>, usize)> {
    let mut input = BytesMut::new();
    let mut coming = data.chunks(step.max(1));
    let mut fill = |input: &mut BytesMut| coming.next().map(|bytes| input.extend_from_slice(bytes));
    let mut head = loop {
        match http1::parse(&mut input, is_head).ok()? {
            Some(head) => break head,
            None => fill(&mut input)?,
        }
    };
    let mut body = Vec::new();
    let mut read = 0;
    loop {
        let left = head.body.left();
        match head.body.next(&mut input).ok()? {
            Some(BodyEvent::Data(data)) => {
                assert!(left.is_none_or(|left| data.len() as u64 <= left));
                body.extend(data);
            }
            None => match fill(&mut input) {
                Some(()) => {}
                None => head.body.close().ok()?,
            },
            Some(BodyEvent::End(trailers)) => {
                while fill(&mut input).is_some() {}
                return Some((head.status.as_u16(), body, trailers, input.len()));
            }
        }
        read += 1;
        assert!(read <= 4 * data.len() + 4);
    }
}
