//! The static binary in an empty root: what the Dockerfile's last stage holds, and nothing more.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use super::{files_below, free_port, fresh_secret, in_repository, run, said};

const GREETING: &str = "hello from the app";

#[test]
fn static_binary_serves_in_an_empty_root() {
    let app = app_that_greets();
    let gate = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let root = empty_root(gate, app);
    let before = files_below(root.path(), "");

    let dockerfile = fs::read_to_string(in_repository("deploy/Dockerfile")).unwrap();
    let mut words = exec_form(&dockerfile, "ENTRYPOINT ");
    words.extend(exec_form(&dockerfile, "CMD "));
    let mut start = inside(root.path(), &words, &dockerfile);
    let health = exec_form(&dockerfile, "HEALTHCHECK ");
    let mut ask_health = inside(root.path(), &health, &dockerfile);

    let mut running = Running(start.spawn().unwrap());

    let (status, _) = running.until_it_answers(gate, "/oauth2/ping");
    assert_eq!(status, 200);
    let health = run(&mut ask_health);
    assert!(health.status.success(), "{}", said(&health));

    // The app's name stands in the root's /etc/hosts alone, and no libc lies beside the binary.
    let (status, body) = get(gate, "/public/hello").unwrap();
    assert_eq!((status, body.as_str()), (200, GREETING));
    let (status, body) = get(gate, "/private").unwrap();
    assert_ne!(status, 200);
    assert!(!body.contains(GREETING));

    assert_eq!(running.stop().code(), Some(0), "SIGTERM is a graceful stop");
    let health = run(&mut ask_health);
    assert!(
        !health.status.success(),
        "a gate that is gone is not healthy"
    );
    assert_eq!(files_below(root.path(), ""), before, "nothing is written");
}

/// What the Dockerfile's last stage holds, and what a container runtime adds to it.
fn empty_root(gate: SocketAddr, app: SocketAddr) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("static");
    // The development profile: the optimised one takes minutes more and differs in nothing tested here.
    let mut build = Command::new(in_repository("deploy/build-static"));
    build
        .arg(root.path().join("sidegate"))
        .arg("dev")
        .env("CARGO_TARGET_DIR", built);
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
        (
            "run/secrets/client_secret",
            "not used: the provider is down",
        ),
        ("run/secrets/session_secret", &secret),
    ] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

/// `words` with the Dockerfile's environment, as a user who owns nothing, with `root` for a root.
fn inside(root: &Path, words: &[String], dockerfile: &str) -> Command {
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
    let (name, value) = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("ENV ")?.split_once('='))
        .unwrap();
    command.arg(root).args(words).env_clear().env(name, value);
    command
}

/// The JSON list at the end of the Dockerfile's last line that begins with `instruction`.
fn exec_form(dockerfile: &str, instruction: &str) -> Vec<String> {
    let line = dockerfile
        .lines()
        .rfind(|line| line.starts_with(instruction))
        .unwrap();
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
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost:{}\r\nconnection: close\r\n\r\n",
        address.port()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((
        status.ok_or(std::io::ErrorKind::InvalidData)?,
        body.to_owned(),
    ))
}
