//! `sidegate login URL`: a command-line client for any gate, and for any other server that protects a resource as in RFC 9728. It logs in by
//! the device flow (RFC 8628), stores the tokens in a file that only its user can read, and prints an access token: a credential helper for
//! curl, git and scripts.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::sleep;
use url::{Url, form_urlencoded};

use crate::{
    clock::{self, Timestamp},
    issuer::{guard::RESOURCE_METADATA, registration::DEVICE_GRANT},
    observe::metrics::LimitHits,
    provider::{HttpClient, http::HttpError},
    trust,
};

/// Why it came to nothing; for whoever types the command.
pub(super) type Failure = String;

/// What is kept of a login.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    client_id: String,
    token_endpoint: String,
    access_token: String,
    refresh_token: Option<String>,
    expires_at: Timestamp,
}

/// What is kept of all, by the address of what they are for.
type All = BTreeMap<String, Kept>;

/// What the token endpoint gives.
#[derive(Deserialize)]
struct Tokens {
    access_token: String,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
}

/// The address of a login, as it is typed.
///
/// # Errors
/// What to write.
pub(super) fn address(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if url.has_host() => Ok(url),
        // `localhost:4390/mcp` has a scheme of that name.
        _ => Err("write the address with https:// in front".to_owned()),
    }
}

/// Logs in at what guards `url`, telling its user by `say` what to do, and keeps the tokens.
///
/// # Errors
/// Why it did not come to that.
pub(super) async fn log_in(url: &Url, say: impl Fn(&str)) -> Result<(), Failure> {
    let file = file()?;
    let http = client();
    let resource = metadata_of_resource(&http, url).await?;
    let server = metadata_of_server(&http, &resource).await?;
    let at = |name: &str| {
        text(&server, name).ok_or_else(|| format!("{} has no {name}", issuer_of(&resource)))
    };
    let (token_endpoint, device_endpoint) =
        (at("token_endpoint")?, at("device_authorization_endpoint")?);
    let wanted = json!({ "client_name": "sidegate login", "grant_types": [DEVICE_GRANT, "refresh_token"], "token_endpoint_auth_method": "none" });
    let registered = post(
        &http,
        &at("registration_endpoint")?,
        "application/json",
        wanted.to_string(),
    )
    .await?;
    let client_id = text(&registered, "client_id").ok_or("the server registers nobody")?;
    let scopes = server_scopes(&resource);
    let name = text(&resource, "resource").unwrap_or_else(|| url.to_string());
    let begun = post_form(
        &http,
        &device_endpoint,
        &[
            ("client_id", &client_id),
            ("resource", &name),
            ("scope", &scopes),
        ],
    )
    .await?;
    let part =
        |name: &str| text(&begun, name).ok_or_else(|| format!("the server's answer has no {name}"));
    let (device_code, user_code) = (part("device_code")?, part("user_code")?);
    say(&format!(
        "Open   {}\n\nand see that it shows this code, or type it there:   {}\n\nWaiting …\n",
        page(&begun)?,
        plain(&user_code),
    ));
    let tokens = wait(&http, &token_endpoint, &begun, (&device_code, &client_id)).await?;
    let kept = Kept::of(tokens, client_id, token_endpoint, None)?;
    let _lock = lock(&file).await?;
    change(&file, |all| {
        all.insert(key(url), kept);
    })
}

/// Where people are sent: an address that a browser opens, and no other.
fn page(begun: &Value) -> Result<Url, Failure> {
    let page = text(begun, "verification_uri_complete").or_else(|| text(begun, "verification_uri"));
    let page = page.ok_or("the server's answer has no verification_uri")?;
    let page = Url::parse(&page).ok();
    let page = page.filter(|page| matches!(page.scheme(), "https" | "http"));
    page.ok_or_else(|| "the server's verification_uri is no address of a page".to_owned())
}

