//! The accepted signature algorithms, and how each is verified. Pure. Only public keys: with a shared secret, whoever can check a token can
//! make one.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

/// A signature algorithm of JSON Web Signatures (RFC 7518 §3.1, RFC 8037 §3.1), by its name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA PKCS #1 v1.5 with SHA-256.
    RS256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    RS384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    RS512,
    /// RSA PSS with SHA-256.
    PS256,
    /// RSA PSS with SHA-384.
    PS384,
    /// RSA PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// ECDSA on P-521 with SHA-512.
    ES512,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    /// The algorithm of that name; none for all that are not believed.
    pub fn named(name: &str) -> Option<Self> {
        let index = NAMES.iter().position(|known| *known == name)?;
        Self::ALL.get(index).copied()
    }
}

/// In the order of [`Algorithm::ALL`].
const NAMES: [&str; 10] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
];

/// A public key.
#[derive(Debug)]
pub(super) enum PublicKey {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point: 4, then both coordinates, each of the curve's length (SEC 1 §2.3.3).
    Elliptic(Curve, Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A curve of NIST's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl PublicKey {
    /// An RSA key. Some providers write zeros before their numbers, which RFC 7518 §2 forbids and no harm comes of.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let bare = |number: &[u8]| {
            let first = number.iter().position(|byte| *byte != 0)?;
            Some(number[first..].to_vec())
        };
        Some(Self::Rsa {
            modulus: bare(modulus)?,
            exponent: bare(exponent)?,
        })
    }

    /// A point of the curve of that name.
    pub(super) fn elliptic(curve: &str, x: &[u8], y: &[u8]) -> Option<Self> {
        let (curve, length) = match curve {
            "P-256" => (Curve::P256, 32),
            "P-384" => (Curve::P384, 48),
            "P-521" => (Curve::P521, 66),
            _ => return None,
        };
        // RFC 7518 §6.2.1.2: whole coordinates, zeros in front included.
        if x.len() != length || y.len() != length {
            return None;
        }
        Some(Self::Elliptic(curve, [&[4], x, y].concat()))
    }

    /// Whether the key is one for `algorithm`.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, ES512, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        match self {
            Self::Rsa { .. } => {
                matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512)
            }
            Self::Elliptic(Curve::P256, _) => algorithm == ES256,
            Self::Elliptic(Curve::P384, _) => algorithm == ES384,
            Self::Elliptic(Curve::P521, _) => algorithm == ES512,
            Self::Ed25519(_) => algorithm == EdDSA,
        }
    }

    /// Whether `signature` is this key's of `message` by `algorithm`.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        match self {
            Self::Rsa { modulus, exponent } => {
                let key = RsaPublicKeyComponents {
                    n: modulus.as_slice(),
                    e: exponent.as_slice(),
                };
                rsa(algorithm)
                    .is_some_and(|parameters| key.verify(parameters, message, signature).is_ok())
            }
            Self::Elliptic(curve, point) => {
                let algorithm: &dyn VerificationAlgorithm = match curve {
                    Curve::P256 => &ECDSA_P256_SHA256_FIXED,
                    Curve::P384 => &ECDSA_P384_SHA384_FIXED,
                    Curve::P521 => &ECDSA_P521_SHA512_FIXED,
                };
                let key = UnparsedPublicKey::new(algorithm, point);
                key.verify(message, signature).is_ok()
            }
            Self::Ed25519(key) => {
                let key = UnparsedPublicKey::new(&ED25519, key);
                key.verify(message, signature).is_ok()
            }
        }
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        rsa::KeySize,
        signature::{
            ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
            EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
            RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
        },
    };

    use super::*;

    #[test]
    fn every_algorithm_has_its_name_and_none_but_those_is_believed() {
        for (name, algorithm) in NAMES.iter().zip(Algorithm::ALL) {
            assert_eq!(Algorithm::named(name), Some(algorithm));
            assert_eq!(format!("{algorithm:?}"), *name);
        }
        for other in ["none", "HS256", "HS512", "ES256K", "rs256", ""] {
            assert_eq!(Algorithm::named(other), None, "{other}");
        }
    }

    fn signed_by_curve(curve: &str, signing: &'static EcdsaSigningAlgorithm, algorithm: Algorithm) {
        let pair = EcdsaKeyPair::generate(signing).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = point[1..].split_at((point.len() - 1) / 2);
        let key = PublicKey::elliptic(curve, x, y).unwrap();
        let signature = pair.sign(&SystemRandom::new(), b"message").unwrap();
        assert!(key.verifies(algorithm, b"message", signature.as_ref()));
        assert!(!key.verifies(algorithm, b"massage", signature.as_ref()));
        for other in Algorithm::ALL
            .into_iter()
            .filter(|other| *other != algorithm)
        {
            assert!(!key.verifies(other, b"message", signature.as_ref()));
        }
        assert!(PublicKey::elliptic(curve, &x[1..], y).is_none());
        assert!(PublicKey::elliptic("P-192", x, y).is_none());
    }

    #[test]
    fn larger_curves_verify() {
        signed_by_curve("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::ES384);
        signed_by_curve("P-521", &ECDSA_P521_SHA512_FIXED_SIGNING, Algorithm::ES512);
    }

    #[test]
    fn every_rsa_algorithm_verifies_what_it_signed_alone() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = pair.public_key();
        let modulus = public.modulus().big_endian_without_leading_zero();
        let exponent = public.exponent().big_endian_without_leading_zero();
        let padded = [&[0, 0], modulus].concat();
        let key = PublicKey::rsa(&padded, exponent).unwrap();
        assert!(PublicKey::rsa(&[0], exponent).is_none());
        for (encoding, algorithm) in [
            (
                &RSA_PKCS1_SHA384 as &'static dyn RsaEncoding,
                Algorithm::RS384,
            ),
            (&RSA_PKCS1_SHA512, Algorithm::RS512),
            (&RSA_PSS_SHA256, Algorithm::PS256),
            (&RSA_PSS_SHA384, Algorithm::PS384),
            (&RSA_PSS_SHA512, Algorithm::PS512),
        ] {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &SystemRandom::new(), b"m", &mut signature)
                .unwrap();
            for other in Algorithm::ALL {
                assert_eq!(key.verifies(other, b"m", &signature), other == algorithm);
            }
        }
    }
}
