//! Why the system refuses to listen at an address, and what to do about it. Pure.

use std::io::{self, ErrorKind};

use crate::listen::settings::ListenAddress;

/// What to tell an operator whose `key` names `address`.
pub fn refusal(key: &str, address: &ListenAddress, error: &io::Error) -> String {
    let hint = match address {
        ListenAddress::Tcp(address) => of_port(key, address.port(), error.kind()),
        ListenAddress::Unix(_) => of_socket(key, error.kind()),
    };
    let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
    format!("`{key}`: cannot listen on {address}: {error}{hint}")
}

fn of_port(key: &str, port: u16, kind: ErrorKind) -> Option<String> {
    match kind {
        ErrorKind::AddrInUse => Some(format!(
            "another process has the port (`ss -ltnp 'sport = :{port}'` shows which): end that one, or give `{key}` \
             another port"
        )),
        ErrorKind::PermissionDenied if port < 1024 => Some(format!(
            "ports below 1024 are for root: give `{key}` a higher one, as 8080, or this process the right \
             (CAP_NET_BIND_SERVICE; in a unit of systemd AmbientCapabilities=CAP_NET_BIND_SERVICE)"
        )),
        ErrorKind::AddrNotAvailable => Some(format!(
            "this machine has no such address (`ip addr` shows those that it has); in a container give `{key}` \
             \"0.0.0.0:{port}\""
        )),
        _ => None,
    }
}

fn of_socket(key: &str, kind: ErrorKind) -> Option<String> {
    match kind {
        ErrorKind::AddrInUse => Some(format!(
            "another process serves it, or a file is in its place: end that one, or give `{key}` another path"
        )),
        ErrorKind::NotFound => Some("make its folder first".to_owned()),
        ErrorKind::PermissionDenied => {
            Some("this user may not write into its folder: see owner and mode".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_key_which_address_and_what_to_do() {
        let says = |address: ListenAddress, kind: ErrorKind| {
            refusal("listen", &address, &io::Error::from(kind))
        };
        let tcp = |text: &str| ListenAddress::Tcp(text.parse().unwrap());
        let unix = || ListenAddress::Unix("/run/gate.sock".into());
        for (text, address, parts) in [
            (
                says(tcp("0.0.0.0:4180"), ErrorKind::AddrInUse),
                "0.0.0.0:4180",
                &["another port", "ss -ltnp 'sport = :4180'"][..],
            ),
            (
                says(tcp("[::]:443"), ErrorKind::PermissionDenied),
                "[::]:443",
                &["below 1024", "CAP_NET_BIND_SERVICE"],
            ),
            (
                says(tcp("203.0.113.7:80"), ErrorKind::AddrNotAvailable),
                "203.0.113.7:80",
                &["no such address", "\"0.0.0.0:80\""],
            ),
            (
                says(unix(), ErrorKind::NotFound),
                "unix:/run/gate.sock",
                &["folder first"],
            ),
            (
                says(unix(), ErrorKind::AddrInUse),
                "unix:/run/gate.sock",
                &["another path"],
            ),
            (
                says(unix(), ErrorKind::PermissionDenied),
                "unix:/run/gate.sock",
                &["owner and mode"],
            ),
        ] {
            let start = format!("`listen`: cannot listen on {address}: ");
            assert!(text.starts_with(&start), "{text}");
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
        // A high port that is refused is another trouble.
        let text = says(tcp("0.0.0.0:4180"), ErrorKind::PermissionDenied);
        assert!(!text.contains("1024"), "{text}");
    }
}
