//! `run` where it cannot listen, and `health` of a gate that runs.

use std::process::{Command, Output};

use crate::support::{House, house::sidegate, ports, tls};

const GOOD: &str = "upstream = \"http://127.0.0.1:8000\"
public_url = \"https://app.example.com\"

[providers.corp]
type = \"oidc\"
issuer = \"https://login.example.com\"
client_id = \"app\"
allow = { domains = [\"example.com\"] }
";

/// What a gate says that ends at once, started with these lines on top by `command`.
fn refused(top: &str, mut command: Command) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("test.toml");
    std::fs::write(&file, format!("{top}\n{GOOD}")).expect("the file is written");
    // Whoever is not root must reach it, too.
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), everybody).expect("the mode is set");
    let output = command
        .args(["run", "-c"])
        .arg(&file)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[test]
fn a_taken_port_is_told_with_key_address_and_what_to_do() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let taken = listener.local_addr().expect("an address");
    let free = ports::free_address();
    for (key, top) in [
        ("listen", format!("listen = \"{taken}\"")),
        (
            "admin_listen",
            format!("listen = \"{free}\"\nadmin_listen = \"{taken}\""),
        ),
    ] {
        let said = refused(&top, sidegate());
        let start = format!("`{key}`: cannot listen on {taken}: ");
        assert!(said.contains(&start), "{said}");
        assert!(
            said.contains(&format!("sport = :{}", taken.port())),
            "{said}"
        );
        assert!(said.contains("another port"), "{said}");
    }
}

#[test]
fn a_port_for_root_is_told_with_what_to_do() {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if first.is_ok_and(|first| first.trim() == "0") {
        // Some container engines give every port to everybody.
        return;
    }
    let ours = std::fs::metadata("/proc/self").expect("a process");
    let mut command = sidegate();
    if std::os::unix::fs::MetadataExt::uid(&ours) == 0 {
        command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--clear-groups"])
            .args(["--bounding-set", "-all"])
            .arg(sidegate().get_program());
    }
    let said = refused("listen = \"127.0.0.1:1\"", command);
    let start = "`listen`: cannot listen on 127.0.0.1:1: ";
    assert!(said.contains(start), "{said}");
    assert!(said.contains("CAP_NET_BIND_SERVICE"), "{said}");
}

async fn health(top: &str) -> Output {
    let toml = format!("{top}\n{GOOD}");
    let ask = move || {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("test.toml");
        std::fs::write(&file, toml).expect("the file is written");
        let mut command = sidegate();
        command.args(["health", "-c"]).arg(&file);
        command.output().expect("it runs")
    };
    tokio::task::spawn_blocking(ask).await.expect("it ran")
}

/// A container's health check has the configuration, and nothing to trust the certificate by.
#[tokio::test]
async fn health_asks_a_listener_that_speaks_tls() {
    let house = House::plan().tls().start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (cert, key) = tls::write_files(directory.path());
    let files = format!(
        "tls = {{ cert = \"{}\", key = \"{}\" }}",
        cert.display(),
        key.display()
    );
    let at = |address| format!("listen = \"{address}\"\n{files}");
    let healthy = health(&at(house.address)).await;
    let said = String::from_utf8_lossy(&healthy.stderr);
    assert_eq!(healthy.status.code(), Some(0), "{said}");

    let plain = House::plan().start().await;
    for address in [plain.address, ports::free_address()] {
        let sick = health(&at(address)).await;
        assert_eq!(sick.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&sick.stderr).contains("not healthy: "));
    }
}

#[tokio::test]
async fn health_wants_no_secret() {
    let house = House::plan().start().await;
    let listen = format!("listen = \"{}\"", house.address);
    let secret = "session.secret = { env = \"NOWHERE_IN_THIS_SHELL\" }";
    let healthy = health(&format!("{listen}\n{secret}")).await;
    let said = String::from_utf8_lossy(&healthy.stderr);
    assert_eq!(healthy.status.code(), Some(0), "{said}");
}

/// What `run` could not use, `check` says, with the line and what to do.
#[test]
fn certificate_and_key_are_looked_into() {
    let directory = tempfile::tempdir().expect("a directory");
    let (cert, key) = tls::write_files(directory.path());
    let foreign = directory.path().join("foreign.pem");
    let other = rcgen::KeyPair::generate().expect("a key");
    std::fs::write(&foreign, other.serialize_pem()).expect("written");
    let junk = directory.path().join("junk.pem");
    std::fs::write(&junk, "junk").expect("written");
    for (cert, key, said) in [
        (&cert, &key, None),
        (
            &cert,
            &foreign,
            Some("does not belong to the certificate in"),
        ),
        (&cert, &junk, Some("no private key in")),
        (&junk, &key, Some("no certificate in")),
        (&key, &cert, Some("no certificate in")),
    ] {
        let files = format!(
            "tls = {{ cert = \"{}\", key = \"{}\" }}",
            cert.display(),
            key.display()
        );
        let file = directory.path().join("test.toml");
        std::fs::write(&file, format!("{files}\n{GOOD}")).expect("the file is written");
        let output = sidegate().args(["check", "-c"]).arg(&file).output();
        let output = output.expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        match said {
            None => assert_eq!(output.status.code(), Some(0), "{text}"),
            Some(said) => {
                assert_eq!(output.status.code(), Some(2), "{text}");
                assert!(
                    text.contains(said) && text.contains("test.toml:1:"),
                    "{text}"
                );
            }
        }
    }
}
