//! What `deploy/` ships, as far as a machine without a container engine or a cluster can tell.
//!
//! Each configuration passes `sidegate check`, each file its own tool or schema, and the binary, built
//! by the Dockerfile's own command, serves in an empty root as the Dockerfile's own command starts it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod auth_request;
mod caddy;
mod empty_root;

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const SIDEGATE: &str = env!("CARGO_BIN_EXE_sidegate");
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn every_configuration_passes_check() {
    let secret = fresh_secret();
    let mut configurations = files_below(&in_repository("deploy"), "toml");
    assert!(configurations.len() >= 3, "{configurations:?}");
    configurations.push(in_repository("config.example.toml"));
    let readme = tempfile::tempdir().unwrap();
    configurations.push(readme.path().join("README.toml"));
    fs::write(
        &configurations[configurations.len() - 1],
        first_toml_of_the_readme(),
    )
    .unwrap();
    for path in configurations {
        let place = tempfile::tempdir().unwrap();
        let copy = with_secrets(&path, place.path(), &secret);
        let mut check = Command::new(SIDEGATE);
        check.args(["check", "--config"]).arg(&copy);
        let output = run(check.env("GOOGLE_CLIENT_SECRET", "as the README has it"));
        assert!(
            output.status.success(),
            "{}: {}",
            path.display(),
            said(&output)
        );
    }
}

/// Whoever applies the manifests as they are must get a gate that will not start, not one that seals
/// sessions with a secret the whole world can read.
#[test]
fn placeholder_secrets_are_refused() {
    let manifest = fs::read_to_string(in_repository("deploy/kubernetes/secret.yaml")).unwrap();
    assert_eq!(
        manifest.matches(": \"\"").count(),
        2,
        "both placeholders are empty: {manifest}"
    );
    let place = tempfile::tempdir().unwrap();
    let copy = with_secrets(
        &in_repository("deploy/kubernetes/sidegate.toml"),
        place.path(),
        "",
    );
    let output = run(Command::new(SIDEGATE)
        .args(["check", "--config"])
        .arg(&copy));
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("secret"), "{}", said(&output));
}

#[test]
fn manifests_compose_file_and_dockerfile_are_valid() {
    let folder = in_repository("tests/deploy");
    assert!(
        folder.join("node_modules").exists(),
        "the schemas are missing: run tests/run, or `npm ci --prefix tests/deploy`"
    );
    let mut kubectl = tool("kubectl", "kubernetes-client");
    let manifests = run(kubectl
        .arg("kustomize")
        .arg(in_repository("deploy/kubernetes")));
    assert!(manifests.status.success(), "{}", said(&manifests));

    let mut validator = tool("node", "nodejs")
        .arg(folder.join("validate.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    validator
        .stdin
        .take()
        .unwrap()
        .write_all(&manifests.stdout)
        .unwrap();
    let output = validator.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn systemd_accepts_the_unit_and_finds_it_hardened() {
    let place = tempfile::tempdir().unwrap();
    let unit = place.path().join("sidegate.service");
    let text = fs::read_to_string(in_repository("deploy/systemd/sidegate.service")).unwrap();
    let installed = "ExecStart=/usr/local/bin/sidegate ";
    assert!(text.contains(installed), "{text}");
    fs::write(
        &unit,
        text.replace(installed, &format!("ExecStart={SIDEGATE} ")),
    )
    .unwrap();

    let mut verify = tool("systemd-analyze", "systemd");
    let output = run(verify.args(["verify", "--man=no"]).arg(&unit));
    // An unknown or misspelled setting is only a warning, and the setting then does nothing.
    assert!(
        output.status.success() && said(&output).is_empty(),
        "{}",
        said(&output)
    );

    let mut security = tool("systemd-analyze", "systemd");
    let security = security.args(["security", "--offline=true", "--threshold=15", "--no-pager"]);
    let output = run(security.arg(&unit));
    assert!(
        output.status.success(),
        "exposed above 1.5 of 10: {}",
        said(&output)
    );
}

#[test]
fn nginx_accepts_its_snippet() {
    let place = tempfile::tempdir().unwrap();
    let certificate = rcgen::generate_simple_self_signed(["app.example.com".to_owned()]).unwrap();
    fs::write(place.path().join("fullchain.pem"), certificate.cert.pem()).unwrap();
    fs::write(
        place.path().join("privkey.pem"),
        certificate.signing_key.serialize_pem(),
    )
    .unwrap();
    let snippet = fs::read_to_string(in_repository("deploy/nginx/sidegate.conf")).unwrap();
    let snippet = snippet
        .replace(
            "/etc/ssl/app.example.com",
            &place.path().display().to_string(),
        )
        // Binding 443 would need root.
        .replace("listen 443 ", &format!("listen 127.0.0.1:{} ", free_port()));
    let whole = format!(
        "pid nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{snippet}}}\n"
    );
    let path = place.path().join("nginx.conf");
    fs::write(&path, whole).unwrap();
    let mut nginx = tool("/usr/sbin/nginx", "nginx");
    let output = run(nginx
        .args(["-t", "-q", "-e", "stderr", "-p"])
        .arg(place.path())
        .arg("-c")
        .arg(&path));
    assert!(
        output.status.success() && said(&output).is_empty(),
        "{}",
        said(&output)
    );
}

/// A copy of a configuration in `place`, with its secret files there too, all holding `secret`.
fn with_secrets(path: &Path, place: &Path, secret: &str) -> PathBuf {
    const FILE: &str = "{ file = \"/";
    let text = fs::read_to_string(path).unwrap();
    for found in text.split(FILE).skip(1) {
        let file = place.join(found.split('"').next().unwrap());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, secret).unwrap();
    }
    let copy = place.join("sidegate.toml");
    fs::write(
        &copy,
        text.replace(FILE, &format!("{{ file = \"{}/", place.display())),
    )
    .unwrap();
    copy
}

fn first_toml_of_the_readme() -> String {
    let readme = fs::read_to_string(in_repository("README.md")).unwrap();
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn fresh_secret() -> String {
    let output = run(Command::new(SIDEGATE).arg("secret"));
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(REPOSITORY).join(path)
}

/// All files below a folder whose names end so, sorted.
fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, extension));
        } else if extension.is_empty() || path.extension().is_some_and(|its| its == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A program that the tests need, or a sentence that says where to get it.
fn tool(name: &str, package: &str) -> Command {
    let found = Command::new(name)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(
        found.is_ok(),
        "{name} is missing: run tests/run, or install Debian's package {package}"
    );
    Command::new(name)
}

fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}