/// What a server says, as a terminal may be given it: no control characters, which would move its cursor or set its clipboard, and none that
/// turn text around.
pub(super) fn plain(said: &str) -> String {
    let turns = |letter: char| matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    said.chars()
        .filter(|letter| !letter.is_control() && !turns(*letter))
        .collect()
}

/// Asks for the tokens again and again, until the user has said yes or no, or too long nothing (RFC 8628 §3.4 and §3.5).
async fn wait(
    http: &HttpClient,
    token_endpoint: &str,
    begun: &Value,
    (device_code, client_id): (&str, &str),
) -> Result<Tokens, Failure> {
    let mut pause = begun["interval"]
        .as_u64()
        .unwrap_or(5)
        .clamp(1, LONGEST_PAUSE);
    let end = clock::now().after(Duration::from_secs(
        begun["expires_in"]
            .as_u64()
            .unwrap_or(600)
            .min(LONGEST_WAIT),
    ));
    let fields = [
        ("grant_type", DEVICE_GRANT),
        ("device_code", device_code),
        ("client_id", client_id),
    ];
    loop {
        sleep(Duration::from_secs(pause)).await;
        if clock::now() >= end {
            return Err("nobody has said anything; begin anew".to_owned());
        }
        let answer = send_form(http, token_endpoint, &fields).await?;
        if answer.status() == StatusCode::OK {
            return read::<Tokens>(&answer);
        }
        match text(&read::<Value>(&answer)?, "error").as_deref() {
            Some("authorization_pending") => {}
            Some("slow_down") => pause = (pause + 5).min(LONGEST_PAUSE),
            Some("access_denied") => return Err("it was denied".to_owned()),
            Some("expired_token") => {
                return Err("nobody has said anything in time; begin anew".to_owned());
            }
            other => {
                return Err(format!(
                    "the server says {}",
                    other.unwrap_or("nothing that can be read")
                ));
            }
        }
    }
}

/// An access token for `url` that is good for some time, refreshed if need be.
///
/// # Errors
/// Why there is none.
pub(super) async fn token(url: &Url) -> Result<String, Failure> {
    let file = file()?;
    let again = || format!("log in first: sidegate login {url}");
    let known = || load(&file)?.remove(&key(url)).ok_or_else(again);
    let is_good = |kept: &Kept| clock::now().after(LEFT) < kept.expires_at;
    let kept = known()?;
    if is_good(&kept) {
        return Ok(kept.access_token);
    }
    // Each refresh token is good once: of all who come at once, one brings it, and the others find what it got.
    let _lock = lock(&file).await?;
    let kept = known()?;
    if is_good(&kept) {
        return Ok(kept.access_token);
    }
    let refresh_token = kept.refresh_token.as_deref().ok_or_else(again)?;
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
        ("client_id", &*kept.client_id),
    ];
    let answer = send_form(&client(), &kept.token_endpoint, &fields).await?;
    if answer.status() != StatusCode::OK {
        let error = text(&read::<Value>(&answer)?, "error").unwrap_or_default();
        return Err(if error == "invalid_grant" {
            again()
        } else {
            format!("the server says {} {error}", answer.status())
        });
    }
    let refreshed = Kept::of(
        read(&answer)?,
        kept.client_id,
        kept.token_endpoint,
        kept.refresh_token,
    )?;
    let token = refreshed.access_token.clone();
    change(&file, |all| {
        all.insert(key(url), refreshed);
    })?;
    Ok(token)
}

impl Kept {
    fn of(
        tokens: Tokens,
        client_id: String,
        token_endpoint: String,
        earlier: Option<String>,
    ) -> Result<Self, Failure> {
        // RFC 6750 §2.1: it is printed, and put into a header.
        let is_token = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_token(&tokens.access_token) {
            return Err("the server's access token is none".to_owned());
        }
        let lasts = Duration::from_secs(tokens.expires_in.unwrap_or(60));
        Ok(Self {
            client_id,
            token_endpoint,
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token.or(earlier),
            expires_at: clock::now().after(lasts),
        })
    }
}

