//! The PROXY protocol (`HAProxy`'s `doc/proxy-protocol.txt`, versions 1 and 2): what a proxy says about a connection before its
//! first byte. Pure.
//!
//! Everybody who can connect can write any header, and a missing header looks like one that is still to come. So a listener either
//! requires the header or does not know it, and only a complete and well-formed one counts.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str,
};

/// Whom the connection is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// This client's, whom the proxy speaks for.
    Client(IpAddr),
    /// The proxy's own (`LOCAL`: a health check), or of a client that has no address (`UNKNOWN`, `UNSPEC`, a Unix socket).
    Connection,
}

/// Why it is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What begins version 2; no HTTP and no TLS does.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What begins version 1.
const WORD: &[u8] = b"PROXY ";
/// The longest line of version 1, its end included (§2.1).
const LONGEST_LINE: usize = 107;
/// The longest accepted header of version 2. The format has room for 64 KiB; addresses take at most 216 bytes, and load
/// balancers add a few hundred.
pub const LONGEST: usize = 4 * 1024;

/// Reads the header that `bytes` begin with: whom it tells, and how long it is. None where more has to come.
///
/// # Errors
/// Where it will be no header whatever comes.
pub fn parse(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, Malformed> {
    let begins = |word: &[u8]| {
        let length = bytes.len().min(word.len());
        bytes[..length] == word[..length]
    };
    if begins(SIGNATURE) {
        binary(bytes)
    } else if begins(WORD) {
        line(bytes)
    } else {
        Err(Malformed("it begins with no header of the PROXY protocol"))
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.9 51234 443`, and CR LF.
fn line(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, Malformed> {
    let within = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = within
        .iter()
        .position(|byte| matches!(byte, b'\r' | b'\n'))
        .filter(|end| within[*end] == b'\n' || *end + 1 < within.len())
    else {
        return if bytes.len() < LONGEST_LINE {
            Ok(None)
        } else {
            Err(Malformed("its line has no end"))
        };
    };
    if within.get(end..end + 2) != Some(b"\r\n") {
        return Err(Malformed("its line does not end with CR LF"));
    }
    let malformed = Malformed("its line is malformed");
    let line = str::from_utf8(&within[WORD.len()..end]).map_err(|_| malformed)?;
    let mut fields = line.split(' ');
    let family = fields.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // What follows is to be ignored (§2.1).
        return Ok(Some((ProxyHeader::Connection, end + 2)));
    }
    let mut next = || fields.next().ok_or(malformed);
    let (source, target) = (next()?, next()?);
    let ports = [next()?, next()?];
    if fields.next().is_some() || !ports.into_iter().all(is_port) {
        return Err(malformed);
    }
    let source: IpAddr = match family {
        "TCP4" => {
            let address = |text: &str| text.parse::<Ipv4Addr>().map_err(|_| malformed);
            address(target)?;
            address(source)?.into()
        }
        "TCP6" => {
            let address = |text: &str| text.parse::<Ipv6Addr>().map_err(|_| malformed);
            address(target)?;
            address(source)?.into()
        }
        _ => return Err(malformed),
    };
    Ok(Some((ProxyHeader::Client(source.to_canonical()), end + 2)))
}

/// A decimal number without leading zeros.
fn is_port(text: &str) -> bool {
    let is_plain = text == "0" || !text.starts_with('0');
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number && is_plain && text.parse::<u16>().is_ok()
}

/// Version 2: the signature, version and command, family and transport, the length of the rest, addresses, more.
fn binary(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, Malformed> {
    let &[command, family, high, low] = match bytes.get(SIGNATURE.len()..SIGNATURE.len() + 4) {
        Some(fixed) => <&[u8; 4]>::try_from(fixed).map_err(|_| Malformed("it is cut"))?,
        None => return Ok(None),
    };
    if command >> 4 != 2 {
        return Err(Malformed("its version is neither 1 nor 2"));
    }
    let start = SIGNATURE.len() + 4;
    let length = start + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST {
        return Err(Malformed("it is too long"));
    }
    let is_of_client = match command & 0xf {
        0 => false,
        1 => true,
        _ => return Err(Malformed("its command is neither LOCAL nor PROXY")),
    };
    // Judged before it is whole: what lies is known early, and nothing waits for its rest.
    let needed = match family {
        _ if !is_of_client => 0,
        // Of no family that is known, or over no transport: nothing is told of addresses (§2.2).
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(Malformed("it tells of no stream")),
    };
    if length - start < needed {
        return Err(Malformed("its addresses are cut"));
    }
    let Some(rest) = bytes.get(start..length) else {
        return Ok(None);
    };
    let header = match (is_of_client, family) {
        (true, 0x11) => first::<4>(rest).map(|bytes| IpAddr::from(Ipv4Addr::from(bytes))),
        (true, 0x21) => first::<16>(rest).map(|bytes| IpAddr::from(Ipv6Addr::from(bytes))),
        _ => None,
    };
    let header = header.map_or(ProxyHeader::Connection, |source| {
        ProxyHeader::Client(source.to_canonical())
    });
    Ok(Some((header, length)))
}

fn first<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn of_line(line: &str) -> Result<Option<(ProxyHeader, usize)>, Malformed> {
        parse(line.as_bytes())
    }

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    fn client(text: &str) -> ProxyHeader {
        ProxyHeader::Client(text.parse().unwrap())
    }

    #[test]
    fn a_line_tells_its_client() {
        for (line, expected) in [
            (
                "PROXY TCP4 192.0.2.1 192.0.2.9 51234 443\r\n",
                client("192.0.2.1"),
            ),
            (
                "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
                client("0.0.0.0"),
            ),
            ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", client("2001:db8::1")),
            (
                "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
                client("192.0.2.1"),
            ),
            ("PROXY UNKNOWN\r\n", ProxyHeader::Connection),
            (
                "PROXY UNKNOWN ffff::1 whatever 1 2\r\n",
                ProxyHeader::Connection,
            ),
        ] {
            assert_eq!(of_line(line), Ok(Some((expected, line.len()))), "{line}");
            let more = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(of_line(&more), Ok(Some((expected, line.len()))), "{line}");
            for cut in 0..line.len() {
                assert_eq!(of_line(&line[..cut]), Ok(None), "{}", &line[..cut]);
            }
        }
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_LINE - 16));
        assert_eq!(longest.len(), LONGEST_LINE);
        assert_eq!(
            of_line(&longest),
            Ok(Some((ProxyHeader::Connection, LONGEST_LINE)))
        );
    }

    #[test]
    fn what_is_no_line_is_none() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 192.0.2.1 192.0.2.9 1 2\r\n",
            "PROXY\tTCP4 192.0.2.1 192.0.2.9 1 2\r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.9 1 2\r\n",
            "PROXY TCP4  192.0.2.1 192.0.2.9 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 1 2 \r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 1 2\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 1 2\rX",
            "PROXY TCP4 192.0.2.1 192.0.2.9 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 -1 2\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.9 1 2\r\n",
            "PROXY TCP4 192.0.2.256 192.0.2.9 1 2\r\n",
            "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.9 1 2\r\n",
            "PROXY TCP6 [::1] ::1 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.9 1 2\r\n",
            "PROXY tcp4 192.0.2.1 192.0.2.9 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
            "PROXY TCP4 evil 192.0.2.9 1 2\r\n",
        ] {
            assert!(of_line(line).is_err(), "{line}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(LONGEST_LINE));
        assert!(of_line(&endless).is_err());
    }

    #[test]
    fn version_2_tells_its_client() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 9, 0, 1, 0, 2];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        let with_more = [&v4[..], &[0x04, 0, 1, b'x']].concat();
        for (bytes, expected) in [
            (header(0x21, 0x11, &v4), client("192.0.2.1")),
            (header(0x21, 0x11, &with_more), client("192.0.2.1")),
            (header(0x21, 0x21, &v6), client("2001:db8::1")),
            // LOCAL: whatever it says of addresses is to be skipped.
            (header(0x20, 0x00, &[]), ProxyHeader::Connection),
            (header(0x20, 0x11, &v4), ProxyHeader::Connection),
            (header(0x20, 0xff, b"more"), ProxyHeader::Connection),
            (header(0x21, 0x00, b"more"), ProxyHeader::Connection),
            (header(0x21, 0x31, &[0; 216]), ProxyHeader::Connection),
        ] {
            assert_eq!(parse(&bytes), Ok(Some((expected, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut}");
            }
        }
    }

    #[test]
    fn what_is_no_version_2_is_none() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 9, 0, 1, 0, 2];
        for bytes in [
            header(0x11, 0x11, &v4),
            header(0x31, 0x11, &v4),
            header(0x22, 0x11, &v4),
            header(0x2f, 0x11, &v4),
            header(0x21, 0x12, &v4),
            header(0x21, 0x10, &v4),
            header(0x21, 0x41, &v4),
            header(0x21, 0x11, &v4[..11]),
            header(0x21, 0x21, &v4),
            header(0x21, 0x31, &v4),
            header(0x21, 0x11, &[0; LONGEST]),
            b"\r\n\r\n\0\r\nQUIt\n".to_vec(),
        ] {
            assert!(parse(&bytes).is_err(), "{bytes:?}");
        }
        // Known before it has come.
        assert!(parse(&header(0x21, 0x11, &[0; LONGEST])[..16]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(
            begin in prop_oneof![Just(&b""[..]), Just(WORD), Just(SIGNATURE)], bytes in vec(any::<u8>(), 0..300),
        ) {
            let bytes = [begin, &bytes].concat();
            let whole = parse(&bytes);
            if let Ok(Some((_, length))) = whole {
                prop_assert!(length <= bytes.len() && length <= LONGEST);
                // It ends where it ends, however it comes.
                prop_assert_eq!(parse(&bytes[..length]), whole);
                prop_assert_eq!(parse(&bytes[..length - 1]), Ok(None));
            }
        }

        #[test]
        fn whom_it_tells_survives_both_spellings(source: IpAddr, port: u16) {
            let expected = ProxyHeader::Client(source.to_canonical());
            let (family, line, addresses) = match source {
                IpAddr::V4(address) => (0x11, "TCP4", [&address.octets()[..], &[0; 8]].concat()),
                IpAddr::V6(address) => (0x21, "TCP6", [&address.octets()[..], &[0; 20]].concat()),
            };
            let line = format!("PROXY {line} {source} {source} {port} 443\r\n");
            prop_assert_eq!(of_line(&line), Ok(Some((expected, line.len()))));
            let bytes = header(0x21, family, &addresses);
            prop_assert_eq!(parse(&bytes), Ok(Some((expected, bytes.len()))));
        }
    }
}
