//! What `deploy/` ships, as far as a machine without a container engine or a cluster can tell.
//!
//! Each configuration passes `sidegate check`, each file its own tool or schema, and the binary, built
//! by the Dockerfile's own command, serves in an empty root as the Dockerfile's own command starts it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

const SIDEGATE: &str = env!("CARGO_BIN_EXE_sidegate");
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn every_configuration_passes_check() {
    let secret = fresh_secret();
    let mut configurations = files_below(&in_repository("deploy"), "toml");
    assert!(configurations.len() >= 3, "{configurations:?}");
    configurations.push(in_repository("config.example.toml"));
    for path in configurations {
        let place = tempfile::tempdir().unwrap();
        let copy = with_secrets(&path, place.path(), &secret);
        let output = run(Command::new(SIDEGATE).args(["check", "--config"]).arg(&copy));
        assert!(output.status.success(), "{}: {}", path.display(), said(&output));
    }
}

/// Whoever applies the manifests as they are must get a gate that will not start, not one that seals
/// sessions with a secret the whole world can read.
#[test]
fn placeholder_secrets_are_refused() {
    let manifest = fs::read_to_string(in_repository("deploy/kubernetes/secret.yaml")).unwrap();
    assert_eq!(manifest.matches(": \"\"").count(), 2, "both placeholders are empty: {manifest}");
    let place = tempfile::tempdir().unwrap();
    let copy = with_secrets(&in_repository("deploy/kubernetes/sidegate.toml"), place.path(), "");
    let output = run(Command::new(SIDEGATE).args(["check", "--config"]).arg(&copy));
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
    let manifests = run(kubectl.arg("kustomize").arg(in_repository("deploy/kubernetes")));
    assert!(manifests.status.success(), "{}", said(&manifests));

    let mut validator = tool("node", "nodejs")
        .arg(folder.join("validate.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    validator.stdin.take().unwrap().write_all(&manifests.stdout).unwrap();
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
    fs::write(&unit, text.replace(installed, &format!("ExecStart={SIDEGATE} "))).unwrap();

    let mut verify = tool("systemd-analyze", "systemd");
    let output = run(verify.args(["verify", "--man=no"]).arg(&unit));
    // An unknown or misspelled setting is only a warning, and the setting then does nothing.
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));

    let mut security = tool("systemd-analyze", "systemd");
    let security = security.args(["security", "--offline=true", "--threshold=15", "--no-pager"]);
    let output = run(security.arg(&unit));
    assert!(output.status.success(), "exposed above 1.5 of 10: {}", said(&output));
}

#[test]
fn nginx_accepts_its_snippet() {
    let place = tempfile::tempdir().unwrap();
    let certificate = rcgen::generate_simple_self_signed(["app.example.com".to_owned()]).unwrap();
    fs::write(place.path().join("fullchain.pem"), certificate.cert.pem()).unwrap();
    fs::write(place.path().join("privkey.pem"), certificate.signing_key.serialize_pem()).unwrap();
    let snippet = fs::read_to_string(in_repository("deploy/nginx/sidegate.conf")).unwrap();
    let snippet = snippet
        .replace("/etc/ssl/app.example.com", &place.path().display().to_string())
        // Binding 443 would need root.
        .replace("listen 443 ", &format!("listen 127.0.0.1:{} ", free_port()));
    let whole = format!("pid nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{snippet}}}\n");
    let path = place.path().join("nginx.conf");
    fs::write(&path, whole).unwrap();
    let mut nginx = tool("/usr/sbin/nginx", "nginx");
    let output = run(nginx.args(["-t", "-q", "-e", "stderr", "-p"]).arg(place.path()).arg("-c").arg(&path));
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
}

