//! Asks each provider whether it answers and accepts the client, before anybody needs it. No login is begun and nothing is used up, but
//! the client's secret is sent where each login sends it. The answer's `Date` shows whether this machine's clock is right. Redis is asked
//! too, if sessions need it.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, header::DATE};
use tokio::{task::JoinSet, time::Instant};
use url::Url;

use crate::{
    access::StepUp,
    clock::{self, Timestamp},
    config::Config,
    observe::metrics::LimitHits,
    provider::{
        AuthorizeRequest, ClientTrial, HttpClient, Inspection, Provider, ProviderError, Providers,
        http::HttpError, settings::ClientAuthentication,
    },
    redis::{self, address::RedisAddress},
    session::settings::{SessionSettings, StoreSettings},
    trust,
};

/// What came of one provider, or of Redis.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    grade: Grade,
    /// The provider's name, or the key that names Redis.
    subject: String,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    Fine,
    Warning,
    Failure,
}

impl Finding {
    /// Whether logins or sessions will not work like this.
    pub(super) fn is_failure(&self) -> bool {
        self.grade == Grade::Failure
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = match self.grade {
            Grade::Fine => "ok",
            Grade::Warning => "warning",
            Grade::Failure => "failed",
        };
        write!(formatter, "{:<10} {grade}: {}", self.subject, self.text)
    }
}

/// Asks all at once; each may take a bounded time.
pub(super) async fn ask(config: &Config) -> Vec<Finding> {
    let (mut found, redis) = tokio::join!(ask_providers(config), ask_redis(&config.session));
    found.extend(redis);
    found
}

async fn ask_redis(session: &SessionSettings) -> Vec<Finding> {
    let Some((key, address)) = redis_of(session) else {
        return Vec::new();
    };
    let finding = |grade, text| Finding {
        grade,
        subject: key.to_owned(),
        text,
    };
    match redis::ask(address).await {
        Ok(redis::Answer { took, risks }) => {
            let text = format!("Redis answers, after {} ms", took.as_millis());
            let risks = risks.into_iter();
            [finding(Grade::Fine, text)]
                .into_iter()
                .chain(risks.map(|risk| finding(Grade::Warning, risk.to_string())))
                .collect()
        }
        // Hosts and ports alone: an address with an @ where no password ends was refused before.
        Err((address, trouble)) => {
            let text = format!("{address}: {trouble}; {}", trouble.hint());
            vec![finding(Grade::Failure, text)]
        }
    }
}

/// The Redis that replicas share, and the key that names it.
fn redis_of(session: &SessionSettings) -> Option<(&'static str, &RedisAddress)> {
    match &session.store {
        StoreSettings::Redis(address) => Some(("session.store", address)),
        _ => Some(("session.shared", session.shared.as_ref()?)),
    }
}

async fn ask_providers(config: &Config) -> Vec<Finding> {
    let http = HttpClient::new(
        trust::client_config(),
        config.proxies.clone(),
        config.limits.provider_response,
        LimitHits::default(),
    );
    let providers = Providers::new(&config.providers, &config.headers, &http);
    let mut routes = config.routes.iter();
    let exchanges = routes.any(|route| route.token_exchange.is_some());
    let mut questions = JoinSet::new();
    for (index, (provider, table)) in providers.iter().zip(&config.providers).enumerate() {
        let (provider, http) = (provider.clone(), http.of(table.reach()));
        let callback = config.public_url.url.join(&table.callback_path);
        questions.spawn(async move {
            let findings = match callback {
                Ok(callback) => findings(provider.as_ref(), &callback, &http, exchanges).await,
                Err(_) => Vec::new(),
            };
            (index, findings)
        });
    }
    let mut found = questions.join_all().await;
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().flat_map(|(_, found)| found).collect()
}

/// `exchanges` is whether routes have tokens exchanged.
async fn findings(
    provider: &dyn Provider,
    callback: &Url,
    http: &HttpClient,
    exchanges: bool,
) -> Vec<Finding> {
    let name = &provider.profile().name;
    let finding = |grade, text| Finding {
        grade,
        subject: name.clone(),
        text,
    };
    let Some(url) = provider.probe() else {
        let text = "has no address that could be asked".to_owned();
        return vec![finding(Grade::Fine, text)];
    };
    let place = http.place_of(&url);
    let host = place.authority();
    let (reached, clock) = match reach(&url, http).await {
        Ok(reached) => reached,
        Err(error) => return vec![finding(Grade::Failure, unreachable(&place, &error))],
    };
    // For a provider with a discovery document this reads it, which says more than that it is there.
    let request = AuthorizeRequest {
        redirect_uri: callback,
        state: "",
        nonce: "",
        pkce_challenge: "",
        switch_account: false,
        step_up: &StepUp::default(),
        reauthenticate: false,
    };
    if let Err(error) = provider.authorize(&request).await {
        let remedy = error.specific_remedy().map(|remedy| format!("; {remedy}"));
        let text = format!("{host}: {error}{}", remedy.unwrap_or_default());
        return vec![finding(Grade::Failure, text)];
    }
    let milliseconds = reached.as_millis();
    let mut findings = vec![finding(
        Grade::Fine,
        format!("{host} answers, after {milliseconds} ms"),
    )];
    if let Some((grade, text)) = clock {
        findings.push(finding(grade, format!("{text} {host}'s")));
    }
    let inspected = provider.inspect(callback).await;
    findings.extend(said_of(&inspected).map(|(grade, text)| finding(grade, text)));
    if exchanges && inspected.lists_token_exchange == Some(false) {
        let text = "the exchange of tokens is not among the provider's grant_types_supported: if routes with token_exchange let \
                    nobody pass, switch it on at the provider";
        findings.push(finding(Grade::Warning, text.to_owned()));
    }
    findings
}

