//! The identity of a client certificate. TLS verifies it when a connection begins, and its name is read once.

mod der;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

pub use self::der::Certificate;
use crate::{
    clock::Timestamp,
    credential::{Proof, Verified, Voucher},
    identity::Identity,
    text::Text,
    tokens::Tokens,
};

/// What stands in the place of a provider's name. No provider has it where certificates count.
pub const CERTIFICATE: &str = "certificate";

/// `tls.client_ca` and `tls.client_name`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities whose certificates count, as PEM.
    pub authorities: Arc<[u8]>,
    /// Which of a certificate's names is whose it is.
    pub name: Naming,
}

/// Which of a certificate's names is whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The common name of its subject.
    Subject,
    /// A DNS name.
    Dns,
    /// An address, as SPIFFE's.
    Uri,
}

impl Naming {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Subject, Self::Dns, Self::Uri];

    /// What the configuration calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Dns => "dns",
            Self::Uri => "uri",
        }
    }
}

/// By which rules a certificate was read. A connection may be older than today's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    authorities: [u8; 32],
    name: Naming,
}

impl Rules {
    /// What the configuration calls the name that counts.
    pub fn name(self) -> &'static str {
        self.name.name()
    }
}

impl From<&ClientCertificates> for Rules {
    fn from(settings: &ClientCertificates) -> Self {
        let digest = digest(&SHA256, &settings.authorities);
        let authorities = digest.as_ref().first_chunk();
        Self {
            authorities: *authorities.expect("SHA-256 has 32 bytes"),
            name: settings.name,
        }
    }
}

/// Whom the certificate of a connection proves.
#[derive(Debug)]
pub struct Certified {
    verified: Arc<Verified>,
    end: Timestamp,
    rules: Rules,
}

impl Certified {
    /// Of a certificate that TLS has verified by these `rules`. None where it has no name of the wanted sort, or several: of
    /// two nobody can say whose it is.
    pub fn read(bytes: &[u8], rules: Rules) -> Option<Self> {
        let read = Certificate::read(bytes)?;
        let names = match rules.name {
            Naming::Subject => &read.common_names,
            Naming::Dns => &read.dns_names,
            Naming::Uri => &read.uris,
        };
        let [name] = &names[..] else {
            return None;
        };
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains(char::is_control) {
            return None;
        }
        let groups = read.organizations.iter();
        let verified = Verified {
            identity: Identity {
                login: Some(name.as_str().into()),
                groups: groups.map(|group| Text::from(group.as_str())).collect(),
                ..Identity::of(CERTIFICATE, name)
            },
            tokens: Tokens::default(),
            proof: Proof::Certificate,
            scopes: None,
            client: None,
            expires_at: Some(read.end),
            voucher: Voucher::of(Proof::Certificate),
            routes: None,
            grant: None,
            opener: None,
        };
        Some(Self {
            verified: Arc::new(verified),
            end: read.end,
            rules,
        })
    }

    /// Whom it proves at `now`, by today's rules: a connection may outlast both.
    pub fn proves(&self, rules: Option<Rules>, now: Timestamp) -> Option<&Arc<Verified>> {
        (rules == Some(self.rules) && now < self.end).then_some(&self.verified)
    }
}

/// Bytes of the name of a certificate.
const LONGEST_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "ada");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "robots");
        params.not_after = date_time_ymd(2040, 2, 29);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn rules(name: Naming) -> Rules {
        Rules {
            authorities: [1; 32],
            name,
        }
    }

    fn subject(bytes: &[u8], name: Naming) -> Option<String> {
        let certified = Certified::read(bytes, rules(name))?;
        Some(certified.verified.identity.subject.to_string())
    }

    #[test]
    fn a_certificate_is_of_the_one_name_that_it_has() {
        let plain = made(|_| {});
        assert_eq!(subject(&plain, Naming::Subject).as_deref(), Some("ada"));
        assert_eq!(subject(&plain, Naming::Dns), None);
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let uri = SanType::URI("spiffe://example.org/ci".try_into().unwrap());
        let named = made(|params| params.subject_alt_names = vec![dns("a.example"), uri.clone()]);
        assert_eq!(subject(&named, Naming::Dns).as_deref(), Some("a.example"));
        let spiffe = subject(&named, Naming::Uri);
        assert_eq!(spiffe.as_deref(), Some("spiffe://example.org/ci"));
        let twice =
            made(|params| params.subject_alt_names = vec![dns("a.example"), dns("b.example")]);
        assert_eq!(subject(&twice, Naming::Dns), None);
        let empty = made(|params| params.distinguished_name.push(DnType::CommonName, ""));
        assert_eq!(subject(&empty, Naming::Subject), None);
    }

    #[test]
    fn it_counts_to_its_end_and_under_its_rules_alone() {
        let certified = Certified::read(&made(|_| {}), rules(Naming::Subject)).unwrap();
        let end = Timestamp(2_214_086_400);
        assert_eq!(certified.verified.expires_at, Some(end));
        assert_eq!(&*certified.verified.identity.groups[0], "robots");
        let today = Some(rules(Naming::Subject));
        assert!(certified.proves(today, Timestamp(end.0 - 1)).is_some());
        assert!(certified.proves(today, end).is_none());
        assert!(certified.proves(None, Timestamp(0)).is_none());
        assert!(
            certified
                .proves(Some(rules(Naming::Uri)), Timestamp(0))
                .is_none()
        );
        let far = made(|params| params.not_after = date_time_ymd(2120, 1, 1));
        let far = Certified::read(&far, rules(Naming::Subject)).unwrap();
        assert_eq!(far.end, Timestamp(4_733_510_400));
    }

    proptest! {
        #[test]
        fn whatever_is_changed_or_cut_is_read_or_refused(place in 0_usize..400, byte: u8, length in 0_usize..400) {
            let mut bytes = made(|_| {});
            let place = place % bytes.len();
            bytes[place] = byte;
            let _ = Certificate::read(&bytes);
            let _ = Certificate::read(&bytes[..length.min(bytes.len())]);
        }
    }
}