fn client() -> HttpClient {
    HttpClient::new(
        trust::client_config(),
        crate::provider::http::Proxies::default(),
        LARGEST_ANSWER,
        LimitHits::default(),
    )
}

/// What names a login: the address without a slash at its end.
fn key(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// RFC 9728 §3.1.
async fn metadata_of_resource(http: &HttpClient, url: &Url) -> Result<Value, Failure> {
    let mut at = url.clone();
    at.set_query(None);
    at.set_path(&format!(
        "{RESOURCE_METADATA}{}",
        url.path().trim_end_matches('/')
    ));
    let found = http.fetch_json(&at, None).await;
    let document = found.map_err(|error| match error {
        HttpError::Status(StatusCode::NOT_FOUND) => {
            "the gate gives no tokens for this address: its route needs `tokens = true` or `mcp = true` (docs/cli.md)".to_owned()
        }
        // Without [issuer] this address is the app's, and asks for a login.
        HttpError::Status(StatusCode::UNAUTHORIZED) => {
            "this gate gives no tokens: it has no [issuer]".to_owned()
        }
        error => format!("{at} says nothing of a login: {error}"),
    })?;
    // What speaks for another address would send this one's token there.
    let resource = text(&document, "resource").and_then(|resource| Url::parse(&resource).ok());
    if let Some(other) = &resource
        && other.origin() == url.origin()
        && url.path() == "/"
        && other.path() != "/"
    {
        return Err(format!(
            "this gate gives tokens for {other}: run `sidegate login {other}`"
        ));
    }
    let is_this = resource.is_some_and(|resource| {
        resource.origin() == url.origin()
            && url
                .path()
                .starts_with(resource.path().trim_end_matches('/'))
    });
    if is_this {
        Ok(document)
    } else {
        Err(format!("{at} is for another address"))
    }
}

/// RFC 8414 §3, and that its issuer is who was named.
async fn metadata_of_server(http: &HttpClient, resource: &Value) -> Result<Value, Failure> {
    let issuer = issuer_of(resource);
    let mut at =
        Url::parse(&issuer).map_err(|_| "the resource names no authorization server".to_owned())?;
    let path = at.path().trim_end_matches('/').to_owned();
    at.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
    let found = http.fetch_json(&at, None).await;
    let document = found.map_err(|error| format!("{at}: {error}"))?;
    if text(&document, "issuer").as_deref() != Some(&issuer) {
        return Err(format!("{at} is of another issuer"));
    }
    Ok(document)
}

fn issuer_of(resource: &Value) -> String {
    resource["authorization_servers"][0]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn server_scopes(resource: &Value) -> String {
    let scopes = resource["scopes_supported"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    scopes
        .iter()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

fn text(document: &Value, name: &str) -> Option<String> {
    document[name].as_str().map(str::to_owned)
}

async fn send_form(
    http: &HttpClient,
    url: &str,
    fields: &[(&str, &str)],
) -> Result<Response<Bytes>, Failure> {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    send(http, url, "application/x-www-form-urlencoded", body).await
}

async fn post_form(
    http: &HttpClient,
    url: &str,
    fields: &[(&str, &str)],
) -> Result<Value, Failure> {
    good(url, &send_form(http, url, fields).await?)
}

async fn post(http: &HttpClient, url: &str, kind: &str, body: String) -> Result<Value, Failure> {
    good(url, &send(http, url, kind, body).await?)
}

async fn send(
    http: &HttpClient,
    url: &str,
    kind: &str,
    body: String,
) -> Result<Response<Bytes>, Failure> {
    let request = Request::post(url)
        .header(CONTENT_TYPE, kind)
        .body(Bytes::from(body));
    let request = request.map_err(|_| format!("{url} is no address"))?;
    http.send(request)
        .await
        .map_err(|error| format!("{url}: {error}"))
}

fn good(url: &str, answer: &Response<Bytes>) -> Result<Value, Failure> {
    if answer.status().is_success() {
        return read(answer);
    }
    let error = serde_json::from_slice::<Value>(answer.body())
        .ok()
        .and_then(|error| text(&error, "error"));
    Err(format!(
        "{url} says {} {}",
        answer.status(),
        error.unwrap_or_default()
    ))
}

fn read<T: for<'de> Deserialize<'de>>(answer: &Response<Bytes>) -> Result<T, Failure> {
    serde_json::from_slice(answer.body())
        .map_err(|_| "the server's answer cannot be read".to_owned())
}

/// `tokens.json` in the folder that `XDG_CONFIG_HOME` names, or in `~/.config`.
fn file() -> Result<PathBuf, Failure> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let folder = folder.ok_or("neither XDG_CONFIG_HOME nor HOME says where to keep the token")?;
    Ok(folder.join("sidegate").join("tokens.json"))
}

fn load(file: &Path) -> Result<All, Failure> {
    match fs::read(file) {
        Ok(text) => {
            serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(All::new()),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

/// Waits until no other process changes the file, and keeps others from that while the lock lives. It is beside the file, which is replaced
/// as a whole, in a folder that its user alone may look into.
async fn lock(file: &Path) -> Result<fs::File, Failure> {
    let at = file.with_extension("lock");
    let failed = |error: io::Error| format!("{}: {error}", at.display());
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    let mut options = fs::OpenOptions::new();
    let open = options.write(true).create(true).truncate(false).mode(0o600);
    let lock = open.open(&at).map_err(failed)?;
    let end = clock::now().after(LONGEST_LOCK);
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::WouldBlock) if clock::now() < end => sleep(LOOK).await,
            Err(fs::TryLockError::WouldBlock) => {
                return Err(format!("{}: another process holds it", at.display()));
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

/// Changes the file as a whole: who reads it meanwhile sees one or the other. Its user alone may read it, from its first byte on. Only
/// under the [`lock`].
fn change(file: &Path, change: impl FnOnce(&mut All)) -> Result<(), Failure> {
    let mut all = load(file)?;
    change(&mut all);
    let written = || -> io::Result<()> {
        let next = file.with_extension(format!("{}.tmp", std::process::id()));
        let _ = fs::remove_file(&next);
        let mut options = fs::OpenOptions::new();
        let mut open = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&next)?;
        open.write_all(&serde_json::to_vec_pretty(&all)?)?;
        open.sync_all()?;
        fs::rename(&next, file)
    };
    written().map_err(|error| format!("{}: {error}", file.display()))
}

/// Seconds between two questions at most.
const LONGEST_PAUSE: u64 = 60;
/// Seconds that somebody is waited for at most.
const LONGEST_WAIT: u64 = 1_800;
/// How long another process that refreshes a token is waited for.
const LONGEST_LOCK: Duration = Duration::from_mins(1);
/// The pause between two looks whether it still does.
const LOOK: Duration = Duration::from_millis(50);
/// For how long a token that is printed is good at least.
const LEFT: Duration = Duration::from_secs(30);
/// Bytes of a server's answer.
const LARGEST_ANSWER: u32 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_does_nothing_to_a_terminal() {
        let said = "AB\u{1b}]52;c;eA==\u{7}C\r\n\u{9b}31mD\u{202e}E\u{2066}\u{e9}";
        assert_eq!(plain(said), "AB]52;c;eA==C31mDE\u{e9}");
    }

    #[test]
    fn people_are_sent_to_pages_alone() {
        let at = |complete: &str, plain: &str| {
            page(&json!({"verification_uri_complete": complete, "verification_uri": plain}))
                .map(|page| page.to_string())
        };
        let good = at("https://h/device?user_code=A\u{1b}]52\u{7}b", "");
        assert_eq!(good.unwrap(), "https://h/device?user_code=A%1B]52%07b");
        for bad in ["file:///etc/passwd", "javascript:alert(1)", "x", "\u{1b}c"] {
            assert!(at(bad, "https://h/device").is_err(), "{bad}");
        }
        assert!(page(&json!({})).is_err());
    }
}