/// What a look at a provider says of logins.
fn said_of(inspected: &Inspection) -> impl Iterator<Item = (Grade, String)> {
    let keys = inspected.keys.iter().map(|error| {
        let remedy = error.specific_remedy().map(|remedy| format!("; {remedy}"));
        let text = format!("{error}{}", remedy.unwrap_or_default());
        (Grade::Failure, text)
    });
    let trials = &inspected.trials;
    let one_works = trials.iter().any(|trial| trial.outcome.is_ok());
    let count = trials.len();
    let trials = trials.iter().enumerate().map(move |(index, trial)| {
        let which = if count > 1 {
            format!("client secret {} of {count}", index + 1)
        } else {
            "the client id and secret".to_owned()
        };
        said_of_client(&which, trial, one_works)
    });
    let scopes = inspected.unlisted_scopes.iter().map(|scope| {
        let text = format!(
            "scope \"{scope}\" is not among the provider's scopes_supported: where a login ends with invalid_scope, take it \
             out of scopes"
        );
        (Grade::Warning, text)
    });
    keys.chain(trials).chain(scopes)
}

fn said_of_client(which: &str, trial: &ClientTrial, one_works: bool) -> (Grade, String) {
    let error = match &trial.outcome {
        Ok(()) => return (Grade::Fine, format!("accepts {which}")),
        Err(error) => error,
    };
    // While one secret takes over from another, one of the two is enough.
    let refused = if one_works {
        Grade::Warning
    } else {
        Grade::Failure
    };
    match trial.other_way {
        Some(way) => {
            let way = match way {
                ClientAuthentication::Basic => "basic",
                ClientAuthentication::Post => "post",
            };
            let text = format!(
                "does not accept {which} in this way ({error}), but does with client_auth = \"{way}\": write that"
            );
            (refused, text)
        }
        None if error.is_invalid_client() => {
            let text =
                format!("does not accept {which} ({error}): see client_id and client_secret");
            (refused, text)
        }
        None if matches!(error, ProviderError::Http { .. }) => (refused, error.to_string()),
        None => (
            Grade::Warning,
            format!("does not say whether it accepts {which}: {error}"),
        ),
    }
}

/// Why nothing came, with the port: the address may not say it, and a firewall asks for it.
fn unreachable(url: &Url, error: &HttpError) -> String {
    let host = url.host_str().unwrap_or_default();
    let place = match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    match error {
        HttpError::Connect { host: proxy, kind } if proxy != host.trim_matches(['[', ']']) => {
            format!("no connection to the proxy {proxy}: {kind}")
        }
        HttpError::Connect { kind, .. } => format!("no connection to {place}: {kind}"),
        HttpError::Tls { reason, .. } => format!("TLS with {place}: {reason}"),
        HttpError::Resolve(_) => format!("{place}: the host's name does not resolve"),
        other => format!("{place}: {other}"),
    }
}

/// How long an answer took, whatever it says, and what is wrong with the clock.
type Reached = (Duration, Option<(Grade, String)>);