#[test]
fn static_binary_serves_in_an_empty_root() {
    let app = app_that_greets();
    let gate = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let root = empty_root(gate, app);
    let before = files_below(root.path(), "");

    let dockerfile = fs::read_to_string(in_repository("deploy/Dockerfile")).unwrap();
    let mut words = exec_form(&dockerfile, "ENTRYPOINT ");
    words.extend(exec_form(&dockerfile, "CMD "));
    let mut running = Running(inside(root.path(), &words).stderr(Stdio::inherit()).spawn().unwrap());

    let (status, _) = running.until_it_answers(gate, "/ping");
    assert_eq!(status, 200);
    let health = run(&mut inside(root.path(), &exec_form(&dockerfile, "HEALTHCHECK ")));
    assert!(health.status.success(), "{}", said(&health));

    // The app's name stands in the root's /etc/hosts alone, and no libc lies beside the binary.
    let (status, body) = get(gate, "/public/hello").unwrap();
    assert_eq!((status, body.as_str()), (200, GREETING));
    let (status, body) = get(gate, "/private").unwrap();
    assert_ne!(status, 200);
    assert!(!body.contains(GREETING));

    assert_eq!(running.stop().code(), Some(0), "SIGTERM is a graceful stop");
    let refused = run(&mut inside(root.path(), &exec_form(&dockerfile, "HEALTHCHECK ")));
    assert!(!refused.status.success(), "a gate that is gone is not healthy");
    assert_eq!(files_below(root.path(), ""), before, "nothing is written");
}

const GREETING: &str = "hello from the app";

/// What the Dockerfile's last stage holds, and what a container runtime adds to it.
fn empty_root(gate: SocketAddr, app: SocketAddr) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("static");
    // The development profile: the optimised one takes minutes more and differs in nothing tested here.
    let mut build = Command::new(in_repository("deploy/build-static"));
    build.arg(root.path().join("sidegate")).arg("dev").env("CARGO_TARGET_DIR", built);
    let output = run(&mut build);
    assert!(output.status.success(), "{}", said(&output));

    let config = format!(
        r#"
        listen     = "{gate}"
        public_url = "http://localhost:{port}"
        upstream   = "http://app.internal:{app_port}"

        [providers.down]
        type          = "oidc"
        issuer        = "http://127.0.0.1:1"
        client_id     = "sidegate"
        client_secret = {{ file = "/run/secrets/client_secret" }}
        allow         = "anyone"

        [session]
        secret = {{ file = "/run/secrets/session_secret" }}

        [[routes]]
        path   = "/public/**"
        access = "public"
        "#,
        port = gate.port(),
        app_port = app.port(),
    );
    let secret = fresh_secret();
    for (path, text) in [
        ("etc/hosts", "127.0.0.1 app.internal\n"),
        ("etc/resolv.conf", "nameserver 127.0.0.1\n"),
        ("etc/sidegate/sidegate.toml", &config),
        ("run/secrets/client_secret", "not used: the provider is down"),
        ("run/secrets/session_secret", &secret),
    ] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

/// `words` as the Dockerfile's user, who owns nothing, with `root` for a root.
fn inside(root: &Path, words: &[String]) -> Command {
    let id = run(Command::new("id").arg("-u"));
    let mut command = if id.stdout == b"0\n" {
        let mut chroot = Command::new("/usr/sbin/chroot");
        chroot.arg("--userspec=65532:65532");
        chroot
    } else {
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "/usr/sbin/chroot"]);
        unshare
    };
    command.arg(root).args(words).env_clear();
    command
}

/// The JSON list at the end of the Dockerfile's last line that begins with `instruction`.
fn exec_form(dockerfile: &str, instruction: &str) -> Vec<String> {
    let line = dockerfile.lines().rfind(|line| line.starts_with(instruction)).unwrap();
    let list = &line[line.find('[').unwrap()..];
    serde_json::from_str(list).unwrap()
}

fn app_that_greets() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{GREETING}",
                GREETING.len()
            );
        }
    });
    address
}

/// A gate that is killed with the test, however the test ends.
struct Running(Child);

impl Running {
    fn until_it_answers(&mut self, gate: SocketAddr, path: &str) -> (u16, String) {
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            match get(gate, path) {
                Ok(answer) => return answer,
                Err(error) => assert!(Instant::now() < patience, "no answer: {error}"),
            }
            let exit = self.0.try_wait().unwrap();
            assert!(exit.is_none(), "ended instead of serving: {exit:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(mut self) -> ExitStatus {
        let kill = format!("kill -TERM {}", self.0.id());
        assert!(run(Command::new("sh").args(["-c", &kill])).status.success());
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < patience, "does not stop");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost:{}\r\nconnection: close\r\n\r\n", address.port())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
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
    fs::write(&copy, text.replace(FILE, &format!("{{ file = \"{}/", place.display()))).unwrap();
    copy
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
    let found = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(found.is_ok(), "{name} is missing: run tests/run, or install Debian's package {package}");
    Command::new(name)
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}
