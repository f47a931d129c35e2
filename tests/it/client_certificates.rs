//! `tls.client_ca`: whoever shows a certificate of these authorities is known by it.

use std::sync::Arc;

use http::{Method, StatusCode};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::support::{House, Upstream, house, house::Plan, standard_with, tls};

/// An authority, and what it has signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn params(name: &str, organization: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, organization);
    params
}

impl Authority {
    fn new() -> Self {
        let mut params = params("authority", "acme");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn sign(&self, params: &CertificateParams) -> Client {
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        Client(vec![made.der().clone()], Arc::new(key))
    }

    fn client(&self, name: &str) -> Client {
        self.sign(&params(name, "robots"))
    }
}

/// A client's certificate and key.
struct Client(Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>);

async fn house_of(
    authority: &Authority,
    change: impl FnOnce(Plan) -> Plan,
) -> (House, Upstream, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("client-ca.pem");
    std::fs::write(&file, &authority.pem).expect("written");
    let (house, upstream, _provider) = standard_with(|plan| {
        change(
            plan.tls()
                .environment("SIDEGATE_TLS__CLIENT_CA", &file.display().to_string())
                .tables("[audit]\nto = \"file:trail.jsonl\"")
                .tables("[[routes]]\npath = \"/robots/**\"\nallow = { groups = [\"robots\"], providers = [\"certificate\"] }")
                .tables("[[routes]]\npath = \"/people/**\"\nallow = { providers = [\"script\"] }"),
        )
    })
    .await;
    (house, upstream, folder)
}

/// A browser shows it by itself, whatever page has it send a request.
#[tokio::test]
async fn no_certificate_counts_where_tokens_alone_do() {
    let authority = Authority::new();
    let table = "[issuer]\n[[routes]]\npath = \"/mcp/**\"\nmcp = true";
    let (house, upstream, _folder) = house_of(&authority, |plan| plan.tables(table)).await;
    let robot = authority.client("robot-7");
    let refused = ask(
        &house,
        Some(&robot),
        "/mcp/x",
        "Origin: https://evil.example\r\n",
    )
    .await;
    assert_eq!(refused.expect("an answer").0, 401);
    assert_eq!(upstream.count(), 0);
    seen(ask(&house, Some(&robot), "/page", "").await);
}

/// A request over a connection with that certificate: the status and the body; none where there is no connection.
async fn ask(
    house: &House,
    client: Option<&Client>,
    path: &str,
    more: &str,
) -> Option<(u16, String)> {
    let stream = TcpStream::connect(house.address).await.expect("a socket");
    let shown = client.map(|Client(chain, key)| (chain.clone(), key.clone_key()));
    let mut stream = tls::showing(stream, shown).await.ok()?;
    let host = house.public_url.trim_start_matches("https://");
    let asked = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nConnection: close\r\n{more}\r\n"
    );
    stream.write_all(asked.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // Some servers end without a goodbye.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

fn seen(answer: Option<(u16, String)>) -> Value {
    let (status, body) = answer.expect("an answer");
    assert_eq!(status, 200, "{body}");
    let json = body.find('{').zip(body.rfind('}'));
    let (begin, end) = json.expect("what the app saw");
    serde_json::from_str(&body[begin..=end]).expect("JSON")
}

fn told(seen: &Value, name: &str) -> Vec<String> {
    let headers = seen["headers"].as_array().expect("headers");
    let named = headers.iter().filter(|pair| pair[0] == name);
    named
        .map(|pair| pair[1].as_str().expect("text").to_owned())
        .collect()
}

#[tokio::test]
async fn whoever_shows_a_certificate_is_known_by_it_and_judged_like_everybody() {
    let authority = Authority::new();
    let (house, upstream, _folder) = house_of(&authority, |plan| plan).await;
    let robot = authority.client("robot-7");
    let page = seen(ask(&house, Some(&robot), "/page", "X-User: mallory\r\n").await);
    assert_eq!(told(&page, "x-user"), ["robot-7"]);
    assert_eq!(told(&page, "x-user-id"), ["certificate:robot-7"]);
    assert_eq!(told(&page, "x-user-groups"), ["robots"]);
    seen(ask(&house, Some(&robot), "/robots/x", "").await);
    let other = authority.sign(&params("visitor", "guests"));
    let barred = ask(&house, Some(&other), "/robots/x", "").await;
    assert_eq!(barred.expect("an answer").0, 403);
    let barred = ask(&house, Some(&robot), "/people/x", "").await;
    assert_eq!(barred.expect("an answer").0, 403);

    // Nobody's, two names', another authority's, and one's that has expired.
    let before = upstream.count();
    let nobody = ask(&house, None, "/page", "").await;
    assert_eq!(nobody.expect("an answer").0, 401);
    let mut two = params("one", "robots");
    two.distinguished_name
        .push(DnType::CustomDnType(vec![2, 5, 4, 3]), "other");
    let two = ask(&house, Some(&authority.sign(&two)), "/page", "").await;
    assert_eq!(two.expect("an answer").0, 401);
    let stranger = Authority::new().client("robot-7");
    assert_eq!(ask(&house, Some(&stranger), "/page", "").await, None);
    let mut old = params("robot-7", "robots");
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    assert_eq!(
        ask(&house, Some(&authority.sign(&old)), "/page", "").await,
        None
    );
    assert_eq!(upstream.count(), before);

    let path = house.directory().join("trail.jsonl");
    let mut text = String::new();
    for _ in 0..1_000 {
        text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.contains("\"event\":\"login\"") && text.matches("credential_refused").count() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let logins = text
        .lines()
        .filter(|line| line.contains("\"event\":\"login\"") && line.contains("robot-7"));
    assert_eq!(logins.count(), 1, "{text}");
    for why in ["BadSignature", "expired"] {
        let mut refused = text
            .lines()
            .filter(|line| line.contains("\"event\":\"credential_refused\""));
        assert!(
            refused.any(|line| line.contains(why)
                && line.contains("\"credential\":\"certificate\"")
                && line.contains("127.0.0.1")),
            "{why}: {text}"
        );
    }
    for line in [
        "a client certificate was refused: ",
        "a client certificate gives no identity: it has no name, or several, for tls.client_name",
    ] {
        house.until_logged(line).await;
    }
}

#[tokio::test]
async fn a_session_counts_before_it_and_so_does_what_is_in_authorization() {
    let authority = Authority::new();
    let (house, _upstream, _folder) = house_of(&authority, |plan| {
        plan.top("state = \"memory\"").tables("[api_tokens]\n")
    })
    .await;
    let robot = authority.client("robot-7");
    let browser = house.browser();
    browser.sign_in("/").await;
    let reply = browser.fetch(Method::GET, "/page").send().await;
    assert_eq!(reply.status, StatusCode::OK);
    let person = reply.seen().header("x-user-id").map(str::to_owned);
    let cookie = format!("Cookie: {}\r\n", browser.cookies("/"));
    let both = seen(ask(&house, Some(&robot), "/page", &cookie).await);
    assert_eq!(told(&both, "x-user-id").first().cloned(), person);
    let wrong = "Authorization: Bearer sgp_x\r\n";
    let refused = ask(&house, Some(&robot), "/page", wrong).await;
    assert_eq!(refused.expect("an answer").0, 401);
}

/// A load balancer that shows a certificate of its own speaks for others.
#[tokio::test]
async fn the_certificate_of_a_trusted_proxy_is_nobodys_identity() {
    let authority = Authority::new();
    let (house, upstream, _folder) = house_of(&authority, |plan| {
        plan.top("trusted_proxies = [\"127.0.0.1\"]")
    })
    .await;
    let balancer = authority.client("balancer");
    let refused = ask(
        &house,
        Some(&balancer),
        "/page",
        "X-Forwarded-For: 192.0.2.1\r\n",
    )
    .await;
    assert_eq!(refused.expect("an answer").0, 401);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn another_name_may_be_whose_it_is() {
    let authority = Authority::new();
    let (house, _upstream, _folder) = house_of(&authority, |plan| {
        plan.environment("SIDEGATE_TLS__CLIENT_NAME", "uri")
    })
    .await;
    let mut ci = params("ignored", "robots");
    ci.subject_alt_names = vec![SanType::URI(
        "spiffe://example.org/ci".try_into().expect("text"),
    )];
    let page = seen(ask(&house, Some(&authority.sign(&ci)), "/page", "").await);
    assert_eq!(
        told(&page, "x-user-id"),
        ["certificate:spiffe://example.org/ci"]
    );
    let without = ask(&house, Some(&authority.client("robot-7")), "/page", "").await;
    assert_eq!(without.expect("an answer").0, 401);
}

/// The page's own commands make one that opens the gate. Without an extension it is of version 1, and the log says what to do.
#[tokio::test]
async fn the_certificate_that_the_page_makes_opens_the_gate() {
    let page = std::fs::read_to_string(house::root().join("docs/client-certificates.md"));
    let page = page.expect("the page");
    let (_, section) = page
        .split_once("## Make a certificate\n")
        .expect("its section");
    let (_, rest) = section.split_once("```sh\n").expect("a block");
    let (commands, _) = rest.split_once("```").expect("its end");
    let folder = tempfile::tempdir().expect("a folder");
    let make = |commands: &str| {
        let mut shell = std::process::Command::new("bash");
        let output = shell
            .args(["-euc", commands])
            .current_dir(folder.path())
            .output()
            .expect("bash runs");
        assert!(output.status.success(), "{output:?}");
    };
    make(commands);
    let chain = CertificateDer::pem_file_iter(folder.path().join("robot.crt"));
    let chain = chain.expect("a certificate").map(|one| one.expect("PEM"));
    let key = PrivateKeyDer::from_pem_file(folder.path().join("robot.key"));
    let robot = Client(chain.collect(), Arc::new(key.expect("a key")));
    let authority = folder.path().join("client-ca.pem");
    let (house, _upstream, _provider) = standard_with(|plan| {
        plan.tls()
            .environment("SIDEGATE_TLS__CLIENT_CA", &authority.display().to_string())
    })
    .await;
    let page = seen(ask(&house, Some(&robot), "/page", "").await);
    assert_eq!(told(&page, "x-user-id"), ["certificate:robot-7"]);
    assert_eq!(told(&page, "x-user-groups"), ["robots"]);
    make(
        "openssl x509 -req -in robot.csr -CA client-ca.pem -CAkey client-ca.key -days 30 -out robot.crt",
    );
    // Newer versions of openssl make one of version 3 all the same.
    let version = "openssl x509 -in robot.crt -noout -text | grep -q 'Version: 1'";
    let mut shell = std::process::Command::new("bash");
    let is_old = shell
        .args(["-c", version])
        .current_dir(folder.path())
        .status();
    if is_old.expect("bash runs").success() {
        // Not every client sends one of version 1.
        let mut curl = std::process::Command::new("curl");
        let url = format!("https://{}/page", house.address);
        let curl = curl
            .args(["-sk", "--cert", "robot.crt", "--key", "robot.key", &url])
            .current_dir(folder.path());
        assert!(!curl.status().expect("curl runs").success());
        house.until_logged("must be of version 3").await;
    }
}

#[test]
fn the_block_that_the_page_begins_with_is_right() {
    let page = std::fs::read_to_string(house::root().join("docs/client-certificates.md"));
    let page = page.expect("the page");
    let (_, rest) = page.split_once("```toml\n").expect("a block");
    let (block, _) = rest.split_once("```").expect("its end");
    let folder = tempfile::tempdir().expect("a folder");
    tls::write_files(folder.path());
    let authority = Authority::new();
    std::fs::write(folder.path().join("client-ca.pem"), &authority.pem).expect("written");
    let (cert, key) = tls::write_files(folder.path());
    let block = block
        .replace("/etc/sidegate/tls.crt", &cert.display().to_string())
        .replace("/etc/sidegate/tls.key", &key.display().to_string())
        .replace("/etc/sidegate/", "");
    let check = |block: &str| {
        let text = format!(
            "upstream = \"http://127.0.0.1:8000\"\npublic_url = \"https://app.example.com\"\n\
             [session]\nsecret = \"{}\"\n[providers.hub]\ntype = \"github\"\nclient_id = \"a\"\n\
             client_secret = \"b\"\nallow = \"anyone\"\n{block}\n",
            house::SECRET
        );
        let config = folder.path().join("sidegate.toml");
        std::fs::write(&config, text).expect("written");
        let mut check = house::sidegate();
        let output = check.args(["check", "-c"]).arg(&config).output();
        output.expect("it runs")
    };
    let checked = check(&block);
    assert!(checked.status.success(), "{checked:?}");
    std::fs::write(folder.path().join("client-ca.pem"), "nothing").expect("written");
    let checked = check(&block);
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(
        said.contains("no certificate authority in the file"),
        "{said}"
    );
}