async fn reach(url: &Url, http: &HttpClient) -> Result<Reached, HttpError> {
    let request = Request::get(url.as_str())
        .body(Bytes::new())
        .map_err(|_| HttpError::ForbiddenUrl)?;
    let (started, before) = (Instant::now(), clock::now());
    let clock = match http.send(request).await {
        Ok(response) => date(response.headers()).and_then(|date| judge(date, before, clock::now())),
        // It did answer; a sign-in page may be long.
        Err(HttpError::TooLarge { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok((started.elapsed(), clock))
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let since_epoch = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp(since_epoch.as_secs()))
}

/// What is wrong with a clock by which an answer with `date` came between `before` and `after`. The
/// provider dated it somewhere between the two, so that a slow answer alone is no difference.
fn judge(date: Timestamp, before: Timestamp, after: Timestamp) -> Option<(Grade, String)> {
    let (difference, side) = if date < before {
        (before.since(date), "ahead of")
    } else {
        (date.since(after), "behind")
    };
    let grade = if difference > FAR_APART {
        Grade::Failure
    } else if difference > APART {
        Grade::Warning
    } else {
        return None;
    };
    let seconds = difference.as_secs();
    let text = format!("this machine's clock is {seconds} s {side}");
    Some((grade, text))
}

/// Signed times are compared with some leeway; a clock that is further off than this uses it up.
const APART: Duration = Duration::from_secs(30);

/// No token holds beyond this.
const FAR_APART: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity_headers::HeaderSettings,
        provider::{
            scripted::{Answer, Scripted},
            settings::ProviderSettings,
        },
    };

    async fn lines(server: &Scripted) -> Vec<String> {
        let http = HttpClient::for_test();
        let configs = [ProviderSettings::for_test("corp", server.origin())];
        let providers = Providers::new(&configs, &HeaderSettings::default(), &http);
        let callback = Url::parse("https://app.example.com/oauth2/callback/corp").unwrap();
        let provider = providers.find("corp").unwrap();
        let findings = findings(provider.as_ref(), &callback, &http, true).await;
        findings.iter().map(ToString::to_string).collect()
    }

    const DOCUMENT: &str = "/.well-known/openid-configuration";

    #[tokio::test]
    async fn a_provider_that_answers_is_fine() {
        let server = Scripted::start().await;
        server.publish(&[]);
        let invalid_grant = Answer::json(r#"{"error":"invalid_grant"}"#).with_status(400);
        server.answer("/token", invalid_grant);
        let lines = lines(&server).await;
        let start = format!("corp       ok: {} answers, after ", server.authority());
        assert!(
            matches!(&lines[..], [line, client] if line.starts_with(&start)
                && client == "corp       ok: accepts the client id and secret"),
            "{lines:?}"
        );
    }

    #[tokio::test]
    async fn a_document_that_does_not_serve_is_a_failure() {
        let server = Scripted::start().await;
        let mut document = server.metadata();
        document["issuer"] = "https://elsewhere.example".into();
        for answer in [
            Answer::status(404),
            Answer::text("hello"),
            Answer::json(&document.to_string()),
        ] {
            server.answer(DOCUMENT, answer);
            let lines = lines(&server).await;
            assert!(
                matches!(&lines[..], [line] if line.starts_with("corp       failed: ")),
                "{lines:?}"
            );
        }
    }

    #[tokio::test]
    async fn nobody_there_is_a_failure() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        drop(listener);
        let error = reach(&url, &HttpClient::for_test()).await.unwrap_err();
        let start = format!("no connection to {}: ", url.authority());
        let text = unreachable(&url, &error);
        assert!(text.starts_with(&start), "{text}");
    }

    /// The port is told also where the address leaves it out.
    #[test]
    fn whoever_does_not_answer_is_told_with_its_port() {
        let url = Url::parse("https://login.example.com/").unwrap();
        for (error, text) in [
            (
                HttpError::ConnectTimeout,
                "login.example.com:443: no connection in time",
            ),
            (
                HttpError::Resolve("login.example.com".to_owned()),
                "login.example.com:443: the host's name does not resolve",
            ),
            (
                HttpError::Tls {
                    host: "login.example.com".to_owned(),
                    reason: "it ended".to_owned(),
                },
                "TLS with login.example.com:443: it ended",
            ),
        ] {
            assert_eq!(unreachable(&url, &error), text);
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_off_is_told() {
        let server = Scripted::start().await;
        let old = httpdate::fmt_http_date(std::time::UNIX_EPOCH);
        let document = Answer::json(&server.metadata().to_string());
        server.answer(DOCUMENT, document.header("date", &old));
        let lines = lines(&server).await;
        assert!(
            lines[1].starts_with("corp       failed: this machine's clock"),
            "{lines:?}"
        );
    }

    #[test]
    fn clocks_are_judged_by_how_far_they_are_apart() {
        let grade = |date: u64| {
            judge(Timestamp(date), Timestamp(1000), Timestamp(1008)).map(|(grade, _)| grade)
        };
        for date in [970, 1000, 1004, 1008, 1038] {
            assert_eq!(grade(date), None, "{date}");
        }
        for date in [969, 700, 1039, 1308] {
            assert_eq!(grade(date), Some(Grade::Warning), "{date}");
        }
        for date in [0, 699, 1309, u64::MAX] {
            assert_eq!(grade(date), Some(Grade::Failure), "{date}");
        }
        let (_, text) = judge(Timestamp(960), Timestamp(1000), Timestamp(1000)).unwrap();
        assert_eq!(text, "this machine's clock is 40 s ahead of");
    }
}
